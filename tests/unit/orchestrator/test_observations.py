"""Numbers that several orchestrators saw are those that one would have seen."""

import json
import random
from collections.abc import Callable

import pytest

from semblance.orchestrator.comparison import DEPTHS, Comparison
from semblance.orchestrator.observations import FIGURES, SHORTEST, Observations, Side, figures

Deed = Callable[[Observations], None]


def deeds(count: int) -> list[Deed]:
    """What may be seen, at random."""
    chance = random.Random(7)

    def one() -> Deed:
        seconds, overlap, shift = chance.lognormvariate(-3, 1), chance.randrange(5) / 4, chance.randrange(-3, 4)
        some = Comparison(dict.fromkeys(DEPTHS, overlap), abs(shift) / 2, shift / 8, shift)
        none = Comparison({}, None, None, shift)

        def fail(side: Callable[[Observations], Side]) -> Deed:
            def failed(seen: Observations) -> None:
                side(seen).failed += 1

            return failed

        def drop(seen: Observations) -> None:
            seen.dropped += 1

        return chance.choice(
            [
                lambda seen: seen.candidate.add(seconds),
                lambda seen: seen.active.add(seconds),
                fail(lambda seen: seen.candidate),
                fail(lambda seen: seen.active),
                drop,
                lambda seen: seen.add(some),
                lambda seen: seen.add(none),
            ]
        )

    return [one() for _ in range(count)]


def observed(seen: list[Deed]) -> Observations:
    made = Observations()
    for deed in seen:
        deed(made)
    return made


def values(seen: Observations) -> dict[str, float | None]:
    return {figure.name: figure.value for figure in figures(seen)}


def test_what_several_saw_is_what_one_would_have_seen() -> None:
    everything = deeds(1000)
    parts = [observed(everything[start::3]) for start in range(3)]
    assert sum(parts, Observations()) == observed(everything)
    assert sum(reversed(parts), Observations()) == observed(everything)


def test_adding_up_changes_none_of_the_parts() -> None:
    parts = [observed(deeds(100)) for _ in range(2)]
    before = json.dumps([part.as_json() for part in parts])
    total = sum(parts, Observations())
    total.candidate.add(1.0)
    total.rank_shift.add(1.0)
    assert json.dumps([part.as_json() for part in parts]) == before


@pytest.mark.parametrize("count", [0, 1, 500])
def test_they_come_back_from_json_as_they_were(count: int) -> None:
    seen = observed(deeds(count))
    assert Observations.from_json(json.loads(json.dumps(seen.as_json()))) == seen


def test_what_another_version_knows_is_read_as_far_as_it_is_known() -> None:
    seen = observed(deeds(100))
    stored = seen.as_json() | {"overlap@100": [3.0, 4], "colour_shift": 7}
    assert Observations.from_json(stored) == seen
    del stored["rank_shift"], stored["dropped"], stored["active"]
    less = Observations.from_json(stored)
    assert (less.rank_shift.value, less.dropped, less.active.requests) == (None, 0, 0)
    assert less.candidate == seen.candidate
    assert less.score_shift == seen.score_shift
    assert Observations.from_json({}) == Observations()


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("spread", [0.01, 0.5, 2.0])
def test_a_quantile_is_known_within_five_percent(share: float, spread: float) -> None:
    chance = random.Random(3)
    taken = sorted(max(SHORTEST, chance.lognormvariate(-2, spread)) for _ in range(1000))
    side = Side()
    for seconds in taken:
        side.add(seconds)
    # The least of them that no more than that share is below.
    assert side.quantile(share) == pytest.approx(taken[int(share * 1000) - 1], rel=0.05)


def test_what_takes_next_to_nothing_is_in_the_first_bucket() -> None:
    side = Side()
    for seconds in (0.0, 1e-9, SHORTEST):
        side.add(seconds)
    assert side.quantile(1.0) == SHORTEST


def test_failures_are_requests_without_a_latency() -> None:
    side = Side(failed=2)
    assert side.quantile(0.5) is None
    side.add(0.1)
    assert side.requests == 3
    assert side.quantile(0.5) == pytest.approx(0.1, rel=0.05)


def test_where_nothing_was_seen_only_counts_are_told() -> None:
    assert values(Observations()) == dict.fromkeys(FIGURES) | {"requests": 0, "compared": 0, "dropped": 0}


def test_figures_tell_what_was_seen() -> None:
    seen = Observations(dropped=4)
    for seconds in (0.1, 0.1, 0.1, 0.4):
        seen.candidate.add(seconds)
        seen.active.add(0.2)
    seen.candidate.failed, seen.active.failed = 2, 1
    seen.add(Comparison({1: 1.0, 5: 0.8, 10: 0.6}, 2.0, -0.1, 1))
    seen.add(Comparison({1: 0.0, 5: 0.4, 10: 0.2}, None, None, -2))
    seen.add(Comparison({}, None, None, -2))
    assert values(seen) == {
        "requests": 6,
        "compared": 3,
        "dropped": 4,
        "overlap@1": pytest.approx(0.5),
        "overlap@5": pytest.approx(0.6),
        "overlap@10": pytest.approx(0.4),
        "rank_shift": pytest.approx(2.0),
        "score_shift": pytest.approx(-0.1),
        "detections_shift": pytest.approx(-1.0),
        "detections_change": pytest.approx(5 / 3),
        "errors": 2,
        "active_errors": 1,
        "error_rate": pytest.approx(1 / 3),
        "active_error_rate": pytest.approx(1 / 5),
        "p50_ratio": pytest.approx(0.5, rel=0.1),
        "p99_ratio": pytest.approx(2.0, rel=0.1),
    }
    assert all(figure.meaning for figure in figures(seen))
