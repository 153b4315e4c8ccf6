"""A catalogue on fakes, and two photos for it."""

from io import BytesIO

from PIL import Image

from semblance.orchestrator.catalog import Catalog, Outcome
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.decode import ImageLimits
from semblance.orchestrator.item import ItemDraft, Value
from semblance.orchestrator.pipeline import Pipeline
from semblance.orchestrator.testing import (
    FakeInferenceServer,
    MemoryImageStore,
    MemoryMetadataStore,
    MemoryRegistry,
    MemoryVectorIndex,
    example_release,
)
from semblance.orchestrator.threads import Threads

RELEASE = example_release()


def picture(*colour: int) -> bytes:
    image = Image.new("RGB", (80, 60), (128, 128, 128))
    image.paste(colour, (10, 10, 50, 40))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


RED, GREEN = picture(220, 20, 20), picture(20, 220, 20)


class Stores:
    def __init__(self) -> None:
        self.models = FakeInferenceServer(RELEASE.detector, RELEASE.embedder)
        self.metadata = MemoryMetadataStore()
        self.registry = MemoryRegistry(self.metadata)
        self.images = MemoryImageStore()
        self.index = MemoryVectorIndex()
        self.threads = Threads(1)
        self.catalog = self.process()

    def process(self) -> Catalog:
        """The catalogue as one process more keeps it."""
        pipeline = Pipeline(self.models, self.index, self.threads, ImageLimits(10**6, 10**6))
        return Catalog(pipeline, self.metadata, self.images, self.index)

    async def open(self) -> None:
        """`RELEASE` is active, and its collection empty."""
        await self.registry.add_first_release(RELEASE)
        await self.index.create(RELEASE, 1)

    async def put(self, item_id: str, *images: bytes, **attributes: Value) -> Outcome:
        return await self.catalog.put(ItemDraft(item_id, attributes, images), RELEASE, Deadline.after(10))

    async def delete(self, item_id: str) -> None:
        await self.catalog.delete(item_id, RELEASE, Deadline.after(10))

    async def mend(self) -> None:
        """What is unsettled, once each."""
        for item_id, revision in await self.metadata.unsettled(RELEASE.collection, 100):
            await self.catalog.mend(item_id, revision, RELEASE)

    def unsettled(self, collection: str = RELEASE.collection) -> list[str]:
        """Oldest change first."""
        return [*self.metadata.changed[collection]]

    def indexed(self, collection: str = RELEASE.collection) -> list[tuple[str, str, dict[str, Value]]]:
        rows = self.index.collections[collection].rows.values()
        return sorted((row.item_id, row.image_id, dict(row.attributes)) for row in rows)

    def true(self) -> list[tuple[str, str, dict[str, Value]]]:
        return sorted(
            (item.item_id, image.image_id, dict(item.attributes))
            for item in self.metadata.items.values()
            for image in item.images
        )
