"""Collections of Milvus, filled as the service fills them and brought to rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import psutil
from numpy.typing import NDArray
from pymilvus import MilvusClient

from semblance.orchestrator.adapters.milvus import MilvusIndex
from semblance.orchestrator.box import Box
from semblance.orchestrator.ports import IndexRow
from semblance.orchestrator.release import IndexParameters, Release
from semblance.orchestrator.testing import example_release
from semblance.serving import milvus

ROWS_AT_ONCE = 5000
IMAGE_ID = "0" * 64
BOX = Box(0, 0, 224, 224)

CALL_SECONDS = 120.0
# Indexing 100,000 vectors of 2048 numbers takes minutes.
REST_SECONDS = 3600.0
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Layout:
    """How vectors are indexed."""

    dimension: int
    index: IndexParameters

    def release(self, rows: int) -> Release:
        """A release whose collection is named for this layout, whatever `ef`, and the number of its rows."""
        name = f"layout_{self.dimension}_{self.index.m}_{self.index.ef_construction}_{rows}"
        return replace(example_release(self.dimension, name), index=self.index)


def build(uri: str, release: Release, vectors: NDArray[np.float32]) -> None:
    """Fills the release's collection with `vectors`, float32 [N, dim], and waits until it rests."""
    asyncio.run(_fill(uri, release, vectors))
    _rest(uri, release.collection, len(vectors))


def unload(uri: str, releases: Sequence[Release]) -> None:
    """Takes collections out of the server's memory; they stay on its disk."""
    with _connected(uri) as client:
        for release in releases:
            client.release_collection(release.collection)


def loaded_bytes(server: milvus.Milvus, release: Release) -> int:
    """By how much the server's resident memory grows when it loads the release's collection."""
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    with _connected(server.uri) as client:
        client.load_collection(release.collection, timeout=REST_SECONDS)
    return int(process.memory_info().rss - before)


@contextmanager
def _connected(uri: str) -> Iterator[MilvusClient]:
    with closing(MilvusClient(uri, timeout=CALL_SECONDS)) as client:
        yield client


async def _fill(uri: str, release: Release, vectors: NDArray[np.float32]) -> None:
    """Each vector as an item of its own, whose id is the row's number."""
    index = MilvusIndex(uri)
    try:
        await index.create(release, CALL_SECONDS)
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            rows = [
                IndexRow(f"{number:08d}", str(number), IMAGE_ID, BOX, {}, vector)
                for number, vector in enumerate(vectors[start : start + ROWS_AT_ONCE], start)
            ]
            await index.upsert(release, rows, CALL_SECONDS)
    finally:
        await index.close()


def _rest(uri: str, name: str, rows: int) -> None:
    """Has the collection sealed, compacted and indexed at once, which Milvus does by itself in time."""
    until = time.monotonic() + REST_SECONDS
    with _connected(uri) as client:
        client.flush(name, timeout=CALL_SECONDS)
        compaction = client.compact(name, timeout=CALL_SECONDS)
        while not _rests(client, name, rows, compaction):
            if time.monotonic() > until:
                raise TimeoutError(f"collection {name} did not come to rest within {REST_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)


def _rests(client: MilvusClient, name: str, rows: int, compaction: int) -> bool:
    """Whether compaction and indexing are done, and the segments that are searched hold all rows, once."""
    compacted = client.get_compaction_state(compaction, timeout=CALL_SECONDS) == "Completed"
    to_index: int = client.describe_index(name, "vector", timeout=CALL_SECONDS)["pending_index_rows"]
    segments = client.list_loaded_segments(name, timeout=CALL_SECONDS)
    return compacted and not to_index and rows == sum(segment.num_rows for segment in segments)
