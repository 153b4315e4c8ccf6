"""The rendered configurations, as Triton's parser of the format reads them."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from semblance.export import model_config
from semblance.export.contract import CONTRACTS, DETECTOR, EMBEDDER, Contract, embedder_of

ROOT = Path(__file__).resolve().parents[3]


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
