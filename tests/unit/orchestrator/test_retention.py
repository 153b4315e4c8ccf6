"""Feedback that is too old goes, and photos that nothing refers to: not before they may, and not more than those."""

from datetime import UTC, datetime, timedelta

import pytest

from semblance.orchestrator.condition import Condition
from semblance.orchestrator.errors import DependencyUnavailable
from semblance.orchestrator.feedback import Choice, Feedback, Kind, Verdict
from semblance.orchestrator.item import Item, ItemImage
from semblance.orchestrator.retention import BATCH, Retention
from semblance.orchestrator.testing import MemoryFeedbackStore, MemoryImageStore, MemoryMetadataStore

NOW = datetime.now(UTC)
DAYS = 10
LONGEST_WRITE = 60.0
ALL = Choice()


class Kept:
    def __init__(self) -> None:
        self.metadata, self.images = MemoryMetadataStore(), MemoryImageStore()
        self.feedback = MemoryFeedbackStore(self.metadata)

    async def add(self, feedback_id: str, image_id: str, days: float = 0.0) -> None:
        given_at = NOW - timedelta(days=days)
        verdict, condition = Verdict(Kind.ITEM, "mug"), Condition(1, 2, 3)
        await self.images.write(image_id, b"photo")
        self.images.written_at[image_id] = given_at
        await self.feedback.add(
            Feedback(feedback_id, "shop", given_at, "r1", image_id, 64, 48, verdict, None, condition)
        )

    async def round(self, longest_write: float = 0.0) -> None:
        await Retention(self.feedback, self.images, DAYS, longest_write).round()

    @property
    def photos(self) -> set[str]:
        return set(self.images.images)


@pytest.fixture
def kept() -> Kept:
    return Kept()


async def test_what_is_too_old_goes_with_its_photo(kept: Kept) -> None:
    await kept.add("old", "a" * 64, DAYS + 0.1)
    await kept.add("new", "b" * 64, DAYS - 0.1)
    await kept.round()
    assert set(kept.metadata.feedback) == {"new"}
    assert kept.photos == {"b" * 64}


async def test_all_of_it_goes_however_much_it_is(kept: Kept) -> None:
    for number in range(BATCH + 3):
        await kept.add(f"f-{number}", f"{number:064x}", DAYS + 1)
    await kept.round()
    assert kept.metadata.feedback == {}
    assert kept.photos == set()


async def test_a_photo_that_something_else_refers_to_stays(kept: Kept) -> None:
    await kept.add("old", "a" * 64, DAYS + 1)
    await kept.add("of an item", "b" * 64, DAYS + 1)
    await kept.add("new", "a" * 64)
    await kept.metadata.write(Item("mug", {}, (ItemImage("b" * 64, 1, 1, 1),), NOW, NOW))
    kept.images.written_at = {image_id: NOW - timedelta(days=1) for image_id in kept.photos}
    await kept.round()
    assert set(kept.metadata.feedback) == {"new"}
    assert kept.photos == {"a" * 64, "b" * 64}


async def test_a_photo_is_not_removed_while_a_write_may_be_about_to_refer_to_it(kept: Kept) -> None:
    await kept.add("one", "a" * 64)
    await kept.feedback.delete(ALL, 10)
    await kept.round(LONGEST_WRITE)
    assert kept.photos == {"a" * 64}


async def test_a_photo_that_was_written_again_meanwhile_stays(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    await kept.add("one", "a" * 64, 1)
    await kept.feedback.delete(ALL, 10)
    listed = kept.feedback.discarded_images

    async def and_somebody_writes(before: datetime, limit: int) -> list[str]:
        found = list(await listed(before, limit))
        for image_id in found:
            # A put that has written its image, and not its item yet.
            await kept.images.write(image_id, b"photo")
        return found

    monkeypatch.setattr(kept.feedback, "discarded_images", and_somebody_writes)
    await kept.round()
    assert kept.photos == {"a" * 64}


async def test_what_an_image_store_that_is_down_kept_goes_the_next_time(kept: Kept) -> None:
    await kept.add("old", "a" * 64, DAYS + 1)
    kept.images.fail(DependencyUnavailable("down"))
    with pytest.raises(DependencyUnavailable):
        await kept.round()
    assert kept.metadata.feedback == {}
    assert kept.photos == {"a" * 64}
    await kept.round()
    assert kept.photos == set()


async def test_a_photo_that_is_gone_already_ends_it_too(kept: Kept) -> None:
    await kept.add("old", "a" * 64, DAYS + 1)
    await kept.images.remove("a" * 64, NOW)
    await kept.round()
    assert await kept.feedback.discarded_images(NOW + timedelta(days=1), 10) == []


async def test_a_photo_that_cant_be_removed_keeps_no_other_one(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        await kept.add(name, name * 64, DAYS + 1)
    remove = kept.images.remove

    async def but_for_one(image_id: str, before: datetime) -> bool:
        if image_id == "a" * 64:
            raise DependencyUnavailable("its folder can't be written")
        return await remove(image_id, before)

    monkeypatch.setattr(kept.images, "remove", but_for_one)
    with pytest.raises(DependencyUnavailable):
        await kept.round()
    assert kept.photos == {"a" * 64}
    monkeypatch.undo()
    await kept.round()
    assert kept.photos == set()


async def test_a_store_that_may_take_a_new_photo_for_the_old_keeps_it(kept: Kept) -> None:
    await kept.add("old", "a" * 64, DAYS + 1)
    kept.images.removes_exactly = False
    await kept.round()
    assert kept.metadata.feedback == {}
    assert kept.photos == {"a" * 64}
