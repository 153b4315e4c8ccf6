"""Which release serves whom."""

from dataclasses import replace
from itertools import pairwise

import pytest

from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable, NotFound, WrongState
from semblance.orchestrator.release import Canary, Release, ReleaseState
from semblance.orchestrator.testing import example_release
from semblance.orchestrator.traffic import Traffic

ACTIVE = example_release()
CANDIDATE = replace(ACTIVE, release_id="r2", collection="other")
CALLERS = [f"caller {number}" for number in range(10_000)]


def canary(percent: float, *callers: str, release: Release = CANDIDATE) -> Traffic:
    return Traffic(ACTIVE, (release, Canary(percent, callers)))


def chosen(traffic: Traffic) -> set[str]:
    return {caller for caller in CALLERS if traffic.for_search(caller) is not ACTIVE}


def test_without_a_canary_the_active_release_serves_all() -> None:
    assert chosen(Traffic(ACTIVE)) == chosen(Traffic(ACTIVE, shadow=(CANDIDATE, 100.0))) == set()


@pytest.mark.parametrize("percent", [0, 0.5, 1, 5, 25, 50, 99, 100])
def test_a_canary_serves_about_its_share_of_the_callers(percent: float) -> None:
    expected = len(CALLERS) * percent / 100
    # Four standard deviations of a choice by chance.
    tolerance = 4 * (expected * (1 - percent / 100)) ** 0.5
    assert len(chosen(canary(percent))) == pytest.approx(expected, abs=tolerance)


def test_the_same_callers_are_served_each_time_and_still_when_the_share_grows() -> None:
    assert chosen(canary(20)) == chosen(canary(20))
    shares = [chosen(canary(percent)) for percent in (0, 0.01, 1, 7.5, 20, 21, 60, 100)]
    for smaller, larger in pairwise(shares):
        assert smaller < larger


def test_the_next_canary_is_not_tried_on_the_same_callers() -> None:
    """The same few are not to meet whatever is new."""
    first, second = (chosen(canary(10, release=replace(CANDIDATE, release_id=name))) for name in ("r2", "r3"))
    assert len(first & second) == pytest.approx(len(CALLERS) / 100, abs=50)


def test_named_callers_are_served_whatever_the_share_is() -> None:
    traffic = canary(0, "caller 7", "somebody")
    assert chosen(traffic) == {"caller 7"}
    assert traffic.for_search("somebody") is CANDIDATE
    assert traffic.for_search("somebody else") is ACTIVE


def test_changes_and_the_catalogue_are_the_active_releases() -> None:
    assert canary(100).for_change() is ACTIVE


def test_a_refused_canary_fails_its_own_callers_alone() -> None:
    traffic = replace(canary(0, "a"), refusals={"r2": ContractMismatch("the model file has changed")})
    with pytest.raises(ContractMismatch, match="the model file has changed"):
        traffic.for_search("a")
    assert traffic.chosen("a") is CANDIDATE
    assert traffic.for_search("b") is ACTIVE
    assert traffic.for_change() is ACTIVE


def test_a_refused_active_release_fails_all_but_the_canarys_callers() -> None:
    traffic = replace(canary(0, "a"), refusals={"r1": ContractMismatch("the collection is gone")})
    assert traffic.for_search("a") is CANDIDATE
    with pytest.raises(ContractMismatch, match="the collection is gone"):
        traffic.for_search("b")
    with pytest.raises(ContractMismatch, match="the collection is gone"):
        traffic.for_change()


def test_each_refusal_is_an_error_of_its_own() -> None:
    """A raised one holds what its request was working on."""
    mismatch = ContractMismatch("the collection is gone")
    traffic = Traffic(ACTIVE, refusals={"r1": mismatch})
    for _ in range(2):
        with pytest.raises(ContractMismatch) as raised:
            traffic.for_change()
        assert raised.value is not mismatch


def test_the_releases_are_the_active_one_and_each_other_once() -> None:
    third = replace(ACTIVE, release_id="r3")
    assert Traffic(ACTIVE).releases == [ACTIVE]
    assert Traffic(ACTIVE, (CANDIDATE, Canary(1)), (third, 1.0)).releases == [ACTIVE, CANDIDATE, third]
    assert Traffic(ACTIVE, (CANDIDATE, Canary(1)), (CANDIDATE, 1.0)).releases == [ACTIVE, CANDIDATE]


def test_a_release_that_is_named_serves_whoever_names_it() -> None:
    third = replace(ACTIVE, release_id="r3")
    for traffic in (
        Traffic(ACTIVE, ready=(CANDIDATE, third)),
        Traffic(ACTIVE, shadow=(CANDIDATE, 1.0), ready=(CANDIDATE, third)),
        replace(canary(100), ready=(CANDIDATE, third)),
    ):
        for release in (ACTIVE, CANDIDATE, third):
            assert traffic.for_search("a", release.release_id) is release
        assert third not in traffic.releases


@pytest.mark.parametrize(
    ("release_id", "kind", "message"),
    [
        ("r9", NotFound, "there is no release 'r9'; r1, r2 can be searched"),
        ("building", WrongState, "release building is building, and only one that is ready or active can be searched"),
        ("retired", WrongState, "release retired is retired, and only one that is ready or active"),
        ("unchecked", DependencyUnavailable, "release unchecked is ready, and not checked here yet; try again"),
    ],
)
def test_what_serves_nobody_can_not_be_named(release_id: str, kind: type[Exception], message: str) -> None:
    states = {
        "building": ReleaseState.BUILDING,
        "retired": ReleaseState.RETIRED,
        "unchecked": ReleaseState.READY,
    }
    with pytest.raises(kind, match=message):
        Traffic(ACTIVE, ready=(CANDIDATE,), others=states).for_search("a", release_id)


def test_a_release_that_is_refused_is_refused_to_who_names_it() -> None:
    traffic = Traffic(ACTIVE, ready=(CANDIDATE,), refusals={"r2": ContractMismatch("the model file has changed")})
    with pytest.raises(ContractMismatch, match="the model file has changed"):
        traffic.for_search("a", "r2")
    assert traffic.for_search("a") is ACTIVE
