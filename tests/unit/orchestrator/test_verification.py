"""What verification finds, and what it leaves to those who are writing at the same moment."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from semblance.orchestrator import verification as module
from semblance.orchestrator.box import Box
from semblance.orchestrator.catalog import row_key
from semblance.orchestrator.errors import ContractMismatch
from semblance.orchestrator.item import Attributes, Item, ItemImage
from semblance.orchestrator.ports import IndexEntry, IndexRow
from semblance.orchestrator.release import Release
from semblance.orchestrator.testing import (
    MemoryImageStore,
    MemoryMetadataStore,
    MemoryRegistry,
    MemoryVectorIndex,
    example_release,
)
from semblance.orchestrator.verification import Disagreement, Verification

RELEASE = example_release()
MOMENT = datetime(2025, 1, 1, tzinfo=UTC)


def item(item_id: str, attributes: Attributes | None = None, vectors: int = 2) -> Item:
    images = (ItemImage("aa" * 32, 100, 100, vectors), ItemImage("bb" * 32, 100, 100, 1))
    return Item(item_id, attributes or {}, images, MOMENT, MOMENT)


def rows(item: Item) -> list[IndexRow]:
    return [
        IndexRow(
            row_key(item.item_id, image.image_id, number),
            item.item_id,
            image.image_id,
            Box(0, 0, 1, 1),
            item.attributes,
            np.ones(48, np.float32),
        )
        for image in item.images
        for number in range(image.vectors)
    ]


class Stores:
    def __init__(self) -> None:
        self.metadata, self.images, self.index = MemoryMetadataStore(), MemoryImageStore(), MemoryVectorIndex()
        self.verification = Verification(self.metadata, self.images, self.index)

    async def put(self, *items: Item) -> None:
        for each in items:
            revision = (await self.metadata.write(each)).revision
            for image in each.images:
                await self.images.write(image.image_id, b"some bytes")
            await self.index.upsert(RELEASE, rows(each), 1)
            await self.metadata.settle(RELEASE.collection, each.item_id, revision)

    @property
    def rows(self) -> dict[str, IndexRow]:
        return self.index.collections[RELEASE.collection].rows

    async def found(self, after: str = "") -> list[Disagreement]:
        return [found async for page in self.verification.items(RELEASE, after) for found in page.disagreements]


@pytest.fixture
async def stores(monkeypatch: pytest.MonkeyPatch) -> Stores:
    monkeypatch.setattr(module, "SECOND_LOOK", 0)
    made = Stores()
    await MemoryRegistry(made.metadata).add_first_release(RELEASE)
    await made.index.create(RELEASE, 1)
    return made


@pytest.mark.parametrize("page", [1, 2, 3, 200])
async def test_finds_everything_whatever_the_size_of_the_pages(
    stores: Stores, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ITEMS", page)
    items = [item(name, {"n": 1}) for name in ("b", "d", "f", "h", "j")]
    await stores.put(*items)
    assert await stores.found() == []
    del stores.rows[rows(items[0])[0].key]
    for stranger in ("a", "e", "z"):
        await stores.index.upsert(RELEASE, rows(item(stranger)), 1)
    stale = rows(items[2])[1]
    stores.rows[stale.key] = replace(stale, attributes={"n": True})
    await stores.index.upsert(RELEASE, [replace(rows(items[3])[0], key="one more")], 1)
    assert await stores.found() == [
        Disagreement("a", 0, 3, 0, False),
        Disagreement("b", 1, 0, 0, False),
        Disagreement("e", 0, 3, 0, False),
        Disagreement("f", 0, 0, 1, False),
        Disagreement("h", 0, 1, 0, False),
        Disagreement("z", 0, 3, 0, False),
    ]
    assert [found.item_id for found in await stores.found(after="e")] == ["f", "h", "z"]


async def test_a_page_with_too_many_rows_is_looked_at_in_parts(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 8)
    await stores.put(*[item(f"i{number}") for number in range(20)])
    pages = [page async for page in stores.verification.items(RELEASE)]
    assert sum(page.items for page in pages) == 20
    assert sum(page.rows for page in pages) == 60
    assert not any(page.disagreements for page in pages)


async def test_strangers_too_many_for_a_page_do_not_make_known_items_look_bad(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS", 8)
    await stores.put(item("a"), item("z"))
    for number in range(10):
        await stores.index.upsert(RELEASE, rows(item(f"b{number}")), 1)
    found = await stores.found()
    assert found
    assert all(each.item_id.startswith("b") and not each.missing for each in found)


async def test_a_row_of_another_image_is_stale(stores: Stores) -> None:
    await stores.put(item("i"))
    some = rows(item("i"))[0]
    stores.rows[some.key] = replace(some, image_id="cc" * 32)
    assert await stores.found() == [Disagreement("i", 0, 0, 1, False)]


async def test_an_item_that_waits_to_be_mended_is_said_to(stores: Stores) -> None:
    await stores.put(item("i"))
    stores.rows.clear()
    await stores.metadata.unsettle(RELEASE.collection, ["i"])
    assert await stores.found() == [Disagreement("i", 3, 0, 0, True)]


async def test_what_changes_meanwhile_is_left_alone(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the looks at the truth and at the index, one item is put, one replaced, and one deleted."""
    await stores.put(item("deleted"), item("replaced"))
    entries = stores.index.entries
    truth_first = True

    async def others_write(release: Release, *arguments: object) -> list[IndexEntry]:
        nonlocal truth_first
        if truth_first:
            truth_first = False
            await stores.put(item("put"), item("replaced", {"new": 1}))
            revision = await stores.metadata.remove("deleted")
            await stores.index.delete(RELEASE, "deleted", (), 1)
            await stores.metadata.settle(RELEASE.collection, "deleted", revision)
        return list(await entries(release, *arguments))  # type: ignore[arg-type]

    monkeypatch.setattr(stores.index, "entries", others_write)
    assert await stores.found() == []
    assert not truth_first


async def test_an_item_that_changes_at_both_looks_is_left_alone(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stores.put(item("i"))
    stores.rows.clear()
    entries = stores.index.entries

    async def somebody_writes(release: Release, *arguments: object) -> list[IndexEntry]:
        found = list(await entries(release, *arguments))  # type: ignore[arg-type]
        await stores.metadata.write(item("i"))
        return found

    monkeypatch.setattr(stores.index, "entries", somebody_writes)
    assert await stores.found() == []


async def test_a_collection_that_is_not_there_is_named(stores: Stores) -> None:
    await stores.put(item("i"))
    stores.index.collections.clear()
    with pytest.raises(ContractMismatch):
        await stores.found()


async def test_lost_images_and_those_that_nothing_refers_to(stores: Stores) -> None:
    await stores.put(item("i"))
    del stores.images.images["aa" * 32]
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    for image_id, written_at in (("cc" * 32, long_ago), ("dd" * 32, datetime.now(UTC))):
        await stores.images.write(image_id, b"bytes")
        stores.images.written_at[image_id] = written_at
    stores.images.written_at["bb" * 32] = long_ago
    pages = [page async for page in stores.verification.images()]
    assert [image_id for page in pages for image_id in page.lost] == ["aa" * 32]
    assert [image.image_id for page in pages for image in page.unreferenced] == ["cc" * 32]
    assert sum([await stores.verification.collect(page) for page in pages]) == 1
    assert stores.images.images.keys() == {"bb" * 32, "dd" * 32}


async def test_an_image_that_is_put_again_meanwhile_is_not_collected(stores: Stores) -> None:
    await stores.images.write("aa" * 32, b"bytes")
    await stores.images.write("bb" * 32, b"bytes")
    for image_id in list(stores.images.images):
        stores.images.written_at[image_id] = datetime.now(UTC) - timedelta(hours=2)
    pages = [page async for page in stores.verification.images() if page.unreferenced]
    assert len(pages) == 2
    await stores.images.write("aa" * 32, b"bytes")
    await stores.metadata.write(replace(item("i"), images=(ItemImage("bb" * 32, 1, 1, 1),)))
    assert sum([await stores.verification.collect(page) for page in pages]) == 0
