"""What a model's Triton configuration does wrong."""

from typing import Any

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from semblance.export.contract import CONTRACTS
from semblance.export.model_config import model_config
from semblance.orchestrator.doctor import configuration
from semblance.orchestrator.doctor.finding import Outcome
from tests.unit.orchestrator.doctor.fakes import MODELS, changed, config, outcomes


def found(made: ModelConfig, model: int = 0) -> dict[str, Outcome]:
    return outcomes(configuration.examine(configuration.Subject("Triton", MODELS[model], made)))


@pytest.mark.parametrize("model", [0, 1])
def test_what_is_published_is_well(model: int) -> None:
    contract = CONTRACTS[MODELS[model].name]
    assert found(model_config(contract.model, contract, contract.default_max_batch_size), model) == {}
    assert found(config(contract.model), model) == {}


WARM = [{"name": "batch of 1", "batch_size": 1}, {"name": "batch of 8", "batch_size": 8}]


@pytest.mark.parametrize(
    ("check", "keys"),
    [
        ("batching", {"dynamic_batching": None}),
        ("batching", {"dynamic_batching": {"max_queue_delay_microseconds": 100_000}}),
        ("batching", {"dynamic_batching": {"preferred_batch_size": [4]}}),
        ("instances", {"instance_group": None}),
        ("instances", {"instance_group": [{"count": 2, "kind": "KIND_CPU"}]}),
        ("warm-up", {"model_warmup": None}),
        ("warm-up", {"model_warmup": WARM}),
    ],
)
def test_known_pitfalls_are_named(check: str, keys: dict[str, Any]) -> None:
    assert found(changed("detector", **keys)) == {f"{check} of detector": Outcome.WARNING}


def test_instances_that_share_the_cores_or_have_a_gpu_are_well() -> None:
    two = [{"count": 2, "kind": "KIND_CPU"}]
    assert found(changed("detector", instance_group=two, parameters={"intra_op_thread_count": {}})) == {}
    assert found(changed("detector", instance_group=[{"count": 2, "kind": "KIND_GPU", "gpus": [0]}])) == {}


def test_the_batch_sizes_that_are_not_warm_are_told() -> None:
    [only] = configuration.examine(configuration.Subject("Triton", MODELS[0], changed("detector", model_warmup=WARM)))
    assert only.found == "none at batch size 2, 3, 4, 5, 6, 7"


@pytest.mark.parametrize(
    "keys",
    [
        {"max_batch_size": 4},
        {"input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [640, 640, 3]}]},
        {"output": [{"name": "detections", "data_type": "TYPE_FP32", "dims": [300, 6]}]},
    ],
)
def test_a_contract_that_is_not_kept_is_a_failure(keys: dict[str, Any]) -> None:
    assert found(changed("detector", **keys))["contract of detector"] is Outcome.FAILURE


def test_what_was_changed_after_loading_is_told() -> None:
    assert not configuration.differences(config("detector"), changed("detector", version_policy=None, runtime=None))
    later = changed("detector", dynamic_batching={"max_queue_delay_microseconds": 50}, model_warmup=WARM)
    assert configuration.differences(config("detector"), later) == ["max_queue_delay_microseconds", "model_warmup"]
