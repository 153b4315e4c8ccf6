"""`report.html`: one file, to be read by whoever decides what to do next."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from semblance.client import Client
from semblance.training import atomic
from semblance.training.evaluate import plots
from semblance.training.evaluate.contact import failures
from semblance.training.evaluate.corruption import SEVERITIES
from semblance.training.evaluate.environment import environment
from semblance.training.evaluate.evaluation import Evaluation, IndexFindings
from semblance.training.evaluate.figures import MEANINGS
from semblance.training.evaluate.interval import LEVEL, RESAMPLES, Estimate
from semblance.training.evaluate.similarity import FIGURES
from semblance.training.evaluate.summary import percent, points, summary

PAGE = "report.html"

CAUSES = {
    "missed": "not detected",
    "misplaced": "box too inexact: right with the true box",
    "misjudged": "embedder: wrong with the true box too",
}


def write(evaluation: Evaluation, command: str, client: Client, folder: Path) -> None:
    """Writes the page and `evaluation.json`, or neither where it is stopped or fails before both are made.

    Args:
        command: what was evaluated with.
        client: is asked for the catalogue's pictures of what went wrong.

    Raises:
        SemblanceError: The service failed.
    """
    page, record = rendered(evaluation, client), evaluation.record(command)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write(folder / PAGE, page)
    record.write(folder)


def rendered(evaluation: Evaluation, client: Client) -> str:
    """The page, as HTML."""
    pages = Environment(
        loader=PackageLoader("semblance.training.evaluate", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(share=_share, points=points, percent=percent)
    index = evaluation.index if isinstance(evaluation.index, IndexFindings) else None
    drawn = {
        "recalls": plots.recalls(evaluation),
        "precision_recall": plots.precision_recall(evaluation),
        "differences": plots.differences(evaluation.comparison) if evaluation.comparison else "",
        "robustness": plots.robustness(evaluation.robustness) if evaluation.robustness else "",
        "ef_sweep": plots.ef_sweep(index) if index else "",
        "measures": plots.measures(index) if index else "",
    }
    return pages.get_template("report.html.jinja").render(
        evaluation=evaluation,
        summary=summary(evaluation),
        meanings=MEANINGS,
        failures=failures(evaluation, client),
        causes=CAUSES,
        index=index,
        severities=SEVERITIES,
        measure_figures=FIGURES,
        level=LEVEL,
        resamples=RESAMPLES,
        environment=environment(),
        # matplotlib's own output: item ids and class names are paths in it, not text.
        plots={name: Markup(svg) for name, svg in drawn.items()},
    )


def _share(each: Estimate) -> Markup:
    """A value with its interval; a dash where there is nothing to tell from."""
    if each.value != each.value:
        return Markup("–")
    return Markup("{:.3f} <small>{:.3f}–{:.3f}</small>").format(each.value, each.low, each.high)
