"""The truth and the index agree in the end, whatever fails in between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from semblance.orchestrator import catalog
from semblance.orchestrator.catalog import MEND_IN_FLIGHT, MENDS_AT_MODELS, Catalog, Outcome, mend_forever
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.decode import ImageLimits
from semblance.orchestrator.errors import (
    Conflict,
    DependencyUnavailable,
    InvalidArgument,
    InvalidImage,
    NotFound,
    SemblanceError,
)
from semblance.orchestrator.item import Item, ItemDraft, ItemImage, Value
from semblance.orchestrator.pipeline import Pipeline
from semblance.orchestrator.ports import Written
from semblance.orchestrator.release import Release
from semblance.orchestrator.testing import (
    FakeInferenceServer,
    MemoryImageStore,
    MemoryMetadataStore,
    MemoryVectorIndex,
    example_release,
)
from semblance.orchestrator.threads import Threads

RELEASE = example_release()
DOWN = DependencyUnavailable("down")


def picture(*colour: int) -> bytes:
    image = Image.new("RGB", (80, 60), (128, 128, 128))
    image.paste(colour, (10, 10, 50, 40))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


RED, GREEN = picture(220, 20, 20), picture(20, 220, 20)


class Stores:
    """A catalogue on fakes."""

    def __init__(self) -> None:
        self.models = FakeInferenceServer(RELEASE.detector, RELEASE.embedder)
        self.metadata = MemoryMetadataStore()
        self.metadata.release = RELEASE
        self.images = MemoryImageStore()
        self.index = MemoryVectorIndex()
        self.threads = Threads(1)
        pipeline = Pipeline(self.models, self.index, self.threads, ImageLimits(10**6, 10**6))
        self.catalog = Catalog(pipeline, self.metadata, self.images, self.index)

    async def put(self, item_id: str, *images: bytes, **attributes: Value) -> Outcome:
        return await self.catalog.put(ItemDraft(item_id, attributes, images), RELEASE, Deadline.after(10))

    async def delete(self, item_id: str) -> None:
        await self.catalog.delete(item_id, RELEASE, Deadline.after(10))

    async def mend(self) -> None:
        for item_id, revision in await self.catalog.unsettled(0):
            await self.catalog.mend(item_id, revision, RELEASE)

    def indexed(self, collection: str = RELEASE.collection) -> list[tuple[str, str, dict[str, Value]]]:
        rows = self.index.collections[collection].rows.values()
        return sorted((row.item_id, row.image_id, dict(row.attributes)) for row in rows)

    def true(self) -> list[tuple[str, str, dict[str, Value]]]:
        return sorted(
            (item.item_id, image.image_id, dict(item.attributes))
            for item in self.metadata.items.values()
            for image in item.images
        )


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    made = Stores()
    await made.index.create(RELEASE, 1)
    yield made
    made.threads.close()


async def test_tells_when_the_models_have_done_their_part_of_a_put(stores: Stores) -> None:
    told: list[tuple[list[tuple[str, int]], int]] = []
    draft = ItemDraft("a", {}, (RED, GREEN))
    await stores.catalog.put(
        draft, RELEASE, Deadline.after(10), lambda: told.append(([*stores.models.requests], len(stores.indexed())))
    )
    assert told == [(stores.models.requests, 0)]


async def test_replaying_a_put_changes_nothing_and_computes_nothing(stores: Stores) -> None:
    assert await stores.put("a", RED, colour="red") is Outcome.CREATED
    before, requests = stores.indexed(), len(stores.models.requests)
    assert await stores.put("a", RED, colour="red") is Outcome.UNCHANGED
    assert stores.indexed() == before == stores.true()
    assert len(stores.models.requests) == requests


async def test_rows_hold_attributes_as_they_are_stored(stores: Stores) -> None:
    await stores.put("a", RED, price=1.5)
    await stores.put("b", RED, price=2)
    assert repr(stores.indexed()[1][2]["price"]) == "2.0"


async def test_a_number_is_not_the_truth_value_that_equals_it(stores: Stores) -> None:
    await stores.put("a", RED, sold=True)
    with pytest.raises(InvalidArgument, match="sold"):
        await stores.put("a", RED, sold=1)


async def test_a_replaced_item_leaves_no_rows_behind(stores: Stores) -> None:
    await stores.put("a", RED, GREEN, colour="red")
    assert await stores.put("a", GREEN, colour="green") is Outcome.REPLACED
    assert stores.indexed() == stores.true()
    assert len(stores.indexed()) == 1


async def test_the_same_image_twice_counts_once(stores: Stores) -> None:
    await stores.put("a", RED, RED)
    assert len(stores.indexed()) == 1
    assert await stores.put("a", RED) is Outcome.UNCHANGED


async def test_a_bad_image_stores_nothing(stores: Stores) -> None:
    with pytest.raises(InvalidImage):
        await stores.put("a", RED, b"no image")
    assert not stores.metadata.items
    assert not stores.images.images
    assert not stores.indexed()


@pytest.mark.parametrize("part", ["models", "images", "metadata", "index"])
async def test_a_put_that_failed_is_put_right_by_putting_it_again(stores: Stores, part: str) -> None:
    await stores.put("a", RED, colour="red")
    getattr(stores, part).fail(DOWN)
    with pytest.raises(DependencyUnavailable):
        await stores.put("a", GREEN, colour="green")
    assert await stores.put("a", GREEN, colour="green") is Outcome.REPLACED
    assert stores.indexed() == stores.true()
    assert not stores.metadata.changed
    assert (await stores.catalog.get("a")).attributes == {"colour": "green"}


async def test_a_put_that_was_given_up_does_not_undo_a_later_one(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction goes on in its thread when its caller is gone, and may be held up for long."""
    write = stores.metadata.write
    held_up: list[tuple[Item, int | None]] = []

    async def give_up(item: Item, after: int | None = None) -> Written:
        held_up.append((item, after))
        raise DOWN

    monkeypatch.setattr(stores.metadata, "write", give_up)
    with pytest.raises(DependencyUnavailable):
        await stores.put("a", RED)
    monkeypatch.setattr(stores.metadata, "write", write)
    await stores.put("a", GREEN)
    with pytest.raises(Conflict):
        await write(*held_up[0])
    assert stores.indexed() == stores.true()


async def test_a_put_that_did_not_reach_the_index_is_mended(stores: Stores) -> None:
    await stores.put("a", RED)
    stores.index.fail(DOWN)
    with pytest.raises(DependencyUnavailable):
        await stores.put("a", GREEN)
    assert stores.indexed() != stores.true()
    await stores.mend()
    assert stores.indexed() == stores.true()
    assert not stores.metadata.changed


async def test_a_removal_that_did_not_reach_the_index_is_mended(stores: Stores) -> None:
    await stores.put("a", RED)
    stores.index.fail(DOWN)
    with pytest.raises(DependencyUnavailable):
        await stores.delete("a")
    with pytest.raises(NotFound):
        await stores.catalog.get("a")
    assert stores.indexed()
    await stores.mend()
    assert stores.indexed() == []
    assert not stores.metadata.changed


async def test_two_puts_of_one_item_come_one_after_the_other(stores: Stores) -> None:
    outcomes = await asyncio.gather(stores.put("a", RED), stores.put("a", GREEN), stores.put("a", GREEN))
    assert list(outcomes) == [Outcome.CREATED, Outcome.REPLACED, Outcome.UNCHANGED]
    assert stores.indexed() == stores.true()


async def test_another_process_in_between_is_a_conflict_that_is_mended(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stores.put("a", RED)
    theirs = (await stores.catalog.get("a"),)
    settle = stores.metadata.settle

    async def after_their_write(item_id: str, revision: int, release: Release, images: Sequence[ItemImage]) -> bool:
        await stores.metadata.write(theirs[0])
        return await settle(item_id, revision, release, images)

    monkeypatch.setattr(stores.metadata, "settle", after_their_write)
    with pytest.raises(Conflict, match="put it again"):
        await stores.put("a", GREEN)
    monkeypatch.setattr(stores.metadata, "settle", settle)
    assert stores.indexed() != stores.true()
    await stores.mend()
    assert stores.indexed() == stores.true()


async def test_a_put_that_went_to_a_replaced_collection_is_a_conflict(stores: Stores) -> None:
    await stores.metadata.replace_collection("other")
    with pytest.raises(Conflict, match="put it again"):
        await stores.put("a", RED)
    assert set(stores.metadata.changed) == {"a"}


async def test_mending_fills_another_collection_with_everything(stores: Stores) -> None:
    for number in range(5):
        await stores.put(f"i{number}", RED, GREEN, n=number)
    expected = stores.indexed()
    release = await stores.metadata.replace_collection("other")
    await stores.index.create(release, 1)
    mending = asyncio.create_task(mend_forever(stores.catalog, release, seconds=0.001))
    async with asyncio.timeout(10):
        while stores.metadata.changed:
            await asyncio.sleep(0.001)
    mending.cancel()
    assert stores.indexed("other") == expected == stores.true()


async def test_the_mender_of_a_replaced_collection_takes_no_item_from_the_next(stores: Stores) -> None:
    for number in range(5):
        await stores.put(f"i{number}", RED, n=number)
    await stores.metadata.replace_collection("other")
    moment = datetime.now(UTC)
    stores.models.requests.clear()
    mending = asyncio.create_task(mend_forever(stores.catalog, RELEASE, seconds=0.001))
    async with asyncio.timeout(10):
        # The detector's and the embedder's for each item, and more than one round of them.
        while len(stores.models.requests) < 30:
            await asyncio.sleep(0.001)
    mending.cancel()
    assert await stores.metadata.count_unsettled(moment) == 5
    assert [item_id for item_id, _ in await stores.metadata.unsettled(10)] == [f"i{number}" for number in range(5)]


async def test_mending_counts_the_objects_that_are_found_now(stores: Stores) -> None:
    await stores.put("a", RED)
    stores.models.detections = np.array([[90, 170, 390, 390, 0.9, 0], [420, 200, 600, 500, 0.8, 0]], np.float32)
    await stores.metadata.unsettle(["a"])
    await stores.mend()
    assert [image.vectors for image in (await stores.catalog.get("a")).images] == [2]
    assert len(stores.indexed()) == 2


async def test_the_mender_goes_on_whatever_one_item_does(stores: Stores) -> None:
    for item_id in ("a", "b"):
        stores.index.fail(DOWN)
        with suppress(SemblanceError):
            await stores.put(item_id, RED)
    stores.index.fail(KeyError("a defect"))
    mending = asyncio.create_task(mend_forever(stores.catalog, RELEASE, seconds=0.001))
    async with asyncio.timeout(10):
        while stores.metadata.changed:
            await asyncio.sleep(0.001)
    assert stores.indexed() == stores.true()
    assert len(stores.indexed()) == 2
    mending.cancel()


async def test_what_can_not_be_mended_keeps_nothing_from_it(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "MEND_BATCH", 2)
    for item_id, image in (("a", RED), ("b", RED), ("c", GREEN)):
        stores.index.fail(DOWN)
        with suppress(SemblanceError):
            await stores.put(item_id, image)
    for lost in [image_id for image_id, data in stores.images.images.items() if data == RED]:
        del stores.images.images[lost]
    mending = asyncio.create_task(mend_forever(stores.catalog, RELEASE, seconds=0.001))
    async with asyncio.timeout(10):
        while "c" in stores.metadata.changed:
            await asyncio.sleep(0.001)
    assert set(stores.metadata.changed) == {"a", "b"}
    mending.cancel()


async def test_few_mends_are_at_the_models_and_more_wait_for_the_index(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(MEND_IN_FLIGHT + 4):
        stores.index.fail(DOWN)
        with suppress(SemblanceError):
            await stores.put(f"i{number}", RED, n=number)
    at = {"models": 0, "index": 0}
    most = dict(at)
    limits = {"models": MENDS_AT_MODELS, "index": MEND_IN_FLIGHT}
    all_there = {name: asyncio.Event() for name in limits}

    def counted(name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            at[name] += 1
            most[name] = max(most[name], at[name])
            if at[name] == limits[name]:
                all_there[name].set()
            try:
                await all_there[name].wait()
                # Whoever else is let in comes meanwhile.
                await stores.threads.run(int)
                return await method(*arguments)
            finally:
                at[name] -= 1

        return call

    monkeypatch.setattr(stores.models, "infer", counted("models", stores.models.infer))
    monkeypatch.setattr(stores.index, "upsert", counted("index", stores.index.upsert))
    mending = asyncio.create_task(mend_forever(stores.catalog, RELEASE, seconds=0.001))
    async with asyncio.timeout(10):
        while stores.metadata.changed:
            await asyncio.sleep(0.001)
    mending.cancel()
    assert most == limits


async def test_the_images_of_an_item_are_decoded_one_after_another(stores: Stores) -> None:
    await stores.put("a", RED, GREEN)
    assert [model for model, _ in stores.models.requests] == ["detector", "embedder"] * 2
