"""Renders Triton's `config.pbtxt` from a model's contract, as a protobuf message and never as a string template.

    python -m semblance.export.model_config --check|--write model_repository

compares the committed configurations with a fresh rendering for the default batch sizes, or writes them.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import click
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from semblance.export import gpu as gpus
from semblance.export.contract import CONTRACTS, ENGINE_FILE, MODEL_FILE, Contract, Tensor
from semblance.v1.manifest_pb2 import Manifest

# How long a request waits for others to share its batch. Under load the queue fills batches by itself, so this is
# only what a lone request may lose.
QUEUE_DELAY_MICROSECONDS = 500

_Accelerators = model_config_pb2.ModelOptimizationPolicy.ExecutionAccelerators
# On 2-core hosts OpenVINO computed the detector in fp32 1.1 to 1.3 times as fast as ONNX Runtime's own CPU provider,
# and in int8 at 0.6 of its speed (batches of 1 and 8, ONNX Runtime 1.24; docs/models.md has one such run).
_OPENVINO = _Accelerators(cpu_execution_accelerator=[_Accelerators.Accelerator(name="openvino")])

# What TensorRT may use while it computes, in bytes: ONNX Runtime's default of half of it rules fast kernels out.
WORKSPACE_BYTES = 2 << 30
# What follows the suppression has a dozen nodes, and shapes that only the data tell, which no profile can name: ONNX
# Runtime's CUDA provider computes it. The networks have a hundred nodes and more.
MIN_SUBGRAPH_NODES = 32

CONFIG_FILE = "config.pbtxt"


def model_config(
    name: str, contract: Contract, max_batch_size: int, precision: str = "fp32", gpu: Manifest.Gpu | None = None
) -> model_config_pb2.ModelConfig:
    """The configuration of a model folder on a CPU, or on a GPU, with every batch size it will meet warmed up.

    Triton has one for all versions in the folder; `precision` is that of the one to be fast. Folders for GPUs have one
    precision, and hold either graphs or engines.
    """
    is_engine = gpu is not None and gpu.HasField("onnx_file")
    group = model_config_pb2.ModelInstanceGroup
    return model_config_pb2.ModelConfig(
        name=name,
        platform="tensorrt_plan" if is_engine else "",
        backend="tensorrt" if is_engine else "onnxruntime",
        default_model_filename=ENGINE_FILE if is_engine else MODEL_FILE,
        max_batch_size=max_batch_size,
        version_policy=model_config_pb2.ModelVersionPolicy(all=model_config_pb2.ModelVersionPolicy.All()),
        input=[model_config_pb2.ModelInput(**_tensor(contract.input))],
        output=[model_config_pb2.ModelOutput(**_tensor(contract.output))],
        instance_group=[group(count=1, kind=group.KIND_CPU if gpu is None else group.KIND_GPU)],
        optimization=model_config_pb2.ModelOptimizationPolicy(
            execution_accelerators=None if is_engine else _accelerators(contract.input, max_batch_size, precision, gpu)
        ),
        dynamic_batching=model_config_pb2.ModelDynamicBatching(max_queue_delay_microseconds=QUEUE_DELAY_MICROSECONDS),
        model_warmup=[_warm_up(contract.input, size) for size in warm_up_sizes(max_batch_size, is_gpu=gpu is not None)],
    )


def warm_up_sizes(max_batch_size: int, *, is_gpu: bool = False) -> list[int]:
    """On a CPU every batch size up to 8, then the powers of two and the largest; on a GPU every one, which is soon done
    and chooses other kernels for each."""
    if is_gpu:
        return list(range(1, max_batch_size + 1))
    powers = [size for size in (16, 32, 64, 128) if size < max_batch_size]
    return sorted({*range(1, min(max_batch_size, 8) + 1), *powers, max_batch_size})


def shapes(tensor: Tensor, batch_size: int) -> str:
    """The shape of a batch, as TensorRT's profiles have it: `crop:8x224x224x3`."""
    return f"{tensor.name}:{'x'.join(map(str, (batch_size, *tensor.dims)))}"


def write(
    home: Path, contract: Contract, max_batch_size: int, precision: str = "fp32", gpu: Manifest.Gpu | None = None
) -> None:
    """Writes a model folder's configuration, at once or not at all, where the file does not say the same already."""
    path = home / CONFIG_FILE
    text = render(home.name, contract, max_batch_size, precision, gpu)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    aside = path.with_name(f".{path.name}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def render(
    name: str, contract: Contract, max_batch_size: int, precision: str = "fp32", gpu: Manifest.Gpu | None = None
) -> str:
    return text_format.MessageToString(model_config(name, contract, max_batch_size, precision, gpu))


def differences(repository: Path) -> list[str]:
    """What the committed configurations of a repository say other than a fresh rendering: a unified diff's lines."""
    lines: list[str] = []
    for contract in CONTRACTS.values():
        path = repository / contract.model / CONFIG_FILE
        committed = path.read_text(encoding="utf-8") if path.exists() else ""
        fresh = render(contract.model, contract, contract.default_max_batch_size)
        lines += difflib.unified_diff(
            committed.splitlines(), fresh.splitlines(), str(path), "a fresh rendering", lineterm=""
        )
    return lines


def _accelerators(
    tensor: Tensor, max_batch_size: int, precision: str, gpu: Manifest.Gpu | None
) -> model_config_pb2.ModelOptimizationPolicy.ExecutionAccelerators | None:
    """ONNX Runtime's: OpenVINO, or TensorRT with one profile for all batches, fastest for the full ones that load
    makes, and with its engines kept for the next start. Triton's backend refuses parameters that it does not know."""
    if gpu is None:
        return None if precision == "int8" else _OPENVINO
    parameters = {
        "precision_mode": precision.upper(),
        "max_workspace_size_bytes": str(WORKSPACE_BYTES),
        "trt_min_subgraph_size": str(MIN_SUBGRAPH_NODES),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": gpus.cache(gpu),
        "trt_profile_min_shapes": shapes(tensor, 1),
        "trt_profile_opt_shapes": shapes(tensor, max_batch_size),
        "trt_profile_max_shapes": shapes(tensor, max_batch_size),
    }
    return _Accelerators(gpu_execution_accelerator=[_Accelerators.Accelerator(name="tensorrt", parameters=parameters)])


def _tensor(tensor: Tensor) -> dict[str, object]:
    return {
        "name": tensor.name,
        "data_type": model_config_pb2.DataType.Value(f"TYPE_{tensor.data_type}"),
        "dims": tensor.dims,
    }


def _warm_up(tensor: Tensor, batch_size: int) -> model_config_pb2.ModelWarmup:
    # Random pixels, because zeros could take short cuts in the graph that requests never take.
    sample = model_config_pb2.ModelWarmup.Input(
        data_type=model_config_pb2.DataType.Value(f"TYPE_{tensor.data_type}"), dims=tensor.dims, random_data=True
    )
    return model_config_pb2.ModelWarmup(
        name=f"batch of {batch_size}", batch_size=batch_size, count=1, inputs={tensor.name: sample}
    )


@click.command()
@click.option("--check/--write", required=True, help="Fail where a configuration differs, or write both.")
@click.argument("repository", type=click.Path(path_type=Path))
def main(repository: Path, check: bool) -> None:
    """Write or check config.pbtxt of the detector and the embedder."""
    if check:
        if lines := differences(repository):
            raise click.ClickException("\n".join([*lines, "Write them anew: `make configs`."]))
        return
    for contract in CONTRACTS.values():
        home = repository / contract.model
        home.mkdir(parents=True, exist_ok=True)
        write(home, contract, contract.default_max_batch_size)


if __name__ == "__main__":
    main()
