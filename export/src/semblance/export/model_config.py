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

from semblance.export.contract import CONTRACTS, MODEL_FILE, Contract, Tensor

# How long a request waits for others to share its batch. Under load the queue fills batches by itself, so this is
# only what a lone request may lose.
QUEUE_DELAY_MICROSECONDS = 500

_Accelerators = model_config_pb2.ModelOptimizationPolicy.ExecutionAccelerators
# On 2-core hosts OpenVINO computed the detector in fp32 1.1 to 1.3 times as fast as ONNX Runtime's own CPU provider,
# and in int8 at 0.6 of its speed (batches of 1 and 8, ONNX Runtime 1.24; docs/models.md has one such run).
_OPENVINO = _Accelerators(cpu_execution_accelerator=[_Accelerators.Accelerator(name="openvino")])

CONFIG_FILE = "config.pbtxt"


def model_config(
    name: str, contract: Contract, max_batch_size: int, precision: str = "fp32"
) -> model_config_pb2.ModelConfig:
    """The configuration of a model folder on a CPU, with every batch size it will meet warmed up.

    Triton has one for all versions in the folder; `precision` is that of the one to be fast.
    """
    return model_config_pb2.ModelConfig(
        name=name,
        backend="onnxruntime",
        default_model_filename=MODEL_FILE,
        max_batch_size=max_batch_size,
        version_policy=model_config_pb2.ModelVersionPolicy(all=model_config_pb2.ModelVersionPolicy.All()),
        input=[model_config_pb2.ModelInput(**_tensor(contract.input))],
        output=[model_config_pb2.ModelOutput(**_tensor(contract.output))],
        instance_group=[
            model_config_pb2.ModelInstanceGroup(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
        ],
        optimization=model_config_pb2.ModelOptimizationPolicy(
            execution_accelerators=None if precision == "int8" else _OPENVINO
        ),
        dynamic_batching=model_config_pb2.ModelDynamicBatching(max_queue_delay_microseconds=QUEUE_DELAY_MICROSECONDS),
        model_warmup=[_warm_up(contract.input, size) for size in warm_up_sizes(max_batch_size)],
    )


def warm_up_sizes(max_batch_size: int) -> list[int]:
    """Every batch size up to 8, then the powers of two and the largest."""
    powers = [size for size in (16, 32, 64, 128) if size < max_batch_size]
    return sorted({*range(1, min(max_batch_size, 8) + 1), *powers, max_batch_size})


def write(home: Path, contract: Contract, max_batch_size: int, precision: str = "fp32") -> None:
    """Writes a model folder's configuration, at once or not at all, where the file does not say the same already."""
    path = home / CONFIG_FILE
    text = render(home.name, contract, max_batch_size, precision)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    aside = path.with_name(f".{path.name}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def render(name: str, contract: Contract, max_batch_size: int, precision: str = "fp32") -> str:
    return text_format.MessageToString(model_config(name, contract, max_batch_size, precision))


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
