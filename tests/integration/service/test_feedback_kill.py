"""Feedback and a service that is killed: what was acknowledged is there, and giving all of it again adds nothing."""

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from semblance.client import AsyncClient, Box, SemblanceError, Verdict
from semblance.orchestrator.adapters.images import FileImageStore
from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.adapters.metadata import Database, SqlFeedbackStore, SqlMetadataStore, SqlRegistry
from semblance.orchestrator.bootstrap import Service
from semblance.orchestrator.ports import Ports
from semblance.orchestrator.settings import Settings
from semblance.orchestrator.testing import FakeInferenceServer, MemoryVectorIndex, example_release
from semblance.serving import orchestrator, ports, process
from tests.integration.service.world import RED, photo, publish

ROOT = Path(__file__).resolve().parents[3]
READY_SECONDS = 60.0
KILLS = 3
# Verdicts acknowledged by a service before it is killed, and given at once.
BEFORE = 8
AT_ONCE = 4
ALL = 40


@contextmanager
def served(folder: Path) -> Iterator[tuple[process.Process, str]]:
    """A process on fakes of Triton and Milvus, and on the real stores in the folder."""
    address = f"{ports.LOOPBACK}:{ports.free(1)[0]}"
    command = [sys.executable, "-m", __name__, str(folder), address]
    environment = process.this_environment()
    with process.running("service", command, log=folder / "log", environment=environment, folder=ROOT) as running:
        running.wait_until(lambda: orchestrator.is_ready(address), READY_SECONDS)
        yield running, address


def told(number: int) -> tuple[bytes, str, Verdict]:
    return photo((RED, (number, 5, number + 40, 45))), "r1", Verdict.missed(Box(number, 5, number + 40, 45), "mug")


async def give(address: str, numbers: list[int], acknowledged: dict[int, bool], enough: asyncio.Event) -> None:
    """Until all are given, or the service is gone; whether each was new."""
    waiting = list(reversed(numbers))

    async def work(client: AsyncClient) -> None:
        while waiting:
            number = waiting.pop()
            try:
                acknowledged[number] = (await client.feedback.give(*told(number))).created
            except SemblanceError:
                return
            if len(acknowledged) >= BEFORE:
                enough.set()

    async with AsyncClient(address, timeout=20) as client:
        await asyncio.gather(*(work(client) for _ in range(AT_ONCE)))
    enough.set()


async def killed_amid(running: process.Process, address: str, numbers: list[int]) -> dict[int, bool]:
    """What was acknowledged before the service was killed."""
    acknowledged: dict[int, bool] = {}
    enough = asyncio.Event()
    giving = asyncio.create_task(give(address, numbers, acknowledged, enough))
    await enough.wait()
    os.kill(running.pid, signal.SIGKILL)
    await giving
    return acknowledged


@pytest.mark.timeout(300)
async def test_what_was_acknowledged_survives_kills_and_is_there_once(tmp_path: Path) -> None:
    kept: set[int] = set()
    for _ in range(KILLS):
        with served(tmp_path) as (running, address):
            left = [number for number in range(ALL) if number not in kept]
            acknowledged = await killed_amid(running, address, left)
        assert len(acknowledged) >= BEFORE
        kept |= acknowledged.keys()
    with served(tmp_path) as (_, address):
        again: dict[int, bool] = {}
        await give(address, list(range(ALL)), again, asyncio.Event())
        assert again.keys() == set(range(ALL))
        assert not any(again[number] for number in kept)
        async with AsyncClient(address, timeout=20) as client:
            photos = {each.feedback.image_id: each.image async for each in client.feedback.export()}
            found = [each.image_id async for each in client.feedback.list()]
    assert len(found) == ALL
    assert photos == {hashlib.sha256(file).hexdigest(): file for file, _, _ in map(told, range(ALL))}


async def _serve(folder: Path, listen: str) -> None:
    repository, example = FileModelRepository(str(folder / "models")), example_release()
    if not (folder / "models").exists():
        for model in (example.detector, example.embedder):
            publish(folder / "models", model)
    models = [await repository.describe(model.name, 1) for model in (example.detector, example.embedder)]
    database, index = Database(f"sqlite:///{folder}/metadata.db"), MemoryVectorIndex()
    registry, images = SqlRegistry(database), FileImageStore(f"file://{folder}/images")
    if release := await registry.active_release():
        # Its index was in the memory of the process before.
        await index.create(release, 1)
    metadata, feedback = SqlMetadataStore(database), SqlFeedbackStore(database)
    reached = Ports({"Triton": FakeInferenceServer(*models)}, repository, index, metadata, registry, images, feedback)
    service = Service(Settings.read({"listen": listen, "startup_wait": "0"}), reached)
    await service.bind()
    await service.activate()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2]))
