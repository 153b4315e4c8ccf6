"""The queries of the panels and of the alerts, and which of them a Prometheus answers with data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from semblance.observability import expression, unseen
from semblance.observability.alert import Alert
from semblance.observability.panel import Row
from semblance.observability.prometheus import Prometheus, QueryRefused, Series

# A label in the legend of a panel.
LABEL = re.compile(r"{{(\w+)}}")


@dataclass(frozen=True, slots=True)
class Question:
    """`of` says whose query it is: `Row / Panel`, or `alert Name`."""

    of: str
    expression: str
    legend: str = ""

    @property
    def unseen(self) -> str | None:
        """Why there is no data here, or None where there should be."""
        return unseen.reason(expression.metrics(self.expression))


@dataclass(frozen=True, slots=True)
class Answer:
    """`problem` is empty where there is data, or is not expected to be."""

    question: Question
    series: tuple[Series, ...]
    problem: str = ""


def questions(rows: Iterable[Row], alerts: Iterable[Alert]) -> Iterator[Question]:
    """Of alerts without their thresholds, which need not be crossed."""
    for row in rows:
        for panel in row.panels:
            for query in panel.queries:
                yield Question(f"{row.title} / {panel.title}", query.expression, query.legend)
    for alert in alerts:
        yield Question(f"alert {alert.name}", alert.expression)


def unknown_metrics(asked: Iterable[Question], known: frozenset[str]) -> dict[str, list[str]]:
    """The metrics that nobody tells, but for those that can't be seen here, and whose queries name them."""
    missing: dict[str, list[str]] = {}
    for question in asked:
        for name in sorted(expression.metrics(question.expression) - known - unseen.UNSEEN.keys()):
            missing.setdefault(name, []).append(question.of)
    return missing


def answer(question: Question, server: Prometheus, begin: float, end: float, step: float, rate: str) -> Answer:
    """What there was between two Unix times, with rates of the dashboard over `rate`."""
    try:
        series = tuple(server.series(expression.over(question.expression, rate), begin, end, step))
    except QueryRefused as refusal:
        return Answer(question, (), str(refusal))
    if not series:
        return Answer(question, (), "" if question.unseen else "no data")
    named = frozenset(name for each in series for name in each.labels)
    missing = [name for name in LABEL.findall(question.legend) if name not in named]
    return Answer(question, series, f"no series has the legend's {', '.join(missing)}" if missing else "")
