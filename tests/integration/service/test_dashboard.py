"""Whether the orchestrator tells what dashboard and alerts ask of it."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from semblance.observability.alerts import ALERTS
from semblance.observability.board import ROWS
from semblance.observability.panel import Panel, Query, Row
from semblance.observability.question import questions, unknown_metrics
from semblance.serving import ports
from tests.integration.service.world import PATIENCE, RED_PHOTO

OURS = ("semblance_", "process_")


def series_names(family: Metric) -> Iterator[str]:
    match family.type:
        case "counter":
            yield f"{family.name}_total"
        case "histogram":
            yield from (f"{family.name}_{part}" for part in ("bucket", "sum", "count"))
        case _:
            yield family.name


@pytest.fixture
async def told(start: Callable[..., Any]) -> frozenset[str]:
    """The names of all that a scrape gets, whether it has a value yet or not."""
    listen = f"127.0.0.1:{ports.free(1)[0]}"
    caller = await start(metrics_listen=listen)
    await caller.search(RED_PHOTO)
    with urlopen(f"http://{listen}/metrics", timeout=PATIENCE) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return frozenset(name for family in families for name in series_names(family))


def not_told(rows: tuple[Row, ...], told: frozenset[str]) -> list[str]:
    return [name for name in unknown_metrics(questions(rows, ALERTS), told) if name.startswith(OURS)]


def test_every_metric_of_dashboard_and_alerts_is_in_a_scrape(told: frozenset[str]) -> None:
    assert not_told(ROWS, told) == []


def test_a_panel_of_a_metric_that_is_not_told_is_found(told: frozenset[str]) -> None:
    renamed = Query("sum(rate(semblance_requests[5m]))", "")
    assert not_told((*ROWS, Row("", (Panel("Renamed", "reqps", (renamed,)),))), told) == ["semblance_requests"]
