"""What a run's model is, for whoever decides whether to release it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semblance.training.train.run import Record

LICENCES = {
    "detector": "It was trained with Ultralytics, which is AGPL-3.0; Ultralytics holds that its licence extends to "
    "models trained with it. Decide before you ship it in a product of your own.",
    "embedder": "It was trained with PyTorch (BSD-3-Clause) and pytorch-metric-learning (MIT), which do not bind the "
    "weights. The licence of those that it began with, and the rights to the pictures, go on.",
}


@dataclass(frozen=True)
class Finish:
    """What was done to the kept epoch's network: its name, its figures, and whether it was kept."""

    name: str
    record: Record
    kept: bool


def written(
    model: str,
    settings: Mapping[str, Any],
    data: Mapping[str, Any],
    records: Sequence[Record],
    best: int,
    finish: Finish | None = None,
) -> str:
    """The card, as Markdown."""
    figures = [name for name in records[0] if name not in ("epoch", "seconds")]
    lines = [
        f"# Model card: {model}",
        "",
        f"Epoch {best} of {records[-1]['epoch']} was kept" + (": what it began with." if best == 0 else "."),
        *([f"A {finish.name} behind it was {'kept' if finish.kept else 'no better, and left out'}."] if finish else []),
        "",
        "## Data",
        "",
        *(f"- {name}: {value}" for name, value in data.items()),
        "",
        "## Settings",
        "",
        *(f"- {name}: `{json.dumps(value)}`" for name, value in settings.items()),
        "",
        "## Figures",
        "",
        "On the validation split, which chose the epoch: measure on a test split before you believe them "
        "(`semblance evaluate`).",
        "",
        "| epoch | " + " | ".join(figures) + " |",
        "| --- |" + " --- |" * len(figures),
        *(_row(str(record["epoch"]), figures, record) for record in records),
        *([_row(f"{best}, with a {finish.name}", figures, finish.record)] if finish else []),
        "",
        "## Licence",
        "",
        LICENCES[model],
        "",
    ]
    return "\n".join(lines)


def _row(name: str, figures: Sequence[str], record: Record) -> str:
    values = ("–" if record.get(figure) is None else f"{record[figure]:.4g}" for figure in figures)
    return f"| {name} | {' | '.join(values)} |"
