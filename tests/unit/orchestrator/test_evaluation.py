"""What can be recorded of a release."""

import math
from datetime import UTC, datetime

import pytest

from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.evaluation import MAX_FIGURES, MAX_MEANING, Evaluation
from semblance.orchestrator.figure import Figure

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def recorded(*figures: Figure) -> Evaluation:
    return Evaluation("r1", figures, NOW)


def test_it_is_reported_under_a_name_that_nothing_observed_has() -> None:
    evaluation = recorded(Figure("recall@1", 0.5, "found first"), Figure("map50_95", -1e300, "é" * MAX_MEANING))
    assert [each.name for each in evaluation.reported()] == ["evaluation.recall@1", "evaluation.map50_95"]
    assert [(each.value, each.meaning) for each in evaluation.reported()] == [
        (each.value, each.meaning) for each in evaluation.figures
    ]


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ([], "must have 1 to 500 figures, and this one has 0"),
        ([Figure(f"f{number}", 1, "") for number in range(MAX_FIGURES + 1)], "this one has 501"),
        ([Figure("recall@1", math.nan, "")], "recall@1 must have a finite number"),
        ([Figure("recall@1", -math.inf, "")], "recall@1 must have a finite number"),
        ([Figure("recall@1", None, "")], "leave out what was not measured"),
        ([Figure("recall@1", 1, ""), Figure("recall@1", 2, "")], "recall@1 is there twice"),
        ([Figure("", 1, "")], "can't be a figure's name"),
        ([Figure("Recall", 1, "")], "can't be a figure's name"),
        ([Figure("recall-1", 1, "")], "can't be a figure's name"),
        ([Figure("x" * 65, 1, "")], "can't be a figure's name"),
        ([Figure("recall@1", 1, "é" * (MAX_MEANING + 1))], "must have at most 256 characters"),
        ([Figure("recall@1", 1, "\x1b[2J")], "no control characters"),
        ([Figure("recall@1", 1, "\0")], "no control characters"),
    ],
)
def test_what_it_can_not_have(figures: list[Figure], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        recorded(*figures)
