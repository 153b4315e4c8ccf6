"""Searches in Milvus without the service: random unit vectors in a collection of their own."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pymilvus import AsyncMilvusClient, DataType, MilvusClient

from semblance.export.contract import EMBEDDER
from semblance.orchestrator.release import IndexParameters

NAME = "benchmark"
DIMENSION = EMBEDDER.output.dims[0]
# As a release has it by default.
INDEX = IndexParameters()
LIMIT = 10
ROWS_PER_REQUEST = 1000
TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class Collection:
    """queries: float32 [N, dimension], of length 1."""

    uri: str
    queries: NDArray[np.float32]


@contextmanager
def filled(uri: str, rows: int) -> Iterator[Collection]:
    """A loaded, indexed collection of random vectors, dropped at the end."""
    random = np.random.default_rng(0)
    client = MilvusClient(uri, timeout=TIMEOUT)
    try:
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("key", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
        index = MilvusClient.prepare_index_params()
        index.add_index(
            "vector",
            index_type="HNSW",
            metric_type="COSINE",
            params={"M": INDEX.m, "efConstruction": INDEX.ef_construction},
        )
        client.create_collection(NAME, schema=schema)
        for start in range(0, rows, ROWS_PER_REQUEST):
            vectors = _unit(random, min(ROWS_PER_REQUEST, rows - start))
            client.insert(NAME, [{"key": start + i, "vector": vector} for i, vector in enumerate(vectors)])
        client.flush(NAME)
        client.create_index(NAME, index)
        client.load_collection(NAME)
        yield Collection(uri, _unit(random, 100))
    finally:
        client.drop_collection(NAME)
        client.close()


def run(collection: Collection, in_flight: int, seconds: float) -> tuple[list[float], float]:
    """Searches with one vector each, `in_flight` at once; their latencies and the wall time, in seconds."""
    return asyncio.run(_run(collection, in_flight, seconds))


async def _run(collection: Collection, in_flight: int, seconds: float) -> tuple[list[float], float]:
    latencies: list[float] = []
    turns = itertools.cycle(collection.queries)
    client = AsyncMilvusClient(collection.uri, timeout=TIMEOUT)

    async def caller(end: float) -> None:
        while (begin := time.perf_counter()) < end:
            await client.search(
                NAME,
                data=[next(turns)],
                anns_field="vector",
                limit=LIMIT,
                search_params={"metric_type": "COSINE", "params": {"ef": INDEX.ef}},
                consistency_level="Bounded",
            )
            latencies.append(time.perf_counter() - begin)

    try:
        begin = time.perf_counter()
        await asyncio.gather(*(caller(begin + seconds) for _ in range(in_flight)))
        return latencies, time.perf_counter() - begin
    finally:
        await client.close()


def _unit(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    vectors = random.normal(size=(count, DIMENSION)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
