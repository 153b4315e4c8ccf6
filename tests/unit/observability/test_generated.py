"""The dashboard and the alerts as they are committed, and what the check finds in others."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from click.testing import CliRunner

from semblance.observability import alert, generated
from semblance.observability.alert import Alert
from semblance.observability.alerts import ALERTS
from semblance.observability.board import ROWS
from semblance.observability.expression import metrics
from semblance.observability.prometheus import MissingProgram
from semblance.observability.question import questions
from tests.prometheus import program

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
COMPARISON = re.compile(r"(==|!=|>=|<=|>|<) [\d.]+")


@pytest.fixture
def promtool() -> Path:
    return program("promtool")


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    """A copy of what is committed."""
    return Path(shutil.copytree(DEPLOY, tmp_path / "deploy"))


def check(deploy: Path) -> tuple[int, str]:
    done = CliRunner().invoke(generated.main, ["--check", str(deploy)])
    return done.exit_code, done.output


def unresolved(alerts: tuple[Alert, ...]) -> list[str]:
    """The runbooks that lead nowhere."""
    found = []
    for each in alerts:
        file, _, anchor = each.runbook.partition("#")
        headings = re.findall(r"^## (.+)$", (ROOT / file).read_text(), re.M)
        # As GitHub and GitLab make anchors of headings.
        if anchor not in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]:
            found.append(each.runbook)
    return found


def panels() -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads((DEPLOY / generated.DASHBOARD).read_text())["panels"]
    return shown


def test_the_committed_files_are_current() -> None:
    assert generated.differences(DEPLOY) == []


def test_promtool_takes_the_rules_and_the_configuration_that_names_them(promtool: Path) -> None:
    assert f"{len(ALERTS)} rules found" in generated.promtool(DEPLOY)


def test_a_dashboard_that_was_edited_fails_the_check(deploy: Path) -> None:
    # Without promtool it says so.
    assert check(deploy)[0] == 0
    dashboard = deploy / generated.DASHBOARD
    dashboard.write_text(dashboard.read_text().replace("semblance_admission_limit", "semblance_limit"))
    status, said = check(deploy)
    assert status == 1
    assert "semblance_limit" in said
    assert "make dashboards" in said


def test_a_rule_that_prometheus_does_not_take_fails_the_check(
    deploy: Path, promtool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Alert("Broken", "sum(rate(semblance_requests_total))", "> 0", "1m", "warning", "{{ $value }}")
    monkeypatch.setattr("semblance.observability.alerts.render", lambda: alert.render("broken", [broken]))
    generated.write(deploy)
    status, said = check(deploy)
    assert status == 1
    assert "could not parse expression" in said


def test_a_host_without_promtool_is_told_what_was_not_checked(monkeypatch: pytest.MonkeyPatch, deploy: Path) -> None:
    def missing(name: str) -> Path:
        raise MissingProgram(f"{name} is not here")

    monkeypatch.setattr(generated, "program", missing)
    status, said = check(deploy)
    assert status == 0
    assert "promtool did not check" in said
    assert "promtool is not here" in said


def test_each_runbook_is_a_heading_and_each_heading_an_alert() -> None:
    assert unresolved(ALERTS) == []
    headings = re.findall(r"^## (\w+)\n\n\*(\w+)\.\*", (ROOT / alert.RUNBOOK).read_text(), re.M)
    assert headings == [(each.name, each.severity.capitalize()) for each in ALERTS]


def test_a_runbook_that_leads_nowhere_is_found() -> None:
    unwritten = Alert("NobodyWroteThis", "up", "== 0", "1m", "warning", "")
    assert unresolved((unwritten,)) == ["docs/alerts.md#nobodywrotethis"]


@pytest.mark.parametrize("each", ALERTS, ids=lambda each: each.name)
def test_an_alert_compares_all_of_its_expression_with_the_threshold(each: Alert) -> None:
    assert COMPARISON.fullmatch(each.threshold)
    condition = promql_parser.parse(each.condition)
    assert isinstance(condition, promql_parser.BinaryExpr)
    assert condition.lhs.prettify() == promql_parser.parse(each.expression).prettify()
    assert each.summary.endswith(".")


def test_every_query_is_promql_that_asks_for_a_metric() -> None:
    for question in questions(ROWS, ALERTS):
        assert metrics(question.expression), question


def test_the_dashboard_asks_what_is_declared() -> None:
    asked = [(panel["title"], target["expr"]) for panel in panels() for target in panel.get("targets", ())]
    declared = [(panel.title, query.expression) for row in ROWS for panel in row.panels for query in panel.queries]
    assert asked == declared
    assert [panel["title"] for panel in panels() if panel["type"] == "row"] == [row.title for row in ROWS]


def test_panels_are_told_apart_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    cells = [
        (place["x"] + right, place["y"] + down)
        for panel in panels()
        for place in [panel["gridPos"]]
        for right in range(place["w"])
        for down in range(place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_expressions_name_their_metrics() -> None:
    asked = (
        'sum by (a) (rate(b_total{c="d"}[$__rate_interval])) / on (e) group_left min_over_time(f[5m]) and g > bool 1'
    )
    assert metrics(asked) == {"b_total", "f", "g"}
    with pytest.raises(ValueError, match=r"unclosed|unexpected|invalid"):
        metrics("sum(rate(b_total[5m])")
