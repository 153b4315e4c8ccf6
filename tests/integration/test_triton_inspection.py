"""What the doctor sees of a real Triton."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient

from semblance.orchestrator.adapters import shared_memory
from semblance.orchestrator.adapters.triton_inspection import TritonInspection
from semblance.orchestrator.doctor.triton import VERSION
from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable
from semblance.serving import ports, triton
from tests.integration.test_triton_adapter import MODEL

TIMEOUT = 30.0


@pytest.fixture
async def look(tiny_triton: str) -> AsyncIterator[TritonInspection]:
    made = TritonInspection(tiny_triton)
    yield made
    await made.close()


async def test_what_it_says_of_itself(look: TritonInspection) -> None:
    assert await look.version(TIMEOUT) == VERSION
    assert await look.folders(TIMEOUT) == {"tiny", "patient", "pair"}
    config = await look.config(MODEL, TIMEOUT)
    assert (config.max_batch_size, config.runtime) == (MODEL.max_batch_size, "model.py")


async def test_asking_whether_it_loads_on_request_changes_nothing(look: TritonInspection, tiny_triton: str) -> None:
    with InferenceServerClient(tiny_triton) as client:
        before = client.get_model_repository_index(as_json=True)
        assert await look.is_explicit(TIMEOUT)
        assert client.get_model_repository_index(as_json=True) == before


async def test_one_that_was_not_started_in_explicit_mode(
    tiny_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = triton.options
    monkeypatch.setattr(
        triton,
        "options",
        lambda *arguments: [each for each in options(*arguments) if each != "--model-control-mode=explicit"],
    )
    with triton.running(tiny_repository, tmp_path, models=()) as server:
        look = TritonInspection(server.grpc)
        assert not await look.is_explicit(TIMEOUT)
        await look.close()


async def test_shared_memory_that_it_takes_is_given_back(look: TritonInspection, tiny_triton: str) -> None:
    assert await look.refusal(TIMEOUT) == ""
    with InferenceServerClient(tiny_triton) as client:
        assert client.get_system_shared_memory_status(as_json=True) == {}
    assert not list(shared_memory.FOLDER.glob(f"{shared_memory.own_prefix()}*"))


async def test_shared_memory_that_it_can_not_open(
    look: TritonInspection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the two are in containers, each with a /dev/shm of its own."""
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    assert "shared memory" in await look.refusal(TIMEOUT)
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path / "none")
    assert "can't be written" in await look.refusal(TIMEOUT)


async def test_what_is_not_there_is_an_error(look: TritonInspection) -> None:
    with pytest.raises(ContractMismatch):
        await look.config(replace(MODEL, name="none"), TIMEOUT)
    gone = TritonInspection(f"127.0.0.1:{ports.free(1)[0]}")
    for call in itertools.chain(
        (method(TIMEOUT) for method in (gone.version, gone.folders, gone.is_explicit, gone.refusal)),
        (gone.config(MODEL, TIMEOUT),),
    ):
        with pytest.raises(DependencyUnavailable):
            await call
    await gone.close()
