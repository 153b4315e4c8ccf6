"""Gives an evaluation's figures to the service, whose activations can then require them."""

from __future__ import annotations

from math import isfinite

from semblance.client import Client, Figure
from semblance.training.evaluate.evaluation import Evaluation, meaning


def record(client: Client, evaluation: Evaluation) -> None:
    """Every figure and difference under its name, and the bounds of its interval under the name with `_low` and
    `_high`.

    Raises:
        SemblanceError: The service did not take them.
    """
    figures = [
        Figure(f"{name}{end}", value, text + meaning(name))
        for name, each in evaluation.named.items()
        for end, value, text in (
            ("", each.value, ""),
            ("_low", each.low, "lower bound: "),
            ("_high", each.high, "upper bound: "),
        )
        if isfinite(value)
    ]
    against = evaluation.comparison.against if evaluation.comparison else None
    client.releases.record_evaluation(evaluation.observed.release, figures, against=against)
