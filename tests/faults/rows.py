"""Whether a release's collection holds what its models make of the catalogue, row by row."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pymilvus import MilvusClient

from semblance.orchestrator.adapters.images import FileImageStore
from semblance.orchestrator.adapters.metadata import Database, SqlMetadataStore, SqlRegistry
from semblance.orchestrator.adapters.milvus import GRPC_OPTIONS, MilvusIndex
from semblance.orchestrator.adapters.transport import Mode
from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.catalog import row_key
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.decode import ImageLimits
from semblance.orchestrator.item import Item
from semblance.orchestrator.pipeline import Description, Pipeline, Selection, Stopwatch
from semblance.orchestrator.ports import ImageStore
from semblance.orchestrator.release import ModelVersion, Registered, Release
from semblance.orchestrator.threads import Threads
from tests.faults.parts import Service

LIMITS = ImageLimits(2**24, 50_000_000)
# Of one description or query, in seconds.
TIMEOUT = 30.0
POLL = 0.01
# More than any catalogue of these tests has; the most that Milvus returns at once.
MOST = 16_384
# Between what one model made of one picture twice.
TOLERANCE = 1e-4


@dataclass
class Collections:
    """Beside a running service, on its stores and its Triton."""

    metadata: SqlMetadataStore
    registry: SqlRegistry
    milvus_uri: str
    _images: ImageStore
    _pipeline: Pipeline
    _described: dict[tuple[ModelVersion, ModelVersion, str], Description] = field(default_factory=dict)

    async def find(self, release_id: str) -> Registered:
        return next(each for each in await self.registry.releases() if each.release_id == release_id)

    async def items(self, release: Release) -> Sequence[Item]:
        return await self.metadata.items_after(release.collection, "", MOST)

    async def wait_until_settled(self, release_id: str, least: int, limit: float) -> int:
        """Until so many items are in a release's collection; returns how many are. Asks no part but the database."""
        async with asyncio.timeout(limit):
            collection = (await self.find(release_id)).release.collection
            while True:
                items = (await self.metadata.count(collection)).items
                settled = items - await self.metadata.count_unsettled(collection, datetime.now(UTC))
                if settled >= least:
                    return settled
                await asyncio.sleep(POLL)

    async def complaints(self, release_id: str) -> list[str]:
        """What is missing, doubled, of nobody or of another model."""
        release = (await self.find(release_id)).release
        wanted, counted = {}, 0
        for item in await self.items(release):
            counted += sum(image.vectors for image in item.images)
            for image in item.images:
                made = await self._describe(image.image_id, release)
                for number, (region, vector) in enumerate(zip(made.regions, made.vectors, strict=True)):
                    key = row_key(item.item_id, image.image_id, number)
                    wanted[key] = {
                        "item_id": item.item_id,
                        "image_id": image.image_id,
                        "attributes": dict(item.attributes),
                        "box": [region.box.x1, region.box.y1, region.box.x2, region.box.y2],
                        "vector": vector,
                    }
        found = self.rows(release)
        complaints = [f"{key} is there {times} times" for key, times in _keys(found).items() if times > 1]
        rows = {row["key"]: row for row in found}
        complaints += [f"{wanted[key]['item_id']} lacks row {key}" for key in wanted.keys() - rows.keys()]
        complaints += [f"row {key} of {rows[key]['item_id']} is too many" for key in rows.keys() - wanted.keys()]
        for key in wanted.keys() & rows.keys():
            complaints += [
                f"{what} of row {key} of {wanted[key]['item_id']}" for what in _wrong(rows[key], wanted[key])
            ]
        if counted != len(wanted):
            complaints.append(f"the metadata store tells of {counted} vectors, and there should be {len(wanted)}")
        return [f"{release_id}: {complaint}" for complaint in sorted(complaints)]

    def rows(self, release: Release) -> Sequence[Any]:
        # Milvus Lite turns away who pings it as often as the client does by default.
        client = MilvusClient(self.milvus_uri, timeout=TIMEOUT, dedicated=True, grpc_options=GRPC_OPTIONS)
        try:
            found: Sequence[Any] = client.query(
                release.collection,
                filter='item_id >= ""',
                limit=MOST,
                output_fields=["*", "vector"],
                consistency_level="Strong",
                timeout=TIMEOUT,
            )
            return found
        finally:
            client.close()

    async def _describe(self, image_id: str, release: Release) -> Description:
        key = release.detector, release.embedder, image_id
        if key not in self._described:
            file = await self._images.read(image_id)
            self._described[key] = await self._pipeline.describe(
                file, Selection(), release, Deadline.after(TIMEOUT), Stopwatch()
            )
        return self._described[key]


def _keys(rows: Sequence[Any]) -> Mapping[str, int]:
    return Counter(row["key"] for row in rows)


def _wrong(row: Any, wanted: Mapping[str, Any]) -> list[str]:
    box = [row[side] for side in ("x1", "y1", "x2", "y2")]
    found = [name for name in ("item_id", "image_id", "attributes") if row[name] != wanted[name]]
    found += ["box"] if not np.allclose(box, wanted["box"], atol=TOLERANCE) else []
    vector = np.array(row["vector"], np.float32)
    same = vector.shape == wanted["vector"].shape and np.allclose(vector, wanted["vector"], atol=TOLERANCE)
    return found if same else [*found, "vector"]


@asynccontextmanager
async def opened(service: Service) -> AsyncIterator[Collections]:
    async with AsyncExitStack() as stack:
        database, images = Database(service.metadata_url), FileImageStore(service.image_store)
        index, models = MilvusIndex(service.milvus_uri), TritonServer(service.triton, Mode.BYTES, 1)
        for store in (database, images, index, models):
            stack.push_async_callback(store.close)
        threads = Threads(1)
        stack.callback(threads.close)
        pipeline = Pipeline(models, index, threads, LIMITS)
        yield Collections(SqlMetadataStore(database), SqlRegistry(database), service.milvus_uri, images, pipeline)
