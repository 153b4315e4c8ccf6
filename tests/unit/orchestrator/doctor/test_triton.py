"""A Triton that is well, and what may be wrong with one."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.orchestrator.adapters.transport import Mode
from semblance.orchestrator.doctor import triton
from semblance.orchestrator.doctor.finding import Finding, Outcome
from semblance.orchestrator.doctor.live import Live
from semblance.orchestrator.errors import ContractMismatch
from semblance.orchestrator.ports import Golden
from semblance.orchestrator.testing import FakeInferenceServer
from tests.unit.orchestrator.doctor.fakes import (
    MODELS,
    NOTHING,
    UNKNOWN,
    FakeRepository,
    FakeTriton,
    changed,
    live,
    only,
    outcomes,
    server,
)


@pytest.fixture
def look() -> FakeTriton:
    return FakeTriton()


@pytest.fixture
async def repository() -> FakeRepository:
    """With golden pictures."""
    found, inference = FakeRepository(), FakeInferenceServer(*MODELS)
    for model in MODELS:
        inputs = np.zeros((2, *model.input.dims), np.uint8)
        found.goldens[model.name] = Golden(inputs, await inference.infer(model, inputs, 1))
    return found


async def of_models(
    look: FakeTriton,
    repository: FakeRepository,
    inference: FakeInferenceServer | None = None,
    known: Live | None = None,
) -> list[Finding]:
    return await triton.examine_models(server(look, inference), known or live(), MODELS, repository)


async def test_one_that_is_well(look: FakeTriton, repository: FakeRepository) -> None:
    assert outcomes(await triton.examine(server(look), Mode.AUTO)) == {}
    found = await of_models(look, repository)
    assert outcomes(found) == {}
    assert only(found, "answers of embedder version 1").found == "those of its 2 golden pictures"


async def test_one_that_does_not_answer_is_one_failure(look: FakeTriton) -> None:
    look.down = True
    assert outcomes(await triton.examine(server(look), Mode.AUTO)) == {"reach": Outcome.FAILURE}


async def test_another_version(look: FakeTriton) -> None:
    look.known_version = "2.40.0"
    assert outcomes(await triton.examine(server(look), Mode.AUTO)) == {"reach": Outcome.WARNING}


async def test_one_that_loads_nothing_on_request(look: FakeTriton) -> None:
    look.explicit = False
    found = await triton.examine(server(look), Mode.AUTO)
    assert outcomes(found) == {"control": Outcome.FAILURE}
    assert "--model-control-mode=explicit" in only(found, "control").mend


@pytest.mark.parametrize(
    ("mode", "local", "outcome"),
    [
        (Mode.SHARED_MEMORY, False, Outcome.FAILURE),
        (Mode.AUTO, True, Outcome.WARNING),
        (Mode.AUTO, False, Outcome.OK),
        (Mode.BYTES, True, Outcome.OK),
    ],
)
async def test_shared_memory_that_is_refused(look: FakeTriton, mode: Mode, local: bool, outcome: Outcome) -> None:
    look.refused = "Unable to open shared memory region"
    assert (await triton.shared_memory(server(look, local=local), mode)).outcome is outcome


async def test_another_repository_than_ours(look: FakeTriton, repository: FakeRepository) -> None:
    look.names = frozenset({"detector"})
    found = only(await of_models(look, repository), "repository")
    assert found.outcome is Outcome.FAILURE
    assert "does not see embedder" in found.found


@pytest.mark.parametrize(
    ("known", "outcome"),
    [
        (live(), Outcome.FAILURE),
        (live(present=()), Outcome.WARNING),
        (NOTHING, Outcome.OK),
        (UNKNOWN, Outcome.UNKNOWN),
    ],
)
async def test_models_that_are_not_loaded(
    look: FakeTriton, repository: FakeRepository, known: Live, outcome: Outcome
) -> None:
    found = await of_models(look, repository, FakeInferenceServer(MODELS[0]), known)
    assert only(found, "embedder version 1").outcome is outcome


class EmptyOutputs(FakeInferenceServer):
    """As Triton's Python backend answers beside numpy 2."""

    async def infer(self, *_: Any) -> NDArray[np.float32]:
        raise ContractMismatch("detections in 0 bytes instead of 2400")


async def test_outputs_that_are_empty_name_numpy(look: FakeTriton, repository: FakeRepository) -> None:
    found = await of_models(look, repository, EmptyOutputs(*MODELS))
    assert outcomes(found) == {f"output of {model.name} version 1": Outcome.FAILURE for model in MODELS}
    assert "numpy 1.26" in only(found, "output of detector version 1").mend
    look.configs["detector"] = changed("detector", runtime=None)
    found = await of_models(look, repository, EmptyOutputs(*MODELS))
    assert "numpy" not in only(found, "output of detector version 1").mend


async def test_other_answers_than_when_it_was_exported(look: FakeTriton, repository: FakeRepository) -> None:
    golden = repository.goldens["embedder"]
    repository.goldens["embedder"] = replace(golden, outputs=-golden.outputs)
    assert outcomes(await of_models(look, repository)) == {"answers of embedder version 1": Outcome.FAILURE}


async def test_a_model_without_golden_pictures_is_not_compared(look: FakeTriton, repository: FakeRepository) -> None:
    del repository.goldens["detector"]
    assert outcomes(await of_models(look, repository)) == {"answers of detector version 1": Outcome.UNKNOWN}


async def test_what_is_loaded_is_judged_and_compared_with_the_file(
    look: FakeTriton, repository: FakeRepository
) -> None:
    look.configs["detector"] = changed("detector", model_warmup=None)
    assert outcomes(await of_models(look, repository)) == {
        "warm-up of detector": Outcome.WARNING,
        "freshness of detector": Outcome.WARNING,
    }
