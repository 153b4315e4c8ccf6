"""The truth and the index agree in the end, whatever fails in between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from semblance.orchestrator import catalog
from semblance.orchestrator.catalog import Outcome
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import (
    Conflict,
    DependencyUnavailable,
    InvalidArgument,
    InvalidImage,
    NotFound,
    WrongState,
)
from semblance.orchestrator.item import Item, ItemDraft, ItemImage
from semblance.orchestrator.ports import Written
from tests.unit.orchestrator.stores import GREEN, RED, RELEASE, Stores, picture

DOWN = DependencyUnavailable("down")


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    made = Stores()
    await made.open()
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


async def test_an_item_is_given_no_more_images_than_one_message_carries(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stores.put("a", RED, GREEN)
    blue = picture(20, 20, 220)
    monkeypatch.setattr(catalog, "MAX_BYTES", len(RED) + len(GREEN) + len(blue) - 1)
    with pytest.raises(WrongState, match="may have no more than"):
        await stores.catalog.add_image("a", blue, RELEASE, Deadline.after(10))
    # Of what it may not have, no more was read than tells so.
    monkeypatch.setattr(catalog, "MAX_BYTES", len(RED) - 1)
    read: list[str] = []
    monkeypatch.setattr(stores.images, "read", recording(stores.images.read, read))
    with pytest.raises(WrongState):
        await stores.catalog.add_image("a", blue, RELEASE, Deadline.after(10))
    assert len(read) == 1
    monkeypatch.undo()
    outcome = await stores.catalog.add_image("a", blue, RELEASE, Deadline.after(10))
    assert outcome is Outcome.REPLACED
    assert stores.indexed() == stores.true()
    assert len(stores.indexed()) == 3
    # A put may be somewhat larger; nothing is added to it.
    monkeypatch.setattr(catalog, "MAX_BYTES", len(RED) - 1)
    outcome = await stores.catalog.add_image("a", blue, RELEASE, Deadline.after(10))
    assert outcome is Outcome.UNCHANGED


def recording(read: Callable[[str], Awaitable[bytes]], seen: list[str]) -> Callable[[str], Awaitable[bytes]]:
    async def recorded(image_id: str) -> bytes:
        seen.append(image_id)
        return await read(image_id)

    return recorded


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
    assert not stores.unsettled()
    assert (await stores.catalog.get("a", RELEASE)).attributes == {"colour": "green"}


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
    assert not stores.unsettled()


async def test_a_removal_that_did_not_reach_the_index_is_mended(stores: Stores) -> None:
    await stores.put("a", RED)
    stores.index.fail(DOWN)
    with pytest.raises(DependencyUnavailable):
        await stores.delete("a")
    with pytest.raises(NotFound):
        await stores.catalog.get("a", RELEASE)
    assert stores.indexed()
    await stores.mend()
    assert stores.indexed() == []
    assert not stores.unsettled()


async def test_a_removal_that_is_repeated_ends_what_the_first_one_began(stores: Stores) -> None:
    await stores.put("a", RED)
    stores.index.fail(DOWN)
    with pytest.raises(DependencyUnavailable):
        await stores.delete("a")
    with pytest.raises(NotFound):
        await stores.delete("a")
    assert stores.indexed()
    await stores.catalog.delete("a", RELEASE, Deadline.after(10), repeated=True)
    assert stores.indexed() == []
    assert not stores.unsettled()
    await stores.catalog.delete("nonesuch", RELEASE, Deadline.after(10), repeated=True)


async def test_a_removal_that_is_repeated_when_it_was_done_takes_nothing_of_a_put_after_it(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is killed when it would have deleted rows: nobody would mend that."""
    await stores.put("a", RED)
    await stores.delete("a")
    other, remove, delete = stores.process(), stores.metadata.remove, stores.index.delete

    async def before_their_put(item_id: str, after: int | None = None) -> int:
        try:
            return await remove(item_id, after)
        finally:
            await other.put(ItemDraft("a", {}, (GREEN,)), RELEASE, Deadline.after(10))
            monkeypatch.setattr(stores.index, "delete", and_no_more)

    async def and_no_more(*arguments: Any) -> None:
        await delete(*arguments)
        raise asyncio.CancelledError

    monkeypatch.setattr(stores.metadata, "remove", before_their_put)
    with suppress(asyncio.CancelledError):
        await stores.catalog.delete("a", RELEASE, Deadline.after(10), repeated=True)
    assert not stores.unsettled()
    assert stores.indexed() == stores.true()
    assert len(stores.indexed()) == 1


async def test_two_puts_of_one_item_come_one_after_the_other(stores: Stores) -> None:
    outcomes = await asyncio.gather(stores.put("a", RED), stores.put("a", GREEN), stores.put("a", GREEN))
    assert list(outcomes) == [Outcome.CREATED, Outcome.REPLACED, Outcome.UNCHANGED]
    assert stores.indexed() == stores.true()


async def test_another_process_in_between_is_a_conflict_that_is_mended(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stores.put("a", RED)
    theirs = (await stores.catalog.get("a", RELEASE),)
    settle = stores.metadata.settle

    async def after_their_write(collection: str, item_id: str, revision: int, images: Sequence[ItemImage]) -> bool:
        await stores.metadata.write(theirs[0])
        return await settle(collection, item_id, revision, images)

    monkeypatch.setattr(stores.metadata, "settle", after_their_write)
    with pytest.raises(Conflict, match="put it again"):
        await stores.put("a", GREEN)
    monkeypatch.setattr(stores.metadata, "settle", settle)
    assert stores.indexed() != stores.true()
    await stores.mend()
    assert stores.indexed() == stores.true()


async def test_a_put_that_went_to_a_replaced_collection_is_left_to_the_mender_of_the_next(stores: Stores) -> None:
    await stores.registry.replace_collection("other")
    await stores.put("a", RED)
    assert stores.unsettled("other") == ["a"]


async def test_mending_counts_the_objects_that_are_found_now(stores: Stores) -> None:
    await stores.put("a", RED)
    stores.models.detections = np.array([[90, 170, 390, 390, 0.9, 0], [420, 200, 600, 500, 0.8, 0]], np.float32)
    await stores.metadata.unsettle(RELEASE.collection, ["a"])
    await stores.mend()
    assert [image.vectors for image in (await stores.catalog.get("a", RELEASE)).images] == [2]
    assert len(stores.indexed()) == 2


async def test_the_images_of_an_item_are_decoded_one_after_another(stores: Stores) -> None:
    await stores.put("a", RED, GREEN)
    assert [model for model, _ in stores.models.requests] == ["detector", "embedder"] * 2
