"""Where the time of a request went adds up to what the request took."""

import pytest

from semblance.benchmarks import stages
from semblance.benchmarks.reading import Reading
from semblance.benchmarks.statistics import Times, between

# Ten photos: milliseconds of each stage of a photo, as the orchestrator sums them up.
SERVICE = {
    "search": Times(10, 0.5),
    "search.admission": Times(10, 0.010),
    "search.decode": Times(10, 0.020),
    "search.detect": Times(10, 0.200),
    "search.crop": Times(10, 0.010),
    "search.embed": Times(10, 0.160),
    "search.search": Times(10, 0.080),
    "search.encode": Times(10, 0.005),
}
# Two photos share a request.
TRITON = {"detector": Times(5, 0.095, 0.010, 0.075), "embedder": Times(5, 0.075, 0.015, 0.050)}
SPENT = Reading(2.0, 1.5, {"client": 0.5, "orchestrator": 1.0}, SERVICE, TRITON)


def test_a_search() -> None:
    parts = stages.of_chain(0.060, SPENT)
    assert parts.decode == pytest.approx(0.003)
    assert parts.queue == pytest.approx(0.001 + 0.002 + 0.003)
    assert parts.compute == pytest.approx(0.015 + 0.010)
    assert parts.transport == pytest.approx(0.036 - 0.005 - 0.025)
    assert parts.search == pytest.approx(0.008)
    assert parts.overhead == pytest.approx(0.060 - 0.048)
    assert parts.total == pytest.approx(0.060)


def test_a_request_to_one_model() -> None:
    parts = stages.of_model(0.025, TRITON["detector"])
    assert (parts.queue, parts.compute) == pytest.approx((0.002, 0.015))
    assert parts.transport == pytest.approx(0.008)
    assert parts.total == pytest.approx(0.025)


def test_a_put() -> None:
    parts = stages.of_put(0.050, SPENT)
    assert parts.overhead == pytest.approx(0.050 - 0.005 - 0.025)
    assert parts.total == pytest.approx(0.050)


def test_only_what_came_between_two_readings_counts() -> None:
    before = {"detector": Times(4, 0.5, 0.25, 0.125)}
    after = {"detector": Times(6, 0.75, 0.5, 0.25), "embedder": Times(1, 0.5)}
    assert between(before, after) == {"detector": Times(2, 0.25, 0.25, 0.125), "embedder": Times(1, 0.5)}


def test_what_was_spent_is_the_difference_of_two_readings() -> None:
    later = Reading(12.0, 30.0, {"client": 0.75, "orchestrator": 2.0}, SERVICE, TRITON)
    spent = later.since(Reading(2.0, 25.0, {"client": 0.5, "orchestrator": 1.0}, SERVICE, {}))
    assert (spent.at, spent.busy) == (10.0, 5.0)
    assert spent.cpu_each(10) == {"client": 0.025, "orchestrator": 0.1}
    assert spent.service["search"].count == 0
    assert spent.triton == TRITON


def test_what_nobody_accounts_for_was_taken_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    spent = Reading(10.0, 8.0, {"client": 1.0, "orchestrator": 3.0}, SERVICE, TRITON)
    assert spent.shares == {"client_share": 0.05, "others_share": 0.2}
