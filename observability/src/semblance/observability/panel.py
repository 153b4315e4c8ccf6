"""What a dashboard is declared as: rows of panels of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and the name of each of its series, with labels as `{{label}}`."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """`unit` is one of Grafana's; `text` says how to read it, where the title does not."""

    title: str
    unit: str
    queries: Sequence[Query]
    text: str = ""
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]
