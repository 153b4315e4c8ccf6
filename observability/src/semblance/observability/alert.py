"""An alert rule, and rules as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

Severity = Literal["critical", "warning"]

# Where each alert has a heading of its own name, as a path in this repository.
RUNBOOK = "docs/alerts.md"
WIDTH = 120


@dataclass(frozen=True, slots=True)
class Alert:
    """It fires where `expression` compares so with the threshold, as in `> 0.5`, for so long, as in `5m`.

    Critical is what callers notice, warning what they will. The summary is Prometheus' template.
    """

    name: str
    expression: str
    threshold: str
    lasting: str
    severity: Severity
    summary: str

    @property
    def condition(self) -> str:
        return f"{self.expression} {self.threshold}"

    @property
    def runbook(self) -> str:
        return f"{RUNBOOK}#{self.name.lower()}"


def render(group: str, alerts: Iterable[Alert]) -> str:
    """Rules in YAML."""
    return _yaml(_rules(group, alerts))


def render_resource(group: str, alerts: Iterable[Alert]) -> str:
    """The same rules as the resource that the Prometheus operator gives to Prometheus, of the group's name."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": group},
        "spec": _rules(group, alerts),
    }
    return _yaml(resource)


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, width=WIDTH, allow_unicode=True)


def _rules(group: str, alerts: Iterable[Alert]) -> dict[str, Any]:
    return {"groups": [{"name": group, "rules": [_rule(alert) for alert in alerts]}]}


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.condition,
        "for": alert.lasting,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "runbook_url": alert.runbook},
    }
