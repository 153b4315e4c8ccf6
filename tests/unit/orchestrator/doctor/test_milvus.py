"""Milvus and its collections."""

from typing import Any

import pytest

from semblance.orchestrator.doctor import milvus
from semblance.orchestrator.doctor.finding import Finding, Outcome
from semblance.orchestrator.doctor.live import Live
from semblance.orchestrator.release import Presence, ReleaseState
from tests.unit.orchestrator.doctor.fakes import (
    NOTHING,
    PRESENT,
    UNKNOWN,
    FakeMilvus,
    live,
    only,
    outcomes,
    registered,
    settings,
)

LITE = "milvus_lite-3.2.2"


async def examined(look: FakeMilvus, known: Live | None = None, **given: Any) -> list[Finding]:
    async def answer() -> Live:
        return known or live()

    return await milvus.examine(look, settings(**given), answer)


async def test_one_that_is_well() -> None:
    assert outcomes(await examined(FakeMilvus())) == {}


async def test_one_that_does_not_answer_is_one_failure() -> None:
    look = FakeMilvus()
    look.down = True
    assert outcomes(await examined(look)) == {"reach": Outcome.FAILURE}


@pytest.mark.parametrize(("version", "good"), [("v2.2.9", False), ("v2.3.5", True), ("2.10.0", True), (LITE, True)])
async def test_versions(version: str, good: bool) -> None:
    look = FakeMilvus()
    look.known_version = version
    assert outcomes(await examined(look)) == ({} if good else {"reach": Outcome.WARNING})


async def test_milvus_lite_serves_one_process() -> None:
    look = FakeMilvus()
    look.known_version = LITE
    assert outcomes(await examined(look, workers=2)) == {"processes": Outcome.FAILURE}
    two = live(present=(*PRESENT, Presence("b:1:0:ff", "r1")))
    assert outcomes(await examined(look, two)) == {"processes": Outcome.FAILURE}
    look.known_version = "v2.6.4"
    assert outcomes(await examined(look, two, workers=2)) == {}


@pytest.mark.parametrize(
    ("check", "state"),
    [
        ("collection", {"dimension": 384}),
        ("collection", {"embedder": "f" * 64}),
        ("index", {"kind": "IVF_FLAT"}),
        ("index", {"kind": ""}),
        ("index", {"metric": "L2"}),
        ("index", {"m": 8}),
        ("index", {"ef_construction": 100}),
        ("loaded", {"loaded": False}),
    ],
)
async def test_a_collection_that_is_not_the_releases(check: str, state: dict[str, Any]) -> None:
    look = FakeMilvus()
    look.has(**state)
    assert outcomes(await examined(look)) == {f"{check} of r1": Outcome.FAILURE}


async def test_parameters_that_are_not_told_are_not_judged() -> None:
    look = FakeMilvus()
    look.has(m=None, ef_construction=None, embedder="")
    assert outcomes(await examined(look)) == {}


async def test_a_collection_that_is_not_there() -> None:
    look = FakeMilvus()
    look.state = None
    found = await examined(look)
    assert outcomes(found) == {"collection of r1": Outcome.FAILURE}
    assert "`semblance rebuild`" in only(found, "collection of r1").mend


async def test_a_collection_of_a_release_that_is_not_active_is_not_rebuilt() -> None:
    look = FakeMilvus()
    look.has(dimension=8)
    assert look.state is not None
    found = milvus.contents(look.state, registered(ReleaseState.READY))
    assert "`semblance release retire r1`" in found.mend


async def test_what_is_not_loaded_is_loaded_by_the_service() -> None:
    look = FakeMilvus()
    look.has(loaded=False)
    assert outcomes(await examined(look, live(present=()))) == {"loaded of r1": Outcome.WARNING}


async def test_rows_are_as_many_as_the_catalogue_has_vectors() -> None:
    look = FakeMilvus()
    look.rows -= 1
    assert outcomes(await examined(look)) == {"rows of r1": Outcome.FAILURE}
    assert outcomes(await examined(look, live(unsettled=1))) == {}
    assert outcomes(await examined(look, live(present=(), unsettled=1))) == {"rows of r1": Outcome.WARNING}


async def test_without_a_registry_no_collection_is_judged() -> None:
    assert outcomes(await examined(FakeMilvus(), NOTHING)) == {}
    assert outcomes(await examined(FakeMilvus(), UNKNOWN)) == {"collection": Outcome.UNKNOWN}
