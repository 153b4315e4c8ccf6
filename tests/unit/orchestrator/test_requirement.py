"""What has to hold for a release to be activated."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.evaluation import Evaluation
from semblance.orchestrator.figure import Figure
from semblance.orchestrator.observations import FIGURES, Observations, figures
from semblance.orchestrator.requirement import Requirement, failing, parse_requirements

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NEED = Requirement("overlap@10", ">=", 0.8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("overlap@10>=0.8", NEED),
        ("  overlap@10  >=  0.8 ", NEED),
        ("p99_ratio<=1.3", Requirement("p99_ratio", "<=", 1.3)),
        ("errors<1", Requirement("errors", "<", 1)),
        ("compared>100", Requirement("compared", ">", 100)),
        ("score_shift>=-0.05", Requirement("score_shift", ">=", -0.05)),
        ("score_shift>=+0.05", Requirement("score_shift", ">=", 0.05)),
        ("evaluation.recall@1 > 0.9", Requirement("evaluation.recall@1", ">", 0.9)),
        ("evaluation.map.card>=0.5", Requirement("evaluation.map.card", ">=", 0.5)),
    ],
)
def test_a_requirement_is_a_figure_a_sign_and_a_number(text: str, expected: Requirement) -> None:
    assert parse_requirements([text]) == (expected,)


@pytest.mark.parametrize("name", FIGURES)
def test_of_each_figure_something_can_be_required(name: str) -> None:
    assert parse_requirements([f"{name}>=1"]) == (Requirement(name, ">=", 1),)


def test_several_may_be_in_one_text_or_in_many() -> None:
    both = (NEED, Requirement("errors", "<", 1))
    assert parse_requirements(["overlap@10>=0.8, errors<1"]) == both
    assert parse_requirements(["overlap@10>=0.8", "errors<1"]) == both
    assert parse_requirements([]) == ()


@pytest.mark.parametrize(
    "text",
    [
        "overlap@10",
        "overlap@10>=",
        ">=0.8",
        "overlap@10=0.8",
        "overlap@10==0.8",
        "overlap@10>=much",
        "overlap@10>=0.8.1",
        "overlap@10>=nan",
        "overlap@10>=0.8 errors<1",
        "overlap@3>=0.8",
        "OVERLAP@10>=0.8",
        "recall@1>=0.8",
        "evaluation>=0.8",
        "evaluation.>=0.8",
        "evaluation.1>=0.8",
        "0.8<=overlap@10",
        # Such as a variable that was never set: what is to be required is not to go missing.
        "",
    ],
)
def test_what_is_no_requirement_is_refused_with_what_would_be_one(text: str) -> None:
    expected = f"{text!r} is no requirement; expected a figure, one of >= <= > <, and a number"
    with pytest.raises(InvalidArgument, match=re.escape(expected)) as raised:
        parse_requirements(["errors<1", f"compared>1, {text}"])
    assert all(name in str(raised.value) for name in FIGURES)


def test_what_is_refused_is_quoted_in_short() -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse_requirements(["x" * 4000])
    assert len(str(raised.value)) < 1000


def unmet(needs: Sequence[Requirement], seen: Sequence[Figure], evaluation: Evaluation | None = None) -> list[str]:
    """Beside r1, which is active."""
    return failing(needs, [*seen, *(evaluation.reported() if evaluation else ())], "r1", evaluation)


@pytest.mark.parametrize(
    ("sign", "holding"),
    [(">=", {0.5, 0.6}), ("<=", {0.4, 0.5}), (">", {0.6}), ("<", {0.4})],
)
def test_a_sign_means_what_it_says(sign: str, holding: set[float]) -> None:
    need = [Requirement("overlap@5", sign, 0.5)]
    assert {value for value in (0.4, 0.5, 0.6) if not unmet(need, [Figure("overlap@5", value, "")])} == holding


def test_those_that_do_not_hold_are_told_with_what_is() -> None:
    seen = [Figure("overlap@10", 0.71234, ""), Figure("p99_ratio", 1.5, ""), Figure("errors", 0.0, "")]
    needs = parse_requirements(["overlap@10>=0.8, p99_ratio<=1.25, errors<1"])
    assert unmet(needs, seen) == [
        "overlap@10 is 0.7123, and >= 0.8 is required",
        "p99_ratio is 1.5, and <= 1.25 is required",
    ]


def test_what_was_not_observed_does_not_hold() -> None:
    needs = parse_requirements(["errors<=0", "dropped<=0"])
    assert unmet(needs, figures(Observations())) == ["nothing was observed of errors yet, and <= 0 is required"]


def test_what_an_evaluation_has_not_measured_does_not_hold() -> None:
    evaluation = Evaluation("r1", (Figure("recall@5", 0.9, ""),), NOW)
    needs = parse_requirements(["evaluation.recall@1>0, evaluation.recall@5>0"])
    missing = "nothing was recorded of evaluation.recall@1 yet, and > 0 is required"
    assert unmet(needs, [], evaluation) == [missing]
    assert len(unmet(needs, [])) == 2


@pytest.mark.parametrize(("against", "holds"), [("r1", True), ("", True), ("r0", False)])
def test_an_evaluation_counts_while_what_it_was_against_is_active(against: str, holds: bool) -> None:
    evaluation = Evaluation(against, (Figure("recall@1_difference_low", 0.01, ""),), NOW)
    needs = parse_requirements(["evaluation.recall@1_difference_low>0"])
    stale = "evaluation.recall@1_difference_low was measured against r0, and r1 is active; evaluate again"
    assert unmet(needs, [], evaluation) == ([] if holds else [stale])
