"""What every feedback store promises, with the metadata store beside it: SQLite, PostgreSQL, and the fake."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from semblance.orchestrator.adapters.metadata.page_token import token_after
from semblance.orchestrator.box import Box
from semblance.orchestrator.condition import Condition
from semblance.orchestrator.errors import Conflict, InvalidArgument, NotFound
from semblance.orchestrator.feedback import (
    AnsweredObject,
    Choice,
    Feedback,
    Kind,
    RankedItem,
    Source,
    Tally,
    Verdict,
)
from semblance.orchestrator.item import ItemImage
from semblance.orchestrator.ports import FeedbackStore
from tests.contract.stores import EARLY, HERE, Open, Stores, item, moment_after

HITS = (RankedItem("mug-1", 0.75), RankedItem("mug-é", 0.5))
OBJECT = AnsweredObject(Source.DETECTED, Box(1.5, 2, 30, 40.25), 0.875, "mug", HITS)
RIGHT = Feedback(
    "f-1",
    "shop",
    EARLY,
    "r1",
    "a" * 64,
    640,
    480,
    Verdict(Kind.RIGHT, "mug-1"),
    OBJECT,
    Condition(sharpness=250.5, light=120.25, size=28.5),
)
MISSED = replace(
    RIGHT, feedback_id="f-2", verdict=Verdict(Kind.MISSED, "", Box(0, 0, 10, 10)), answered=None, image_id="b" * 64
)
ALL = Choice()


def one(feedback_id: str, **changes: object) -> Feedback:
    return replace(RIGHT, feedback_id=feedback_id, **changes)  # type: ignore[arg-type]


@pytest.fixture
def store(stores: Stores) -> FeedbackStore:
    return stores.feedback


async def add(store: FeedbackStore, *feedback: Feedback) -> None:
    for each in feedback:
        assert await store.add(each)


async def ids(store: FeedbackStore, choice: Choice = ALL) -> list[str]:
    return [each.feedback_id for each in (await store.list(choice, 1000, "")).feedback]


@pytest.mark.parametrize("feedback", [RIGHT, MISSED], ids=["of an object", "of none"])
async def test_what_was_added_comes_back_whole_and_from_another_process(another: Open, feedback: Feedback) -> None:
    await add(another().feedback, feedback)
    assert await another().feedback.get(feedback.feedback_id) == feedback


async def test_adding_the_same_again_changes_nothing(store: FeedbackStore) -> None:
    await add(store, RIGHT)
    again = replace(RIGHT, given_at=EARLY + timedelta(days=1), condition=Condition(1, 2, 3))
    assert not await store.add(again)
    assert await store.get("f-1") == RIGHT


async def test_of_those_who_add_the_same_at_once_one_is_first(another: Open) -> None:
    stores = [another().feedback for _ in range(4)]
    assert sorted(await asyncio.gather(*(store.add(RIGHT) for store in stores))) == [False, False, False, True]


@pytest.mark.parametrize(
    "other",
    [
        {"verdict": Verdict(Kind.WRONG, "mug-1")},
        {"verdict": Verdict(Kind.RIGHT, "mug-é")},
        {"release_id": "r2"},
        {"image_id": "c" * 64},
        {"caller": "another"},
        {"answered": replace(OBJECT, box=Box(5, 5, 30, 40))},
    ],
)
async def test_another_verdict_under_the_same_id_is_a_conflict(store: FeedbackStore, other: dict[str, object]) -> None:
    await add(store, RIGHT)
    with pytest.raises(Conflict, match="says something else"):
        await store.add(one("f-1", **other))
    assert await store.get("f-1") == RIGHT


async def test_what_is_not_there_is_not_found(store: FeedbackStore) -> None:
    with pytest.raises(NotFound, match="'nothing'"):
        await store.get("nothing")


async def test_lists_the_newest_first_page_by_page(store: FeedbackStore) -> None:
    # Two of one moment, at the end of a page.
    moments = [0, 1, 1, 2, 3]
    await add(store, *(one(f"f-{n}", given_at=EARLY + timedelta(seconds=m)) for n, m in enumerate(moments)))
    found, token = [], ""
    while True:
        page = await store.list(ALL, 2, token)
        found.append([each.feedback_id for each in page.feedback])
        if not (token := page.next_page_token):
            break
    assert found == [["f-4", "f-3"], ["f-1", "f-2"], ["f-0"]]
    with pytest.raises(InvalidArgument, match="page token"):
        await store.list(ALL, 2, "made up")


async def test_a_choice_leaves_out_what_does_not_meet_all_of_it(store: FeedbackStore) -> None:
    await add(
        store,
        RIGHT,
        MISSED,
        one("f-3", release_id="r2"),
        one("f-4", caller="another"),
        one("f-5", verdict=Verdict(Kind.NARROW_MARGIN)),
    )
    assert sorted(await ids(store, Choice(kinds={Kind.RIGHT}))) == ["f-1", "f-3", "f-4"]
    assert await ids(store, Choice(kinds={Kind.RIGHT}, release_id="r1", caller="shop")) == ["f-1"]
    assert sorted(await ids(store, Choice(feedback_ids=("f-2", "f-5", "gone")))) == ["f-2", "f-5"]
    assert await ids(store, Choice(feedback_ids=())) == []
    assert await ids(store, Choice(image_id="b" * 64)) == ["f-2"]


async def test_goes_through_photos_in_order(store: FeedbackStore) -> None:
    pairs = [("a" * 64, "f-2"), ("a" * 64, "f-9"), ("b" * 64, "f-1"), ("b" * 64, "f-3")]
    await add(store, *(one(feedback_id, image_id=image_id) for image_id, feedback_id in reversed(pairs)))
    found: list[tuple[str, str]] = []
    while page := await store.by_image(ALL, found[-1] if found else ("", ""), 3):
        found += [(each.image_id, each.feedback_id) for each in page]
    assert found == pairs


async def test_tallies_what_is_alike(store: FeedbackStore) -> None:
    await add(
        store,
        RIGHT,
        one("f-3", verdict=Verdict(Kind.ITEM, "mug-1")),
        one("f-4", verdict=Verdict(Kind.ITEM, "other")),
        one("f-5", verdict=Verdict(Kind.ITEM, "elsewhere"), condition=Condition(99.9, 59.9, 63.9)),
        MISSED,
        one("f-6", verdict=Verdict(Kind.WRONG, "mug-é")),
    )
    tallies = await store.tallies(ALL)
    assert sorted(tallies, key=str) == sorted(
        [
            Tally("r1", "mug", Kind.RIGHT, True, False, False, True, 1),
            Tally("r1", "mug", Kind.ITEM, True, False, False, True, 1),
            Tally("r1", "mug", Kind.ITEM, False, False, False, True, 1),
            Tally("r1", "mug", Kind.ITEM, False, True, True, True, 1),
            Tally("r1", "", Kind.MISSED, False, False, False, True, 1),
            # The second hit is wrong: of the first that says nothing.
            Tally("r1", "mug", Kind.WRONG, None, False, False, True, 1),
        ],
        key=str,
    )
    assert await store.tallies(Choice(release_id="r9")) == []


async def test_deletes_up_to_so_many_and_what_is_older(store: FeedbackStore) -> None:
    await add(store, *(one(f"f-{n}", given_at=EARLY + timedelta(days=n)) for n in range(5)))
    assert await store.delete(ALL, 10, EARLY + timedelta(days=2)) == 2
    assert sorted(await ids(store)) == ["f-2", "f-3", "f-4"]
    assert await store.delete(Choice(caller="shop"), 2) == 2
    assert await store.delete(Choice(caller="shop"), 2) == 1
    assert await store.delete(Choice(caller="shop"), 2) == 0


async def test_photos_of_what_was_deleted_are_discarded_unless_something_refers_to_them(stores: Stores) -> None:
    store = stores.feedback
    catalogued, shared, alone = "a" * 64, "b" * 64, "c" * 64
    await stores.metadata.write(item("mug-1", images=(ItemImage(catalogued, 1, 1, 1),)))
    await add(store, one("f-1", image_id=catalogued), one("f-2", image_id=shared), one("f-3", image_id=alone))
    await add(store, one("f-4", image_id=shared, caller="another"))
    assert await stores.metadata.image_ids("bb") == {shared}
    await store.delete(Choice(caller="shop"), 10)
    assert await stores.metadata.image_ids("cc") == set()
    assert await store.discarded_images(EARLY, 10) == []
    assert list(await store.discarded_images(moment_after(), 10)) == [alone]
    await store.forget_images([alone], EARLY)
    assert list(await store.discarded_images(moment_after(), 10)) == [alone]
    await store.forget_images([alone], moment_after())
    assert await store.discarded_images(moment_after(), 10) == []
    # What was kept for another's sake goes with that one.
    await store.delete(Choice(caller="another"), 10)
    assert list(await store.discarded_images(moment_after(), 10)) == [shared]


async def test_a_photo_is_discarded_until_a_verdict_refers_to_it(store: FeedbackStore) -> None:
    await store.discard_image(RIGHT.image_id)
    assert list(await store.discarded_images(moment_after(), 10)) == [RIGHT.image_id]
    await store.discard_image(RIGHT.image_id)
    await add(store, RIGHT)
    assert await store.discarded_images(moment_after(), 10) == []


async def test_a_token_of_another_list_is_refused(store: FeedbackStore) -> None:
    for key in ("mug-17", "0001-01-01T00:00:00+23:59 f-1", "2026-11-27T00:00:00+00:00 f\0"):
        with pytest.raises(InvalidArgument):
            await store.list(ALL, 10, token_after(key))


async def test_a_photo_that_comes_back_is_not_discarded(store: FeedbackStore) -> None:
    await add(store, RIGHT)
    await store.delete(ALL, 10)
    await add(store, RIGHT)
    assert await store.discarded_images(moment_after(), 10) == []


async def test_says_which_reference_was_made(store: FeedbackStore) -> None:
    await add(store, RIGHT)
    await store.set_reference("f-1", "e" * 64)
    await store.set_reference("gone", "e" * 64)
    assert await store.get("f-1") == replace(RIGHT, reference_id="e" * 64)
    assert not await store.add(RIGHT)
    assert (await store.get("f-1")).reference_id == "e" * 64


@pytest.mark.parametrize(
    "broken",
    [
        {"verdict": Verdict(Kind.ITEM, "a\0b")},
        {"caller": "a\ud800"},
        {"answered": replace(OBJECT, class_name="\0")},
        {"answered": replace(OBJECT, hits=(RankedItem("\0", 0.5),))},
    ],
)
async def test_text_that_a_database_can_not_hold_is_refused(
    another: Open, request: pytest.FixtureRequest, broken: dict[str, object]
) -> None:
    if request.node.callspec.params["another"] == "memory":
        return
    store = another().feedback
    with pytest.raises(InvalidArgument, match="NUL or lone surrogates"):
        await store.add(one("f-1", **broken))
    assert await ids(store) == []
    assert await another().metadata.count(HERE) is not None
