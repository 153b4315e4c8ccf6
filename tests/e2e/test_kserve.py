"""Stock KServe-v2 clients search, and stock perf_analyzer measures the whole chain."""

import asyncio
import csv
import json
import queue
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult, aio, service_pb2

from semblance.benchmarks import input_data
from semblance.client import Client, NewItem, Outcome
from semblance.serving.triton import Triton
from tests.stack import World, started

PATIENCE = 60
ITEMS = 6
SCENES = 3
TOP_K = 3


@pytest.fixture(scope="module")
def address(
    inference: Triton, repository: Path, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Of a service with a few of the drawn items, and with time for callers that name no deadline on a busy host."""
    deadline = {"SEMBLANCE_DEFAULT_DEADLINE": str(PATIENCE)}
    with started(inference, repository, tmp_path_factory.mktemp("stack"), deadline) as service:
        put(service.address, world)
        yield service.address


def put(address: str, world: World) -> None:
    with Client(address) as client:
        items = [NewItem(item_id, [photo]) for item_id, photo in world.photos.items()][:ITEMS]
        outcomes = [outcome for _, outcome in client.put(items)]
    assert outcomes == [Outcome.CREATED] * ITEMS


@pytest.fixture(scope="module")
def scenes(world: World) -> list[Path]:
    return [scene.path for scene in world.scenes[:SCENES]]


@pytest.fixture(scope="module")
def expected(address: str, scenes: list[Path]) -> list[list[list[bytes]]]:
    """The ids that `SearchService` finds in each scene."""
    with Client(address) as client:
        answers = [client.search(scene, top_k=TOP_K) for scene in scenes]
    return [[[hit.item_id.encode() for hit in found.hits] for found in answer.objects] for answer in answers]


@pytest.fixture
def client(address: str) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(address) as made:
        yield made


def inputs(image: bytes, tensor: Any = InferInput) -> list[Any]:
    tensors = []
    for name, content in (("image", image), ("options", json.dumps({"top_k": TOP_K}).encode())):
        one = tensor(name, [1], "BYTES")
        one.set_data_from_numpy(np.array([content], dtype=object))
        tensors.append(one)
    return tensors


def found(result: InferResult) -> list[list[bytes]]:
    return result.as_numpy("item_id").tolist()  # type: ignore[no-any-return]


def statistics(client: InferenceServerClient) -> service_pb2.InferStatistics:
    return client.get_inference_statistics("search").model_stats[0].inference_stats


def test_the_sync_client_finds_the_same(
    client: InferenceServerClient, scenes: list[Path], expected: list[list[list[bytes]]]
) -> None:
    before = statistics(client)
    assert [found(client.infer("search", inputs(scene.read_bytes()))) for scene in scenes] == expected
    after = statistics(client)
    assert after.success.count - before.success.count == SCENES
    for figure in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert getattr(after, figure).ns > getattr(before, figure).ns


async def test_the_async_client_finds_the_same(
    address: str, scenes: list[Path], expected: list[list[list[bytes]]]
) -> None:
    async with aio.InferenceServerClient(address) as client:
        results = await asyncio.gather(
            *(client.infer("search", inputs(scene.read_bytes(), aio.InferInput)) for scene in scenes)
        )
    assert [found(result) for result in results] == expected


def test_a_stream_finds_the_same_in_order(
    client: InferenceServerClient, scenes: list[Path], expected: list[list[list[bytes]]]
) -> None:
    answers: queue.Queue[tuple[InferResult, Exception | None]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for scene in scenes:
        client.async_stream_infer("search", inputs(scene.read_bytes()))
    client.async_stream_infer("search", inputs(b"no photo"))
    results = [answers.get(timeout=PATIENCE) for _ in scenes]
    assert [found(result) for result, error in results if error is None] == expected
    _, error = answers.get(timeout=PATIENCE)
    assert "INVALID_IMAGE" in str(error)
    client.stop_stream()


def test_perf_analyzer_measures_the_chain(
    address: str, client: InferenceServerClient, scenes: list[Path], tmp_path: Path
) -> None:
    input_data.write(scenes, tmp_path / "scenes.json")
    before = statistics(client).success.count
    arguments = ["-m", "search", "-i", "grpc", "-u", address, "--input-data", "scenes.json", "-f", "report.csv"]
    # Short windows that need not agree: what is measured is not the question here.
    short = ["--measurement-mode", "count_windows", "--measurement-request-count", "4", "--stability-percentage", "999"]
    done = subprocess.run(
        [sys.executable, "-m", "semblance.benchmarks.perf_analyzer", *arguments, *short],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = csv.DictReader((tmp_path / "report.csv").read_text().splitlines())
    assert row["Concurrency"] == "1"
    assert float(row["Inferences/Second"]) > 0
    assert float(row["Server Compute Infer"]) > float(row["Server Compute Input"]) > 0
    [stage] = csv.DictReader((tmp_path / "search.detect_v1.report.csv").read_text().splitlines())
    assert 0 < float(stage["Server Compute Infer"]) < float(row["Server Compute Infer"])
    assert statistics(client).success.count > before
