"""What a verdict says of the first hit and of the object, which feedback is the same, and what a report adds up."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from semblance.orchestrator.box import Box
from semblance.orchestrator.condition import Condition
from semblance.orchestrator.feedback import (
    SUSPICIONS,
    VERDICTS,
    AnsweredObject,
    Feedback,
    Kind,
    RankedItem,
    Source,
    Tally,
    Verdict,
    made_id,
)
from semblance.orchestrator.interval import wilson
from semblance.orchestrator.verdicts import MAX_GROUPS, grouped

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BOX = Box(1.2, 2.3, 30.4, 40.5)
HITS = (RankedItem("first", 0.9), RankedItem("second", 0.8))
OBJECT = AnsweredObject(Source.DETECTED, BOX, 0.9, "mug", HITS)


def feedback(
    kind: Kind, item_id: str = "", box: Box | None = None, answered: AnsweredObject | None = OBJECT
) -> Feedback:
    verdict = Verdict(kind, item_id, box)
    return Feedback("f", "shop", NOW, "r1", "a" * 64, 64, 48, verdict, answered, Condition(1, 2, 3))


@pytest.mark.parametrize(
    ("given", "success"),
    [
        (feedback(Kind.RIGHT, "first"), True),
        (feedback(Kind.RIGHT, "second"), False),
        (feedback(Kind.ITEM, "first"), True),
        (feedback(Kind.ITEM, "elsewhere"), False),
        (feedback(Kind.ITEM, "first", answered=replace(OBJECT, hits=())), False),
        (feedback(Kind.WRONG, "first"), False),
        (feedback(Kind.WRONG, "second"), None),
        (feedback(Kind.BOX), False),
        (feedback(Kind.MISSED, "", BOX, None), False),
        *((feedback(kind), None) for kind in SUSPICIONS),
    ],
)
def test_whether_the_first_hit_was_right(given: Feedback, success: bool | None) -> None:
    assert given.success is success


def test_what_and_where_the_object_is() -> None:
    other = Box(5, 5, 9, 9)
    assert feedback(Kind.RIGHT, "second").true_item == "second"
    assert feedback(Kind.MISSED, "cup", other, None).true_item == "cup"
    assert feedback(Kind.WRONG, "first").true_item == ""
    assert feedback(Kind.BOX, box=other).true_box == other
    assert feedback(Kind.RIGHT, "first").true_box == BOX
    assert feedback(Kind.ITEM, "x", answered=replace(OBJECT, source=Source.WHOLE_IMAGE)).true_box is None


def test_the_same_said_again_is_the_same_for_a_rounding_error() -> None:
    said = feedback(Kind.RIGHT, "first")
    nearly = replace(OBJECT, box=Box(1.1, 2.2, 30.3, 40.4), score=0.91, hits=(RankedItem("first", 0.9001),))
    again = replace(said, feedback_id="g", given_at=NOW + timedelta(days=1), answered=nearly, reference_id="b" * 64)
    assert again.content == said.content
    assert made_id(said.content) == said.content[:40]


@pytest.mark.parametrize(
    "change",
    [
        {"caller": "another"},
        {"release_id": "r2"},
        {"image_id": "b" * 64},
        {"verdict": Verdict(Kind.WRONG, "first")},
        {"verdict": Verdict(Kind.RIGHT, "second")},
        {"answered": None},
        {"answered": replace(OBJECT, box=Box(9, 9, 30, 40))},
    ],
)
def test_another_thing_said_is_another(change: dict[str, object]) -> None:
    said = feedback(Kind.RIGHT, "first")
    assert replace(said, **change).content != said.content  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("later", "takes_back"),
    [
        (feedback(Kind.WRONG, "first"), True),
        (feedback(Kind.WRONG, "second"), False),
        (feedback(Kind.RIGHT, "second"), True),
        (feedback(Kind.ITEM, "elsewhere"), True),
        (feedback(Kind.ITEM, "first"), False),
        (feedback(Kind.BOX), False),
        (feedback(Kind.NARROW_MARGIN), False),
        (feedback(Kind.MISSED, "elsewhere", BOX, None), True),
        (feedback(Kind.MISSED, "", BOX, None), False),
        (feedback(Kind.ITEM, "elsewhere", answered=replace(OBJECT, box=Box(0.9, 2.1, 30.1, 39.9))), True),
        (feedback(Kind.ITEM, "elsewhere", answered=replace(OBJECT, box=Box(1, 2, 30, 42))), False),
    ],
)
def test_what_takes_a_confirmed_item_back(later: Feedback, takes_back: bool) -> None:
    said = feedback(Kind.RIGHT, "first")
    second = timedelta(seconds=1)
    assert replace(later, given_at=NOW + second).takes_back(said) is takes_back
    assert not replace(later, given_at=NOW - second).takes_back(said)
    assert not replace(later, given_at=NOW + second, image_id="b" * 64).takes_back(said)


def test_verdicts_and_suspicions_are_all_kinds() -> None:
    assert frozenset(Kind) == VERDICTS | SUSPICIONS
    assert not VERDICTS & SUSPICIONS


def tally(kind: Kind, success: bool | None, count: int = 1, release_id: str = "r1", **bins: bool) -> Tally:
    conditions = {"dark": False, "blurred": False, "small": False, **bins}
    return Tally(release_id, "mug", kind, success, **conditions, count=count)


def test_a_report_begins_with_the_whole_and_adds_up() -> None:
    groups = grouped(
        [
            tally(Kind.RIGHT, True, 5),
            tally(Kind.ITEM, False, 3, "r2", dark=True, small=True),
            tally(Kind.WRONG, None, 2, "r2", small=True),
            tally(Kind.NARROW_MARGIN, None, 7),
        ]
    )
    rows = [(group.by, group.name, group.verdicts, group.judged, group.right) for group in groups]
    assert rows == [
        ("all", "all", 10, 8, 5),
        ("release", "r1", 5, 5, 5),
        ("release", "r2", 5, 3, 0),
        ("class", "mug", 10, 8, 5),
        ("condition", "good", 5, 5, 5),
        ("condition", "small", 5, 3, 0),
        ("condition", "dark", 3, 3, 0),
    ]
    assert groups[0].kinds == {Kind.RIGHT: 5, Kind.ITEM: 3, Kind.WRONG: 2, Kind.NARROW_MARGIN: 7}


def test_a_report_of_nothing_has_the_whole_alone() -> None:
    [whole] = grouped([])
    assert (whole.name, whole.verdicts, whole.judged) == ("all", 0, 0)


def test_a_report_tells_only_so_many_apart_and_adds_up_all() -> None:
    many = [tally(Kind.RIGHT, True, 1 + (number == 7), f"r{number}") for number in range(MAX_GROUPS + 50)]
    groups = grouped(many)
    releases = [group for group in groups if group.by == "release"]
    assert len(releases) == MAX_GROUPS
    assert releases[0].name == "r7"
    assert groups[0].judged == MAX_GROUPS + 51


# Of R's binom::binom.wilson.
@pytest.mark.parametrize(
    ("successes", "trials", "interval"),
    [(0, 10, (0.0, 0.2775)), (8, 10, (0.4902, 0.9433)), (10, 10, (0.7225, 1.0)), (450, 1000, (0.4194, 0.4810))],
)
def test_the_interval_is_wilsons(successes: int, trials: int, interval: tuple[float, float]) -> None:
    assert wilson(successes, trials) == pytest.approx(interval, abs=2e-4)
