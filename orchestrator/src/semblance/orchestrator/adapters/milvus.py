"""`VectorIndex` over Milvus: standalone, cluster or Lite.

Searches run at *bounded* consistency, which costs no waiting. What makes an acknowledged write searchable at once is
that the write itself waits for a read at *strong* consistency, which Milvus answers once it has taken in all writes
before it (up to one time tick, 200 ms). Where a collection is served by several replicas, another replica may lag
behind, by no more than Milvus' `gracefulTime` (5 seconds).

Milvus Lite shows writes at once, and needs the care of `turns`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from pymilvus import AsyncMilvusClient, DataType, MilvusClient
from pymilvus.client.types import LoadState, Status
from pymilvus.exceptions import MilvusException

from semblance.orchestrator.adapters.expression import (
    Membership,
    equal_to_one_of,
    expression,
    one_of,
    text,
    text_list,
)
from semblance.orchestrator.adapters.milvus_search import HIT_FIELDS, METRIC_TYPES, MilvusSearch
from semblance.orchestrator.adapters.turns import Turns
from semblance.orchestrator.box import Box
from semblance.orchestrator.doctor.looks import CollectionState
from semblance.orchestrator.errors import ContractMismatch, DeadlineExceeded, DependencyUnavailable, SemblanceError
from semblance.orchestrator.filter import Filter
from semblance.orchestrator.ports import IndexEntry, IndexRow, Neighbours
from semblance.orchestrator.release import Release
from semblance.orchestrator.spans import calling

# Lengths of VARCHAR fields, in bytes of UTF-8: an item id has up to 256 characters.
KEY_LENGTH = 128
ITEM_ID_LENGTH = 1024
IMAGE_ID_LENGTH = 128

# Rows in one request; 1,000 of 2048 numbers are 8 MB, and Milvus accepts 64 MB.
ROWS_PER_REQUEST = 1000
# For a new connection, in seconds.
CONNECT_TIMEOUT = 5.0
# Of one flush of Milvus Lite, in seconds.
FLUSH_TIMEOUT = 30.0
# pymilvus' own time limit is this much longer than ours, so that only ours ends a call, in seconds.
MARGIN = 1.0

# pymilvus pings idle connections every 10 seconds, and gRPC's servers, Milvus Lite among them, hang up on that.
GRPC_OPTIONS = {
    "grpc.keepalive_time_ms": 60_000,
    "grpc.keepalive_permit_without_calls": 0,
    # A new connection is not to share the old one's back-off, which grows to two minutes.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
}

# `status.code` of a collection that is missing or not loaded: `ErrCollectionNotFound`, `ErrCollectionNotLoaded` of
# `pkg/util/merr/errors.go` in milvus-io/milvus.
MISSING = 100
NOT_LOADED = 101
# A property of each collection, the digest of an embedder's model file: another's vectors may have the same length.
MADE_FOR = "semblance.embedder"

SEARCH = "search"

log = logging.getLogger(__name__)
# What it logs, with a traceback, it also raises.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class MilvusIndex:
    """Connects when first used, and again by itself when the connection is lost."""

    def __init__(self, uri: str, token: str = "", alone: bool = True) -> None:
        """`alone`: no other process uses it, which Milvus Lite needs. Raises ValueError where `uri` is not one."""
        self._alone = alone
        self._uri = uri
        self._token = token
        self._connecting = asyncio.Lock()
        self._client: AsyncMilvusClient | None = None
        self._search = MilvusSearch(uri, token, GRPC_OPTIONS)
        # Where the server is Milvus Lite.
        self._turns: Turns | None = None

    async def close(self) -> None:
        if self._turns is not None:
            await self._turns.close()
        if self._client is not None:
            await self._client.close()
            self._client = None
        await self._search.close()

    async def create(self, release: Release, timeout: float) -> None:
        async with self._call("create the collection", release.collection, timeout):
            # Not AsyncMilvusClient: its create_index needs AllocTimestamp, which Milvus Lite does not have.
            await asyncio.to_thread(_create, self._uri, self._token, release, timeout)

    async def check(self, release: Release, timeout: float) -> None:
        async with self._call("describe the collection", release.collection, timeout) as client:
            await _check(client, release, timeout)

    async def version(self, timeout: float) -> str:
        """Milvus', such as `v2.6.4`; `milvus_lite-…` of Milvus Lite."""
        async with self._call("tell its version", "", timeout) as client:
            return str(await client.get_server_version(timeout=timeout + MARGIN))

    async def describe(self, collection: str, timeout: float) -> CollectionState:
        """Raises ContractMismatch where there is none. Loads nothing."""
        async with self._call("describe the collection", collection, timeout) as client:
            return await _state(client, collection, timeout)

    async def upsert(self, release: Release, rows: Sequence[IndexRow], timeout: float) -> None:
        async with self._collection_call("upsert", release, timeout) as client:
            await self._write(release, _upsert(client, release, rows, timeout))
            if rows and self._turns is None:
                await self._keys(client, release, f"key == {text(rows[0].key)}", timeout)

    async def delete(self, release: Release, item_id: str, keep: Collection[str], timeout: float) -> None:
        condition = f"item_id == {text(item_id)}"
        if keep:
            condition = f"({condition}) and (not (key in {text_list(sorted(keep))}))"
        async with self._collection_call("delete", release, timeout) as client:
            keys = await self._keys(client, release, condition, timeout)
            if not keys:
                return
            await self._write(release, client.delete(release.collection, ids=keys, timeout=timeout + MARGIN))
            # AsyncMilvusClient.delete does not look at the answer's status: what is still there was not deleted.
            if left := await self._keys(client, release, condition, timeout):
                raise DependencyUnavailable(f"Milvus did not delete {len(left)} vectors of item {item_id!r}; try again")

    async def search(
        self,
        release: Release,
        vectors: NDArray[np.float32],
        limit: int,
        where: Filter | None,
        include_attributes: bool,
        timeout: float,
        include_vectors: bool = False,
    ) -> list[Neighbours]:
        if not len(vectors):
            return []
        async with self._collection_call(SEARCH, release, timeout) as client, self._reading():
            condition = "" if where is None else expression(where, self._membership)
            search = partial(
                self._search, release, vectors, limit, condition, include_attributes, include_vectors, timeout
            )
            try:
                return await search()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                # Milvus may be back already while this connection waits for its next try. Fails where it is not.
                await client.get_server_version(timeout=timeout + MARGIN)
                await self._search.connected()
                return await search()

    async def entries(
        self, release: Release, after: str, until: str | None, limit: int, timeout: float
    ) -> Sequence[IndexEntry]:
        condition = f"item_id > {text(after)}"
        if until is not None:
            condition += f" and item_id <= {text(until)}"
        async with self._collection_call("list rows", release, timeout) as client, self._reading():
            rows = await client.query(
                release.collection,
                filter=condition,
                limit=limit,
                output_fields=["key", *HIT_FIELDS, "attributes"],
                consistency_level="Strong",
                timeout=timeout + MARGIN,
            )
        return [IndexEntry(row["key"], row["item_id"], row["image_id"], _box(row), row["attributes"]) for row in rows]

    async def count(self, release: Release, timeout: float) -> int:
        async with self._collection_call("count rows", release, timeout) as client, self._reading():
            rows = await client.query(
                release.collection,
                filter="",
                output_fields=["count(*)"],
                consistency_level="Strong",
                timeout=timeout + MARGIN,
            )
        return int(rows[0]["count(*)"])

    async def drop(self, collection: str, timeout: float) -> None:
        async with self._call("drop the collection", collection, timeout) as client:
            if await client.has_collection(collection, timeout=timeout + MARGIN):
                await client.drop_collection(collection, timeout=timeout + MARGIN)

    @property
    def _membership(self) -> Membership:
        return one_of if self._turns is None else equal_to_one_of

    @asynccontextmanager
    async def _call(self, action: str, collection: str, timeout: float) -> AsyncIterator[AsyncMilvusClient]:
        """The connected client, for at most `timeout` seconds; maps every failure of what is done with it."""
        # Several requests' searches are one call: they tell of it themselves.
        span = nullcontext() if action == SEARCH else calling(f"Milvus: {action}", {"collection": collection})
        try:
            with span:
                async with asyncio.timeout(timeout):
                    yield await self._connected()
        except TimeoutError:
            raise DeadlineExceeded(f"Milvus did not {action} within {timeout:.3g} seconds") from None
        except (MilvusException, grpc.RpcError) as error:
            raise _translated(error, action, collection, self._uri) from error

    @asynccontextmanager
    async def _collection_call(self, action: str, release: Release, timeout: float) -> AsyncIterator[AsyncMilvusClient]:
        """`_call`, and where Milvus fails, a look at whether the collection is the release's, and loaded."""
        async with self._call(action, release.collection, timeout) as client:
            try:
                yield client
            except MilvusException as error:
                if error.code not in (Status.CONNECT_FAILED, MISSING):
                    await _check(client, release, timeout)
                raise

    def _reading(self) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._turns is None else self._turns.reading()

    async def _write(self, release: Release, work: Coroutine[Any, Any, object]) -> None:
        await (work if self._turns is None else self._turns.write(release.collection, work))

    async def _keys(self, client: AsyncMilvusClient, release: Release, condition: str, timeout: float) -> list[str]:
        """The keys of the rows that meet `condition`, all writes before taken in."""
        async with self._reading():
            rows = await client.query(
                release.collection,
                filter=condition,
                output_fields=["key"],
                consistency_level="Strong",
                timeout=timeout + MARGIN,
            )
        return [row["key"] for row in rows]

    async def _connected(self) -> AsyncMilvusClient:
        if self._client is not None:
            return self._client
        async with self._connecting:
            if self._client is None:
                client = AsyncMilvusClient(
                    self._uri, token=self._token, timeout=CONNECT_TIMEOUT, dedicated=True, grpc_options=GRPC_OPTIONS
                )
                try:
                    version = await client.get_server_version(timeout=CONNECT_TIMEOUT)
                except BaseException:
                    await client.close()
                    raise
                if version.startswith("milvus_lite"):
                    if not self._alone:
                        await client.close()
                        raise ContractMismatch(
                            f"Milvus Lite at {self._uri} serves one process, and several workers were asked for; set "
                            "SEMBLANCE_WORKERS to 1, or use Milvus standalone"
                        )
                    self._turns = Turns(lambda collection: client.flush(collection, timeout=FLUSH_TIMEOUT))
                self._client = client
            return self._client


def _create(uri: str, token: str, release: Release, timeout: float) -> None:
    """Each step is taken where it is missing: another process may be doing the same, or have died half-way."""
    name = release.collection
    client = MilvusClient(uri, token=token, timeout=CONNECT_TIMEOUT, dedicated=True, grpc_options=GRPC_OPTIONS)
    try:
        _ensure(
            lambda: client.has_collection(name, timeout=timeout),
            lambda: client.create_collection(
                name, schema=_schema(release.dimension), properties={MADE_FOR: release.embedder.sha256}, timeout=timeout
            ),
        )
        _ensure(
            lambda: bool(client.list_indexes(name, timeout=timeout)),
            lambda: client.create_index(name, _index(release), timeout=timeout),
        )
        client.load_collection(name, timeout=timeout)
    finally:
        client.close()


def _ensure(there: Callable[[], bool], make: Callable[[], object]) -> None:
    if there():
        return
    try:
        make()
    except MilvusException:
        if not there():
            raise


def _schema(dimension: int) -> Any:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=KEY_LENGTH)
    schema.add_field("item_id", DataType.VARCHAR, max_length=ITEM_ID_LENGTH)
    schema.add_field("image_id", DataType.VARCHAR, max_length=IMAGE_ID_LENGTH)
    for name in ("x1", "y1", "x2", "y2"):
        schema.add_field(name, DataType.FLOAT)
    schema.add_field("attributes", DataType.JSON)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
    return schema


def _index(release: Release) -> Any:
    parameters = MilvusClient.prepare_index_params()
    parameters.add_index(
        "vector",
        index_type="HNSW",
        metric_type=METRIC_TYPES[release.index.metric],
        params={"M": release.index.m, "efConstruction": release.index.ef_construction},
    )
    return parameters


async def _state(client: AsyncMilvusClient, name: str, timeout: float) -> CollectionState:
    description = await client.describe_collection(name, timeout=timeout + MARGIN)
    indexes = await client.list_indexes(name, timeout=timeout + MARGIN)
    index = await client.describe_index(name, indexes[0], timeout=timeout + MARGIN) if indexes else {}
    state = (await client.get_load_state(name, timeout=timeout + MARGIN))["state"]
    return CollectionState(
        next((field["params"].get("dim") for field in description["fields"] if field["name"] == "vector"), None),
        description["properties"].get(MADE_FOR, ""),
        state == LoadState.Loaded,
        index.get("metric_type", ""),
        index.get("index_type", ""),
        int(index["M"]) if "M" in index else None,
        int(index["efConstruction"]) if "efConstruction" in index else None,
    )


async def _check(client: AsyncMilvusClient, release: Release, timeout: float) -> None:
    name = release.collection
    description = await client.describe_collection(name, timeout=timeout + MARGIN)
    dimensions = [field["params"].get("dim") for field in description["fields"] if field["name"] == "vector"]
    if dimensions != [release.dimension]:
        raise ContractMismatch(
            f"collection {name} holds vectors of {dimensions[0] if dimensions else 'no'} numbers, and release "
            f"{release.release_id} needs {release.dimension}; `semblance rebuild` makes the index anew"
        )
    made_for, embedder = description["properties"].get(MADE_FOR), release.embedder.sha256
    if made_for not in (None, embedder):
        raise ContractMismatch(
            f"collection {name} was made for the embedder with the SHA-256 {made_for}, and release "
            f"{release.release_id} has {embedder}; `semblance rebuild` makes the index anew"
        )
    state = (await client.get_load_state(name, timeout=timeout + MARGIN))["state"]
    if state == LoadState.Loading:
        raise DependencyUnavailable(f"Milvus is still loading collection {name}; try again")
    if state != LoadState.Loaded:
        # Milvus Lite forgets, when it is restarted, which collections were loaded.
        log.warning("collection %s is not loaded; loading it", name)
        await client.load_collection(name, timeout=timeout + MARGIN)


async def _upsert(client: AsyncMilvusClient, release: Release, rows: Sequence[IndexRow], timeout: float) -> None:
    for start in range(0, len(rows), ROWS_PER_REQUEST):
        data = [_row(row) for row in rows[start : start + ROWS_PER_REQUEST]]
        await client.upsert(release.collection, data, timeout=timeout + MARGIN)


def _row(row: IndexRow) -> dict[str, object]:
    return {
        "key": row.key,
        "item_id": row.item_id,
        "image_id": row.image_id,
        "x1": row.box.x1,
        "y1": row.box.y1,
        "x2": row.box.x2,
        "y2": row.box.y2,
        "attributes": dict(row.attributes),
        "vector": row.vector,
    }


def _box(row: Any) -> Box:
    return Box(row["x1"], row["y1"], row["x2"], row["y2"])


def _translated(error: MilvusException | grpc.RpcError, action: str, collection: str, uri: str) -> SemblanceError:
    if isinstance(error, grpc.RpcError):
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"Milvus did not {action} in time")
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            return DependencyUnavailable(f"Milvus at {uri} does not answer")
        return DependencyUnavailable(f"Milvus did not {action}: {error.code().name}")
    if error.code == MISSING:
        return ContractMismatch(
            f"Milvus at {uri} has no collection {collection}, which a release needs; check that this is the right "
            "Milvus; if it is, `semblance rebuild` makes the active release's anew from the other stores"
        )
    if error.code == NOT_LOADED:
        return DependencyUnavailable(f"collection {collection} was not loaded in Milvus; try again")
    if error.code == Status.CONNECT_FAILED:
        return DependencyUnavailable(f"Milvus at {uri} does not answer")
    log.error("Milvus did not %s: %s", action, error)
    return DependencyUnavailable(f"Milvus did not {action}; its answer is in the log")
