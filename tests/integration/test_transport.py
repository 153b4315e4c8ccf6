"""Inputs in shared memory, with a real Triton that is slow, restarted, or used by a process that is killed."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from semblance.orchestrator.adapters import inference, shared_memory
from semblance.orchestrator.adapters.transport import SLOT_BYTES, Mode, Way
from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.errors import DeadlineExceeded, InvalidImage, SemblanceError
from semblance.serving import triton
from tests.inference import infer
from tests.integration.test_triton_adapter import MODEL, WEIGHTS, batch

PATIENT_MODEL = replace(MODEL, name="patient")
PATIENCE = 30

# Leaves a request in shared memory unanswered, and waits to be killed.
USER = """
import asyncio, sys
from tests.integration.test_transport import *

async def main():
    models = TritonServer(sys.argv[1], Mode.SHARED_MEMORY, slots=2)
    await until(lambda: len(models.transport) == 2)
    await infer(models, MODEL, batch(2), 10)
    print(shared_memory.own_prefix(), flush=True)
    await infer(models, PATIENT_MODEL, batch(1), 10)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def models(tiny_triton: str) -> AsyncIterator[TritonServer]:
    """With a single slot."""
    server = TritonServer(tiny_triton, Mode.SHARED_MEMORY, slots=1)
    await server.transport.judged(PATIENCE)
    yield server
    await server.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def regions(models: TritonServer) -> set[str]:
    """What Triton has registered."""
    status = await models._stub.SystemSharedMemoryStatus(service_pb2.SystemSharedMemoryStatusRequest(), timeout=5)
    return set(status.regions)


def right(output: np.ndarray, pixels: np.ndarray) -> bool:
    return np.allclose(output, pixels.reshape(len(pixels), -1).astype(np.float32) @ WEIGHTS, rtol=1e-3)


async def test_a_slot_serves_one_request_after_the_other_and_nothing_is_left_in_the_file_system(
    models: TritonServer,
) -> None:
    for rows in (1, 8, 3):
        assert right(await infer(models, MODEL, batch(rows), 10), batch(rows))
    assert models.transport.inputs == {Way.SHARED_MEMORY: 3}
    assert len(await regions(models)) == 1
    assert not list(shared_memory.FOLDER.glob(f"{shared_memory.own_prefix()}*"))


async def test_what_finds_no_slot_goes_in_the_message_and_is_counted(models: TritonServer) -> None:
    answers = await asyncio.gather(*(infer(models, PATIENT_MODEL, batch(rows), 10) for rows in (1, 2, 3)))
    assert all(right(answer, batch(rows)) for answer, rows in zip(answers, (1, 2, 3), strict=True))
    assert models.transport.inputs == {Way.SHARED_MEMORY: 1, Way.RING_FULL: 2}


async def test_what_is_larger_than_a_slot_goes_in_the_message(models: TritonServer) -> None:
    assert models.transport.lease(SLOT_BYTES + 1) is Way.TOO_LARGE


async def test_a_slot_that_was_not_sent_is_free_at_once_unless_somebody_may_still_fill_it(
    models: TritonServer,
) -> None:
    with suppress(InvalidImage), models.batch(MODEL, 1) as lent:
        lent.pixels[:] = 0
        raise InvalidImage("not a photo")
    assert len(models.transport) == 1
    with suppress(asyncio.CancelledError), models.batch(MODEL, 1) as lent:
        lent.pixels[:] = 0
        raise asyncio.CancelledError
    assert len(models.transport) == 0
    await until(lambda: len(models.transport) == 1)


@pytest.mark.parametrize("cut", ["cancelled", "late"])
async def test_a_request_whose_caller_has_gone_keeps_its_slot_until_triton_has_answered(
    models: TritonServer, cut: str
) -> None:
    before = await regions(models)
    if cut == "late":
        with pytest.raises(DeadlineExceeded):
            await infer(models, PATIENT_MODEL, batch(1), 0.1)
    else:
        waiting = asyncio.create_task(infer(models, PATIENT_MODEL, batch(1), 10))
        await until(lambda: models.transport.inputs == {Way.SHARED_MEMORY: 1})
        waiting.cancel()
        await asyncio.wait({waiting})
    # Triton has it in its queue for the rest of the second.
    assert models.transport.lease(1) is Way.RING_FULL
    await until(lambda: models.transport.use().free == 1)
    assert await regions(models) == before
    assert right(await infer(models, MODEL, batch(2), 10), batch(2))
    assert models.transport.inputs == {Way.SHARED_MEMORY: 2}


async def test_the_slot_of_a_request_that_triton_is_silent_about_comes_back_when_triton_gives_it_up(
    models: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "OVERDUE_SECONDS", 0.1)
    [before] = await regions(models)
    with pytest.raises(DeadlineExceeded):
        await infer(models, PATIENT_MODEL, batch(1), 0.1)
    await until(lambda: len(models.transport) == 0)
    assert await regions(models) == {before}
    await until(lambda: len(models.transport) == 1)
    [after] = await regions(models)
    assert after != before
    assert right(await infer(models, MODEL, batch(2), 10), batch(2))
    assert models.transport.inputs == {Way.SHARED_MEMORY: 2}


async def test_a_restarted_triton_is_given_new_regions(tiny_repository: Path, tmp_path: Path) -> None:
    ports = triton.Ports.free()
    with triton.running(tiny_repository, tmp_path, ports=ports) as server:
        models = TritonServer(server.grpc, Mode.SHARED_MEMORY, slots=3)
        await models.transport.judged(PATIENCE)
        await until(lambda: len(models.transport) == 3)
        assert right(await infer(models, MODEL, batch(2), 10), batch(2))
        serving = asyncio.create_task(_serve_until_down(models))
        await asyncio.sleep(0)
    await serving
    with triton.running(tiny_repository, tmp_path, ports=ports):
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    assert right(await infer(models, MODEL, batch(3), 10), batch(3))
                    break
                except SemblanceError:
                    await asyncio.sleep(0.05)
        await until(lambda: len(models.transport) == 3)
        before = models.transport.inputs.copy()
        assert right(await infer(models, MODEL, batch(4), 10), batch(4))
        assert models.transport.inputs - before == {Way.SHARED_MEMORY: 1}
        assert len(await regions(models)) == 3
        await models.close()


async def _serve_until_down(models: TritonServer) -> None:
    while True:
        try:
            assert right(await infer(models, MODEL, batch(2), 10), batch(2))
        except SemblanceError:
            return


async def test_a_killed_process_leaves_nothing(tiny_triton: str, models: TritonServer) -> None:
    """Neither in the file system nor, once another one has started, in Triton."""
    with subprocess.Popen([sys.executable, "-c", USER, tiny_triton], stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        prefix = user.stdout.readline().strip()
        assert prefix
        user.send_signal(signal.SIGKILL)
        user.wait()
    assert not list(shared_memory.FOLDER.glob(f"{prefix}*"))
    assert {name.startswith(prefix) for name in await regions(models)} == {True, False}
    deadline = time.monotonic() + PATIENCE
    while any(name.startswith(prefix) for name in await regions(models)):
        assert time.monotonic() < deadline
        successor = TritonServer(tiny_triton, Mode.SHARED_MEMORY, slots=1)
        await successor.transport.judged(PATIENCE)
        await successor.close()


async def test_an_end_in_order_leaves_triton_nothing(tiny_triton: str) -> None:
    server = TritonServer(tiny_triton, Mode.AUTO, slots=2)
    await server.transport.judged(PATIENCE)
    await until(lambda: len(server.transport) == 2)
    watcher = TritonServer(tiny_triton, Mode.BYTES, slots=0)
    assert len(await regions(watcher)) == 2
    await server.close()
    assert await regions(watcher) == set()
    await watcher.close()
