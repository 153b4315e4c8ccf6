"""What an evaluation says, in sentences: what is good, and what to act on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from semblance.training.evaluate.evaluation import Comparison, Evaluation, IndexFindings
from semblance.training.evaluate.figures import Estimates
from semblance.training.evaluate.interval import Estimate
from semblance.training.evaluate.robustness import Robustness
from semblance.training.evaluate.sweep import LIMIT

Tone = Literal["good", "act", "note"]

ENOUGH = 0.98
"""From this recall of HNSW on, and this share of objects found, there is little to be gained there."""

WIDE = 0.1
"""An interval of recall@1 wider than this hides differences that matter."""

MIDDLE = 2
"""Severity 3, by which corruptions are ranked: photos that people still take for usable."""


@dataclass(frozen=True)
class Sentence:
    """One finding. `tone`: whether it is good, to be acted on, or to be known."""

    tone: Tone
    text: str


def summary(evaluation: Evaluation) -> list[Sentence]:
    """The findings, the most important first."""
    return list(_findings(evaluation))


def percent(each: Estimate) -> str:
    """A share with its interval, such as "88 % (82–93)"."""
    return f"{100 * each.value:.1f} % ({100 * each.low:.1f}–{100 * each.high:.1f})"


def points(each: Estimate) -> str:
    """A difference of shares with its interval."""
    return f"{100 * each.value:+.1f} points ({100 * each.low:+.1f} to {100 * each.high:+.1f})"


def _findings(evaluation: Evaluation) -> Iterator[Sentence]:
    if evaluation.comparison:
        yield _compared(evaluation.observed.release, evaluation.comparison)
    figures = evaluation.figures
    found = figures["recall@1"]
    yield Sentence(
        "good" if found.value >= ENOUGH else "note",
        f"End to end, {percent(found)} of objects get their own item as the first hit, and "
        f"{percent(figures['recall@5'])} among the first five.",
    )
    if found.value < ENOUGH:
        yield _to_blame(figures)
    yield from _weak_classes(evaluation)
    yield _precision(figures)
    if evaluation.robustness:
        yield from _weathered(evaluation.robustness)
    if isinstance(evaluation.index, IndexFindings):
        yield from _indexed(evaluation.index)
    else:
        yield Sentence("note", f"The index was not compared with exact search: {evaluation.index}.")
    if found.high - found.low > WIDE:
        yield Sentence(
            "act",
            f"{len(evaluation.observed.photos)} photos leave an interval {100 * (found.high - found.low):.0f} points "
            "wide. Four times as many would halve it: annotate more before you trust small differences.",
        )


def _compared(release: str, comparison: Comparison) -> Sentence:
    difference = comparison.figures["recall@1"]
    what = f"{points(difference)} of recall@1 end to end on the same photos, release {release} against "
    what += f"{comparison.against}"
    if difference.low > 0:
        return Sentence("good", f"Better: {what}.")
    if difference.high < 0:
        return Sentence("act", f"Worse: {what}. Do not activate it.")
    return Sentence("act", f"No difference can be told: {what}. Do not activate it for this; measure on more photos.")


def _to_blame(figures: Estimates) -> Sentence:
    balance = figures["embedder_less_boxes"]
    shares = (
        f"Of all objects, {percent(figures['missed'])} are not detected, {percent(figures['misplaced'])} are detected "
        f"by a box too inexact to find the item, and {percent(figures['misjudged'])} are taken for another item even "
        "with their true box."
    )
    if balance.low > 0:
        verdict = "The embedder loses more than the detector: train the embedder first."
    elif balance.high < 0:
        verdict = "The detector loses more than the embedder: train the detector first."
    else:
        verdict = "These photos don't tell which of the two loses more: gain may come from either."
    return Sentence("act", f"{verdict} {shares}")


def _weak_classes(evaluation: Evaluation) -> Iterator[Sentence]:
    """Those whose whole interval is below the value of all."""
    whole = evaluation.figures["recall@1"].value
    for name, figures in evaluation.classes.items():
        if figures["recall@1"].high < whole:
            cause = max(("missed", "misplaced", "misjudged"), key=lambda each: figures[each].value)
            which = "the embedder" if cause == "misjudged" else "the detector"
            yield Sentence(
                "act",
                f"Class {name} is worse than the others: {percent(figures['recall@1'])} at first place; most of it is "
                f"lost by {which}. Annotate more of it.",
            )


def _precision(figures: Estimates) -> Sentence:
    good = figures["detection_recall"].value >= ENOUGH and figures["detection_precision"].value >= ENOUGH
    return Sentence(
        "good" if good else "note",
        f"At the served score the detector finds {percent(figures['detection_recall'])} of objects, and "
        f"{percent(figures['detection_precision'])} of its boxes are right; mAP50 is {figures['map50'].value:.3f}, "
        f"mAP50-95 {figures['map50_95'].value:.3f}.",
    )


def _weathered(robustness: Robustness) -> Iterator[Sentence]:
    lost = {name: drops[MIDDLE] for name, drops in robustness.drops.items()}
    hurting = sorted((name for name in lost if lost[name].low > 0), key=lambda name: -lost[name].value)
    if hurting:
        named = "; ".join(f"{name} {100 * lost[name].value:.0f} points" for name in hurting[:3])
        yield Sentence(
            "act",
            f"At severity 3, recall@1 suffers most from: {named}. Train with such photos if yours are like that.",
        )
    harmless = [name for name in lost if robustness.drops[name][-1].high <= WIDE]
    if harmless:
        yield Sentence("good", f"Even the worst of these costs at most 10 points: {', '.join(harmless)}.")


def _indexed(index: IndexFindings) -> Iterator[Sentence]:
    served = next(point for point in index.points if point.ef == index.served_ef)
    enough = next((point for point in index.points if point.recall >= ENOUGH), None)
    text = (
        f"With its ef of {served.ef}, the index finds {100 * served.recall:.1f} % of the {LIMIT} rows that an exact "
        f"search of {len(index.catalogue.vectors):,} rows finds."
    )
    if served.recall >= ENOUGH:
        yield Sentence("good", text)
    elif enough:
        yield Sentence(
            "act",
            f"{text} An ef of {enough.ef} finds {100 * enough.recall:.1f} %, for {enough.cost / served.cost:.1f} "
            "times the time in Milvus: make a release with it.",
        )
    else:
        yield Sentence("act", f"{text} No ef that was tried finds {100 * ENOUGH:.0f} %: build it with a larger M.")
    better = {name: each for name, each in index.measures.items() if each.difference.low > 0}
    for name, each in better.items():
        yield Sentence("act", f"{name} finds more than cosine, exactly and offline: {points(each.difference)}.")
    if not better:
        yield Sentence("note", "No other measure finds more than cosine does, beyond the interval.")
