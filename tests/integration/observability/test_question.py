"""Queries asked of a real Prometheus that scrapes a few metrics of ours."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from semblance.observability import alert, prometheus, scraping
from semblance.observability.alert import Alert
from semblance.observability.panel import Panel, Query, Row
from semblance.observability.prometheus import Prometheus, QueryRefused
from semblance.observability.question import Answer, Question, answer, questions, unknown_metrics
from tests.prometheus import program

CONFIGURATION = Path(__file__).resolve().parents[3] / "deploy" / "prometheus" / "prometheus.yml"
PATIENCE = 30.0
COLD = Alert("Cold", "degrees", "< 5", "0m", "warning", "It is cold.")
WARM = Alert("Warm", "degrees", "> 30", "0m", "warning", "It is warm.")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has scraped `degrees` 3 of a kitchen, and a counter that grows."""
    program("prometheus")
    registry = CollectorRegistry()
    Gauge("degrees", "Of a room.", ["room"], registry=registry).labels("kitchen").set(3)
    counter = Counter("openings", "Of the door.", registry=registry)
    folder = tmp_path_factory.mktemp("prometheus")
    rules = folder / "rules.yml"
    rules.write_text(alert.render("rooms", [COLD, WARM]))
    told, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        targets = dict.fromkeys(("semblance", "triton", "milvus"), f"127.0.0.1:{told.server_port}")
        configuration = scraping.retargeted(CONFIGURATION, targets, rules, "1s")
        with prometheus.started(configuration, folder) as running:

            def scraped() -> bool:
                counter.inc()
                return bool(asked(Question("", "rate(openings_total[5s])"), running).series) and bool(running.alerts())

            until(scraped)
            yield running
    finally:
        told.shutdown()
        told.server_close()
        thread.join()


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "what was waited for did not come"
        time.sleep(0.1)


def asked(question: Question, server: Prometheus) -> Answer:
    now = time.time()
    return answer(question, server, now - 60, now, 1.0, "5s")


def test_queries_with_data_are_answered_by_series_with_their_labels(server: Prometheus) -> None:
    found = asked(Question("Rooms", "degrees", "{{room}}"), server)
    assert found.problem == ""
    assert {series.labels["room"] for series in found.series} == {"kitchen"}
    assert {value for series in found.series for _, value in series.points} == {3.0}
    assert asked(Question("Doors", "sum(rate(openings_total[$__rate_interval]))", "doors"), server).problem == ""


@pytest.mark.parametrize(
    ("expression", "legend", "problem"),
    [
        ("celsius", "", "no data"),
        ('degrees{room="cellar"}', "", "no data"),
        # A number over none of them.
        ("degrees / 0 * 0", "", "no data"),
        ("sum by (door) (degrees)", "{{door}}", "no series has the legend's door"),
        ("degrees[", "", "parse error"),
    ],
)
def test_a_broken_query_is_found(server: Prometheus, expression: str, legend: str, problem: str) -> None:
    if problem == "parse error":
        with pytest.raises(QueryRefused, match=problem):
            server.series(expression, time.time() - 1, time.time(), 1.0)
        return
    assert asked(Question("Rooms", expression, legend), server).problem == problem


def test_an_alert_is_asked_without_its_threshold_and_raised_with_it(server: Prometheus) -> None:
    assert [asked(question, server).problem for question in questions((), [COLD, WARM])] == ["", ""]
    assert server.alerts().keys() == {"Cold"}


def test_what_can_not_be_seen_here_is_no_problem_and_what_nobody_tells_is(server: Prometheus) -> None:
    gpu = Question("GPU", "nv_gpu_utilization")
    assert asked(gpu, server).problem == ""
    assert gpu.unseen
    rows = (Row("House", (Panel("Rooms", "none", (Query("celsius + degrees", ""),)),)),)
    assert unknown_metrics([gpu, *questions(rows, ())], server.names()) == {"celsius": ["House / Rooms"]}


def test_a_configuration_of_other_jobs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected semblance"):
        scraping.retargeted(CONFIGURATION, {"semblance": "127.0.0.1:1"}, tmp_path, "1s")
    names = ("semblance", "triton", "milvus")
    changed = yaml.safe_load(scraping.retargeted(CONFIGURATION, dict.fromkeys(names, "127.0.0.1:1"), tmp_path, "1s"))
    assert {job["static_configs"][0]["targets"][0] for job in changed["scrape_configs"]} == {"127.0.0.1:1"}
