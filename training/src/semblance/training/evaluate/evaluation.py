"""An evaluation: everything that was measured of a release on a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite

import numpy as np
from rich.console import Console

from semblance.client import Client
from semblance.training.dataset.dataset import AnnotatedImage, Dataset, Split
from semblance.training.evaluate.catalogue import Catalogue, Index
from semblance.training.evaluate.environment import environment
from semblance.training.evaluate.errors import EvaluationError
from semblance.training.evaluate.figures import MEANINGS, Estimates, differences, estimates
from semblance.training.evaluate.interval import Bootstrap, Estimate
from semblance.training.evaluate.record import Record, Subject
from semblance.training.evaluate.robustness import Robustness
from semblance.training.evaluate.robustness import measured as robustness_measured
from semblance.training.evaluate.sample import PhotoSample, queries
from semblance.training.evaluate.service import Observed, Service, check_classes
from semblance.training.evaluate.similarity import Asked, Compared, compared
from semblance.training.evaluate.sweep import Point, swept

SAID = tuple(name for name in MEANINGS if not name.startswith(("map", "detection")))
"""Figures that need no annotation of a whole photo."""

DIFFERENCE = "_difference"
"""Ends the name of a figure's difference."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        release: None for the one that serves.
        against: a release to compare with on the same photos, or an earlier evaluation of them.
        milvus: the address of Milvus, and its token; None where the index is not to be looked at.
        queries: callers' verdicts, where there are some; the item of each is told, and not all objects of a photo.
        robustness_images: how many photos are searched in all corrupted forms.
        seed: of the resamples, of the photos for robustness and of what corrupts them.
    """

    dataset: Dataset
    split: Split
    images: Sequence[AnnotatedImage]
    release: str | None
    against: str | Record | None
    milvus: tuple[str, str] | None
    queries: Dataset | None
    robustness_images: int
    seed: int


@dataclass(frozen=True)
class Comparison:
    """Paired differences with another release on the same photos: this one less that one."""

    against: str
    figures: Estimates
    classes: Mapping[str, Estimates]


@dataclass(frozen=True)
class IndexFindings:
    """What an exact search shows: `points` of the index' HNSW, `measures` by name; `served_ef` is the release's."""

    catalogue: Catalogue
    served_ef: int
    points: tuple[Point, ...]
    measures: Mapping[str, Compared]


@dataclass(frozen=True)
class Verdicts:
    """What became of the queries that callers' verdicts tell the item of: `SAID` of the figures, of them alone."""

    photos: tuple[PhotoSample, ...]
    figures: Estimates


@dataclass(frozen=True)
class Evaluation:
    """`classes`: the figures of each class that has objects; `index`: what was found, or why nothing was."""

    plan: Plan
    observed: Observed
    figures: Estimates
    classes: Mapping[str, Estimates]
    comparison: Comparison | None
    index: IndexFindings | str
    robustness: Robustness | None
    verdicts: Verdicts | None

    @property
    def named(self) -> Estimates:
        """All figures, and their differences, by the names that they are published under."""
        if self.comparison is None:
            return self.figures
        return {**self.figures, **{f"{name}{DIFFERENCE}": each for name, each in self.comparison.figures.items()}}

    def record(self, command: str) -> Record:
        """What `evaluation.json` holds."""
        named = self.named
        return Record(
            value={name: known(each.value) for name, each in named.items()},
            target={name: 0.0 for name in named if name == f"recall@1{DIFFERENCE}"},
            samples=self.observed.photos,
            spread={name: (known(each.low), known(each.high)) for name, each in named.items()},
            command=command,
            environment=environment(),
            subject=Subject(
                release=self.observed.release,
                dataset=self.plan.dataset.folder.name,
                split=self.plan.split,
                classes=tuple(self.classes),
                against=self.comparison.against if self.comparison else None,
            ),
            parts=self._parts(),
        )

    def _parts(self) -> dict[str, object]:
        parts: dict[str, object] = {"classes": _tables(self.classes)}
        if self.comparison:
            parts["class_differences"] = _tables(self.comparison.classes)
        if self.verdicts:
            parts["verdicts"] = {
                "figures": _table(self.verdicts.figures),
                "samples": [photo.model_dump(mode="json", by_alias=True) for photo in self.verdicts.photos],
            }
        if self.robustness:
            curves, drops = self.robustness.by_severity, self.robustness.drops
            parts["robustness"] = {
                "photos": self.robustness.photos,
                "clean": _plain(self.robustness.clean),
                "recall@1": {name: [_plain(each) for each in curve] for name, curve in curves.items()},
                "lost": {name: [_plain(each) for each in curve] for name, curve in drops.items()},
            }
        if isinstance(self.index, str):
            parts["index"] = {"not measured": self.index}
        else:
            parts["index"] = {
                "milvus": self.index.catalogue.milvus,
                "rows": len(self.index.catalogue.vectors),
                "metric": self.index.catalogue.metric,
                "served_ef": self.index.served_ef,
                "ef": [asdict(point) for point in self.index.points],
            }
            parts["measures"] = {
                name: {**_table(each.figures), f"recall@1{DIFFERENCE}": _plain(each.difference)}
                for name, each in self.index.measures.items()
            }
        return parts


def evaluated(client: Client, plan: Plan, console: Console) -> Evaluation:
    """Measures.

    Raises:
        EvaluationError: The dataset, the service and what it is compared with do not fit each other.
        SemblanceError: The service failed.
    """
    service = Service(client, console, plan.release)
    service.check_catalogue([*plan.images, *(plan.queries.images if plan.queries else ())])
    observed = service.observe(plan.dataset, plan.images)
    check_classes(observed.photos)
    before = _before(client, plan, console)
    classes = annotated_classes(observed.photos, plan.dataset.classes)
    bootstrap = Bootstrap(len(plan.images), plan.seed)
    with console.status("resampling"):
        figures = estimates(observed.photos, classes, bootstrap)
        by_class = {name: estimates(observed.photos, [name], bootstrap) for name in classes}
        comparison = _comparison(observed.photos, before, classes, bootstrap) if before else None
    index = _index(client, plan, observed, bootstrap, console)
    robustness = (
        robustness_measured(service, plan.dataset, plan.images, observed.photos, plan.robustness_images, plan.seed)
        if plan.robustness_images
        else None
    )
    verdicts = _verdicts(service, plan.queries, plan.seed) if plan.queries else None
    return Evaluation(plan, observed, figures, by_class, comparison, index, robustness, verdicts)


def annotated_classes(photos: Sequence[PhotoSample], classes: Sequence[str]) -> list[str]:
    """Those that have objects, in the dataset's order."""
    annotated = {each.class_name for photo in photos for each in photo.objects}
    return [name for name in classes if name in annotated]


def known(value: float) -> float | None:
    """JSON has no NaN."""
    return round(value, 5) if isfinite(value) else None


def paired(photos: Sequence[PhotoSample], record: Record) -> list[PhotoSample]:
    """The samples of an earlier evaluation, in the order of `photos`.

    Raises:
        EvaluationError: It was of other photos, or of other annotations.
    """
    earlier = {photo.sha256: photo for photo in record.samples}
    both = [photo for photo in photos if photo.sha256 in earlier]
    if not len(both) == len(photos) == len(earlier):
        raise EvaluationError(
            f"the earlier evaluation is of {len(earlier)} photos and this one of {len(photos)}, of which {len(both)} "
            "are the same: only evaluations of the same photos can be compared"
        )
    for photo in photos:
        if _annotation(photo) != _annotation(earlier[photo.sha256]):
            raise EvaluationError(
                f"{photo.file} was annotated otherwise when the earlier evaluation was made; evaluate both releases "
                "on today's annotations, as --against does"
            )
    return [earlier[photo.sha256] for photo in photos]


def _annotation(photo: PhotoSample) -> list[tuple[object, ...]]:
    return [(each.class_name, each.box, each.item_id) for each in photo.objects]


def _before(client: Client, plan: Plan, console: Console) -> tuple[str, Sequence[PhotoSample] | Record] | None:
    """What to compare with, and its name."""
    match plan.against:
        case None:
            return None
        case str():
            observed = Service(client, console, plan.against).observe(plan.dataset, plan.images)
            return observed.release, observed.photos
        case Record():
            return plan.against.subject.release, plan.against


def _comparison(
    photos: Sequence[PhotoSample],
    before: tuple[str, Sequence[PhotoSample] | Record],
    classes: Sequence[str],
    bootstrap: Bootstrap,
) -> Comparison:
    name, earlier = before
    samples = paired(photos, earlier) if isinstance(earlier, Record) else earlier
    return Comparison(
        name,
        differences(photos, samples, classes, bootstrap),
        {each: differences(photos, samples, [each], bootstrap) for each in classes},
    )


def _index(
    client: Client, plan: Plan, observed: Observed, bootstrap: Bootstrap, console: Console
) -> IndexFindings | str:
    """What Milvus shows, or why it shows nothing: the other figures stand without it."""
    if plan.milvus is None:
        return "no --milvus was given"
    release = client.releases.get(observed.release)
    try:
        with console.status("comparing with exact search"), Index(*plan.milvus, release) as index:
            catalogue = index.read()
            asked = queries(observed.photos)
            right = Asked(
                observed.embeddings,
                np.array([each.item_id for _, each in asked], np.str_),
                np.array([number for number, _ in asked], np.int64),
                len(observed.photos),
            )
            measures = compared(right, catalogue.vectors, catalogue.items, bootstrap)
            points = swept(index, catalogue, observed.embeddings, release.index.ef)
    except EvaluationError as error:
        console.print(f"[yellow]The index was not measured: {error}")
        return str(error)
    return IndexFindings(catalogue, release.index.ef, points, measures)


def _verdicts(service: Service, asked: Dataset, seed: int) -> Verdicts:
    observed = service.observe(asked, asked.images)
    every = estimates(observed.photos, asked.classes, Bootstrap(len(observed.photos), seed))
    return Verdicts(observed.photos, {name: every[name] for name in SAID})


def _tables(by_name: Mapping[str, Estimates]) -> dict[str, object]:
    return {name: _table(figures) for name, figures in by_name.items()}


def _table(figures: Mapping[str, Estimate]) -> dict[str, object]:
    return {name: _plain(each) for name, each in figures.items()}


def _plain(each: Estimate) -> dict[str, float | None]:
    """As JSON has it."""
    return {key: known(value) for key, value in asdict(each).items()}


def meaning(name: str) -> str:
    """What a figure, or a difference, says."""
    base = name.removesuffix(DIFFERENCE)
    return f"{MEANINGS[base]}: difference" if base != name else MEANINGS[name]
