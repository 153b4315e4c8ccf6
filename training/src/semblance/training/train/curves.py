"""The course of a training as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from semblance.training.train.card import Finish
from semblance.training.train.run import Record


def draw(
    path: Path,
    records: Sequence[Record],
    panels: Mapping[str, Sequence[str]],
    best: int | None,
    finish: Finish | None = None,
) -> None:
    """Draws one panel above the other; no picture where there is no number to draw.

    Args:
        panels: the names of the numbers in each panel, by its title; one whose numbers no epoch has is left out.
        best: the epoch that was kept.
        finish: what was done to it then.
    """
    known = {name for record in records for name, value in record.items() if value is not None}
    panels = {title: names for title, names in panels.items() if known.intersection(names)}
    if not panels:
        return
    figure = Figure(figsize=(7, 2.6 * len(panels)), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels.items(), strict=True):
        for name in names:
            points = [(record["epoch"], record[name]) for record in records if record.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
            if finish is not None and finish.record.get(name) is not None:
                axes.axhline(finish.record[name], color="C1", linestyle="--", label=f"{name} with a {finish.name}")
        if best is not None:
            axes.axvline(best, color="grey", linestyle=":", label="kept")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
