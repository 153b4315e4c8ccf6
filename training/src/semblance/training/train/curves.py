"""The course of a training as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from semblance.training.train.run import Record


def draw(path: Path, records: Sequence[Record], panels: Mapping[str, Sequence[str]], best: int | None) -> None:
    """Draws one panel above the other.

    Args:
        panels: the names of the numbers in each panel, by its title.
        best: the epoch that was kept.
    """
    figure = Figure(figsize=(7, 2.6 * len(panels)), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels.items(), strict=True):
        for name in names:
            points = [(record["epoch"], record[name]) for record in records if record.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
        if best is not None:
            axes.axvline(best, color="grey", linestyle=":", label="kept")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
