"""The rendered configurations, as Triton's parser of the format reads them."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from semblance.export import model_config
from semblance.export.contract import CONTRACTS, DETECTOR, EMBEDDER, Contract, embedder_of
from semblance.v1.manifest_pb2 import Manifest
from tests.unit.export.graphs import L4

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = Path(__file__).with_name("configs")

ENGINE = Manifest.Gpu(name=L4.name, tensorrt=L4.tensorrt, onnx_file=Manifest.File(name="model.onnx"))
# Name of a file in `configs` to contract, precision and GPU.
RENDERED: dict[str, tuple[Contract, str, Manifest.Gpu | None]] = {
    "detector": (DETECTOR, "fp32", None),
    "embedder_384": (embedder_of(384), "int8", None),
    "detector_gpu_fp16": (DETECTOR, "fp16", L4),
    "embedder_gpu_int8": (EMBEDDER, "int8", L4),
    "embedder_384_engine": (embedder_of(384), "fp16", ENGINE),
}

# What the TensorRT part of https://github.com/triton-inference-server/onnxruntime_backend (r24.10) reads; another name
# fails the load.
TENSORRT_PARAMETERS = {
    "precision_mode",
    "max_workspace_size_bytes",
    "trt_max_partition_iterations",
    "trt_min_subgraph_size",
    "trt_engine_cache_enable",
    "trt_engine_cache_path",
    "trt_engine_cache_prefix",
    "trt_timing_cache_enable",
    "trt_timing_cache_path",
    "trt_builder_optimization_level",
    "trt_cuda_graph_enable",
    "trt_profile_min_shapes",
    "trt_profile_opt_shapes",
    "trt_profile_max_shapes",
}


def parsed(contract: Contract, max_batch_size: int) -> model_config_pb2.ModelConfig:
    return text_format.Parse(
        model_config.render(contract.model, contract, max_batch_size), model_config_pb2.ModelConfig()
    )


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_a_configuration_says_what_the_contract_says(contract: Contract) -> None:
    config = parsed(contract, 8)
    assert (config.name, config.backend, config.max_batch_size) == (contract.model, "onnxruntime", 8)
    assert [(tensor.name, tuple(tensor.dims)) for tensor in config.input] == [
        (contract.input.name, contract.input.dims)
    ]
    assert [tuple(tensor.dims) for tensor in config.output] == [contract.output.dims]
    assert config.input[0].data_type == model_config_pb2.TYPE_UINT8
    assert config.output[0].data_type == model_config_pb2.TYPE_FP32
    assert [group.count for group in config.instance_group] == [1]
    assert not config.dynamic_batching.preferred_batch_size


@pytest.mark.parametrize(
    ("contract", "max_batch_size", "sizes"),
    [
        (DETECTOR, 8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (DETECTOR, 1, [1]),
        (EMBEDDER, 32, [1, 2, 3, 4, 5, 6, 7, 8, 16, 32]),
        (EMBEDDER, 20, [1, 2, 3, 4, 5, 6, 7, 8, 16, 20]),
    ],
)
def test_small_batches_and_the_largest_are_warmed_up(contract: Contract, max_batch_size: int, sizes: list[int]) -> None:
    warm_up = parsed(contract, max_batch_size).model_warmup
    assert [sample.batch_size for sample in warm_up] == sizes
    assert all(tuple(sample.inputs[contract.input.name].dims) == contract.input.dims for sample in warm_up)


@pytest.mark.parametrize("name", RENDERED)
def test_a_configuration_is_rendered_as_the_golden_file_has_it(name: str) -> None:
    contract, precision, gpu = RENDERED[name]
    golden = (GOLDEN / f"{name}.pbtxt").read_text()
    assert model_config.render(name, contract, 3, precision, gpu) == golden
    config = text_format.Parse(golden, model_config_pb2.ModelConfig())
    assert config == model_config.model_config(name, contract, 3, precision, gpu)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_on_a_gpu_tensorrt_has_one_profile_for_every_batch_and_a_cache_of_its_own(precision: str) -> None:
    config = model_config.model_config("embedder", EMBEDDER, 20, precision, L4)
    accelerators = config.optimization.execution_accelerators
    assert not accelerators.cpu_execution_accelerator
    (accelerator,) = accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    parameters = dict(accelerator.parameters)
    assert parameters.keys() <= TENSORRT_PARAMETERS
    assert parameters["precision_mode"] == precision.upper()
    assert parameters["trt_profile_min_shapes"] == "crop:1x224x224x3"
    assert parameters["trt_profile_opt_shapes"] == parameters["trt_profile_max_shapes"] == "crop:20x224x224x3"
    assert parameters["trt_engine_cache_path"] == "/var/cache/semblance/tensorrt/10.4.0-nvidia-l4"
    assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_GPU]
    assert [sample.batch_size for sample in config.model_warmup] == list(range(1, 21))


def test_an_engine_is_served_by_tensorrt_itself() -> None:
    config = model_config.model_config("embedder_engine", EMBEDDER, 4, "fp16", ENGINE)
    assert (config.platform, config.backend) == ("tensorrt_plan", "tensorrt")
    assert config.default_model_filename == "model.plan"
    assert not config.optimization.HasField("execution_accelerators")
    assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_GPU]


def test_the_committed_configurations_are_current() -> None:
    assert model_config.differences(ROOT / "model_repository") == []


def test_a_configuration_that_was_edited_fails_the_check(tmp_path: Path) -> None:
    write = CliRunner().invoke(model_config.main, ["--write", str(tmp_path)])
    assert write.exit_code == 0, write.output
    assert CliRunner().invoke(model_config.main, ["--check", str(tmp_path)]).exit_code == 0
    beside = tmp_path / "embedder_384"
    beside.mkdir()
    model_config.write(beside, embedder_of(384), 4)
    assert CliRunner().invoke(model_config.main, ["--check", str(tmp_path)]).exit_code == 0
    config = tmp_path / "detector" / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 8", "max_batch_size: 4"))
    check = CliRunner().invoke(model_config.main, ["--check", str(tmp_path)])
    assert check.exit_code == 1
    assert "-max_batch_size: 4\n+max_batch_size: 8" in check.output
