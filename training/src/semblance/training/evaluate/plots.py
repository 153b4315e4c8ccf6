"""The report's plots, as SVG to be put into the page."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from semblance.training.evaluate.corruption import SEVERITIES
from semblance.training.evaluate.detection import SERVED_SCORE, Matches
from semblance.training.evaluate.evaluation import Comparison, Evaluation, IndexFindings
from semblance.training.evaluate.interval import Estimate
from semblance.training.evaluate.retrieval import CUTS
from semblance.training.evaluate.robustness import Robustness

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

# Told apart by hue and by lightness, and on grey paper by their marks.
BLUE, ORANGE, GREEN, GREY = "#1f6fb2", "#d1660a", "#2b8a57", "#8a919c"
COLOURS = (BLUE, ORANGE, GREEN, "#7a48c4", "#c43a78", "#00808f", "#7e6234", "#4e5c74")

WIDTH = 9.2
"""Inches."""

# Text as paths looks the same everywhere, and ids that do not change keep the page the same for the same figures.
STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "semblance",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def recalls(evaluation: Evaluation) -> str:
    """recall@k end to end and with true boxes, and recall@1 of each class."""
    figure, (whole, classes) = _figure(1, 2, 2.9)
    places = np.arange(len(CUTS))
    for shift, ending, label, colour in _KINDS:
        values = [evaluation.figures[f"recall@{cut}{ending}"] for cut in CUTS]
        _dots(whole, places + shift, values, label, colour)
        ones = [figures[f"recall@1{ending}"] for figures in evaluation.classes.values()]
        _dots(classes, np.arange(len(ones)) + shift, ones, label, colour)
    whole.set_xticks(places, [f"recall@{cut}" for cut in CUTS])
    whole.set_title("all objects")
    classes.set_xticks(range(len(evaluation.classes)), list(evaluation.classes))
    classes.set_title("recall@1 by class")
    whole.legend(loc="lower right", frameon=False)
    for axes in (whole, classes):
        axes.margins(x=0.2)
        axes.set_ylabel("share of objects")
    return _svg(figure)


_KINDS = ((-0.08, "", "end to end", BLUE), (0.08, "_true_boxes", "with true boxes", ORANGE))


def precision_recall(evaluation: Evaluation) -> str:
    """Of each class at IoU 0.5, with the place of the served score."""
    figure, (curves, scores) = _figure(1, 2, 2.9)
    photos = evaluation.observed.photos
    for name, colour in zip(evaluation.classes, COLOURS, strict=False):
        matches = Matches.of(photos, name)
        right = np.cumsum(matches.right[:, 0])
        recall, precision = right / matches.objects.sum(), right / np.arange(1, len(right) + 1)
        curves.plot(recall, precision, color=colour, label=name)
        served = int(matches.served.sum())
        if served:
            curves.plot(recall[served - 1], precision[served - 1], "o", color=colour)
        scores.plot(
            np.sort([d.score for p in photos for d in p.detections if d.class_name == name])[::-1], recall, color=colour
        )
    curves.set(xlabel="recall", ylabel="precision", title=f"IoU 0.5; the dot is the served score, {SERVED_SCORE}")
    curves.set_ylim(0, 1.05)
    curves.legend(loc="lower left", frameon=False)
    scores.axvline(SERVED_SCORE, color=GREY, linestyle=":")
    scores.set(xlabel="least score asked for", ylabel="recall", title="what another score would find")
    return _svg(figure)


def robustness(measured: Robustness) -> str:
    """recall@1 against severity, one plot for each corruption."""
    columns = 5
    rows = -(-len(measured.by_severity) // columns)
    figure, every = _figure(rows, columns, 1.9 * rows, shared=True)
    for axes, (name, curve) in zip(every, measured.by_severity.items(), strict=True):
        values, low, high = _columns(curve)
        axes.axhline(measured.clean.value, color=GREY, linestyle=":")
        axes.fill_between(SEVERITIES, low, high, color=BLUE, alpha=0.18, linewidth=0)
        axes.plot(SEVERITIES, values, "o-", color=BLUE, markersize=3)
        axes.set_title(name)
        axes.set_xticks(SEVERITIES)
    every[0].set_ylim(-0.02, 1.02)
    figure.supxlabel("severity", fontsize=9)
    figure.supylabel("recall@1, end to end", fontsize=9)
    return _svg(figure)


def ef_sweep(index: IndexFindings) -> str:
    """Recall against exact search, and the cost, by ef."""
    figure, (recall, cost) = _figure(1, 2, 2.6)
    efs = [point.ef for point in index.points]
    recall.plot(efs, [point.recall for point in index.points], "o-", color=BLUE)
    cost.plot(efs, [point.cost for point in index.points], "o-", color=ORANGE)
    recall.set(ylabel="recall@10 of exact search", title="what the index finds")
    cost.set(ylabel=f"latency, times that of ef {efs[0]}", title="what it costs in Milvus")
    cost.set_ylim(0)
    for axes in (recall, cost):
        axes.set_xscale("log", base=2)
        axes.set_xticks(efs, [str(ef) for ef in efs])
        axes.axvline(index.served_ef, color=GREY, linestyle=":")
        axes.set_xlabel("ef; the dotted line is the release's")
    return _svg(figure)


def measures(index: IndexFindings) -> str:
    """recall@1 by measure."""
    figure, [axes] = _figure(1, 1, 2.3)
    values = [each.figures["recall@1"] for each in index.measures.values()]
    _dots(axes, np.arange(len(values)), values, "recall@1", BLUE)
    axes.set_xticks(range(len(values)), list(index.measures))
    axes.set(ylabel="recall@1, true boxes", title="the same vectors, compared exactly")
    axes.margins(x=0.1)
    return _svg(figure)


SHOWN = ("recall@1", "recall@5", "mrr", "recall@1_true_boxes", "mrr_true_boxes", "map50", "map50_95")
"""Figures whose differences are drawn."""


def differences(comparison: Comparison) -> str:
    """Each with its interval, and the line of no difference."""
    figure, [axes] = _figure(1, 1, 2.6)
    shown = [comparison.figures[name] for name in SHOWN]
    values, low, high = _columns(shown)
    places = np.arange(len(shown))[::-1]
    axes.errorbar(values, places, xerr=(values - low, high - values), fmt="o", color=BLUE, capsize=3)
    axes.axvline(0, color=GREY, linestyle=":")
    axes.set_yticks(places, [name.replace("_", " ") for name in SHOWN])
    axes.set(xlabel=f"difference to {comparison.against}; right of the line is better")
    axes.margins(y=0.12)
    return _svg(figure)


def _figure(rows: int, columns: int, height: float, *, shared: bool = False) -> tuple[Figure, list[Axes]]:
    """Axes row by row; `shared` if all have the same scales."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        every = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared)
    return figure, list(every.ravel())


def _dots(axes: Axes, places: NDArray[Any], values: Sequence[Estimate], label: str, colour: str) -> None:
    value, low, high = _columns(values)
    axes.errorbar(places, value, yerr=(value - low, high - value), fmt="o", color=colour, capsize=3, label=label)


def _columns(values: Sequence[Estimate]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Values and bounds; a BCa interval of few photos may lie beside its value, which error bars can't show."""
    value = np.array([each.value for each in values])
    return value, np.fmin(value, [each.low for each in values]), np.fmax(value, [each.high for each in values])


def _svg(figure: Figure) -> str:
    """The element alone, without the prologue of a file."""
    text = StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :]
