"""PromQL, as far as the names of its metrics."""

from __future__ import annotations

import promql_parser

# What Grafana puts in for the time that a rate is taken over: enough scrapes, however long the dashboard looks back.
RATE_INTERVAL = "$__rate_interval"
# What the generic names of a histogram's parts end with.
PARTS = ("_bucket", "_sum", "_count")


def over(expression: str, interval: str) -> str:
    """The expression with its rates taken over an interval such as "30s"."""
    return expression.replace(RATE_INTERVAL, interval)


def metrics(expression: str) -> frozenset[str]:
    """The names of the metrics that an expression asks for.

    Raises:
        ValueError: it is not PromQL.
    """
    names: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector) and node.name is not None:
            names.add(node.name)

    promql_parser.walk(promql_parser.parse(over(expression, "1m")), pre_visit=visit)
    return frozenset(names)
