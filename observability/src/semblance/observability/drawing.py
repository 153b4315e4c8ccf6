"""The dashboard's queries as one picture, as Grafana would lay the panels out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semblance.observability.prometheus import Series
from semblance.observability.question import LABEL, Answer

COLUMNS = 3
# Inches of a panel.
WIDTH, HEIGHT = 6.0, 3.0
DPI = 80
# More would hide the panel.
LEGENDS = 8


def draw(answers: Sequence[Answer], begin: float, file: Path) -> None:
    """A panel for each place that is asked about, in seconds from the Unix time `begin`."""
    panels: dict[str, list[Answer]] = {}
    for answer in answers:
        panels.setdefault(answer.question.of, []).append(answer)
    lines = -(-len(panels) // COLUMNS)
    drawing = Figure(figsize=(COLUMNS * WIDTH, lines * HEIGHT), layout="constrained")
    places: list[Axes] = list(drawing.subplots(lines, COLUMNS, squeeze=False).flat)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, shown) in zip(places, panels.items(), strict=False):
        _panel(axes, title, shown, begin)
    drawing.savefig(file, dpi=DPI)


def _panel(axes: Axes, title: str, answers: Sequence[Answer], begin: float) -> None:
    for answer in answers:
        for series in answer.series:
            times, values = zip(*series.points, strict=True)
            axes.plot([time - begin for time in times], values, label=_name(answer, series), linewidth=1.2)
    axes.set_title(title, fontsize="small")
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize="x-small")
    if not any(answer.series for answer in answers):
        reasons = {answer.question.unseen or answer.problem for answer in answers}
        axes.text(0.5, 0.5, "\n".join(sorted(reasons)), ha="center", va="center", transform=axes.transAxes, wrap=True)
        return
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[:LEGENDS], labels[:LEGENDS], fontsize="xx-small", loc="best")
    axes.set_ylim(bottom=0)


def _name(answer: Answer, series: Series) -> str:
    """As Grafana puts labels into a legend."""
    return LABEL.sub(lambda found: series.labels.get(found[1], ""), answer.question.legend)
