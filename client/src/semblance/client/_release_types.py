"""Which models and which index serve, as an operator sees it. Times are in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from semblance.client._types import Metric

Engine = Literal["keeper", "outside"]
"""Who indexes the items of a release that is built: the service's keeper, or an engine outside that calls
`Releases.build_items`."""


class ReleaseState(StrEnum):
    """From building to ready, to active and back; a building and a ready one may be retired."""

    BUILDING = "building"
    READY = "ready"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class ReleaseModel:
    """A published version of a model.

    Attributes:
        name: Triton's, such as embedder_384.
        sha256: of the model file, in lower-case hexadecimal.
    """

    name: str
    version: int
    sha256: str


@dataclass(frozen=True, slots=True)
class IndexParameters:
    """HNSW's parameters, as Milvus explains them, and what it finds the nearest by."""

    m: int
    ef_construction: int
    ef: int
    metric: Metric


@dataclass(frozen=True, slots=True)
class Canary:
    """Whose searches a release serves in place of the active one: so many percent of all callers, and these."""

    percent: float
    callers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReleaseProgress:
    """How far a release's index is.

    Attributes:
        items: in the catalogue.
        unsettled: items that are to be indexed yet, or again.
        rate: items a second, 0 where nothing is known.
        remaining: seconds that the rest takes at that rate, None where nothing is known.
        problem: what keeps a build from getting on, or nothing.
        engine: who builds it now; None where it is not building.
    """

    items: int
    unsettled: int
    rate: float
    remaining: float | None
    problem: str
    engine: Engine | None = None

    @property
    def settled(self) -> int:
        """Items that the index has as the catalogue has them."""
        return max(0, self.items - self.unsettled)


@dataclass(frozen=True, slots=True)
class Release:
    """A detector, an embedder and the collection of the embedder's vectors.

    Attributes:
        dimension: numbers in a vector.
        collection: in Milvus; releases may share one.
        changed_at: when it got its state.
        replaced: the release that was active before it, where a rollback goes; empty where there was none.
        canary: None where it is none.
        shadow_percent: of searches, 0 where it is no shadow.
        progress: of a live release that was asked for with `get` or `list`.
    """

    release_id: str
    state: ReleaseState
    detector: ReleaseModel
    embedder: ReleaseModel
    dimension: int
    index: IndexParameters
    collection: str
    created_at: datetime
    changed_at: datetime
    replaced: str
    canary: Canary | None
    shadow_percent: float
    progress: ReleaseProgress | None


@dataclass(frozen=True, slots=True)
class NewRelease:
    """A release to be made; what is None is as the active release has it.

    Attributes:
        release_id: the next of r1, r2, … where it is None.
        detector: a published version.
        embedder: a published version, whatever the length of its vectors.
        m: of HNSW, as `ef_construction` and `ef` are.
        keep_index: use the active release's collection though the detector is another one: what is indexed keeps the
            crops of the detector that it was indexed with.
        metric: what the index finds the nearest by.
        engine: who is to build it. For an engine outside the keeper waits some minutes before it begins by itself.
    """

    release_id: str | None = None
    detector: int | None = None
    embedder: int | None = None
    m: int | None = None
    ef_construction: int | None = None
    ef: int | None = None
    keep_index: bool = False
    metric: Metric | None = None
    engine: Engine = "keeper"


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """What a release would take; bytes and seconds are estimates.

    Attributes:
        dimension: numbers in a vector.
        new_collection: whether it gets one of its own; otherwise it uses the active release's.
        rows: of the active release's collection; another detector may find more or fewer.
        active_memory: bytes that Milvus holds in memory for the active release's collection.
        new_memory: the same for the new one.
        new_disk: bytes that the new one takes on disk.
        query_nodes: nodes of 128 GiB that hold both in a Milvus cluster.
        seconds: until it is ready; None where there is nothing to tell from.
    """

    release_id: str
    detector: ReleaseModel
    embedder: ReleaseModel
    dimension: int
    new_collection: bool
    items: int
    images: int
    rows: int
    active_memory: int
    new_memory: int
    new_disk: int
    query_nodes: int
    seconds: float | None
    index: IndexParameters


@dataclass(frozen=True, slots=True)
class Switch:
    """What became of an activation.

    Attributes:
        replaced: the release that was active before, empty where there was none.
        seconds: until every orchestrator that is alive served with it, or until the wait was over.
        lagging: orchestrators that had not said so by then.
    """

    active: Release
    replaced: str
    seconds: float
    lagging: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and what it says; None where there is nothing to tell from."""

    name: str
    value: float | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Where the figures of a report that begin with `evaluation.` come from.

    Attributes:
        against: the release that it was compared with; empty where it was measured alone.
    """

    against: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """A canary's or shadow's figures against the active release, `against`, and those of its evaluation.

    Attributes:
        figures: those of the evaluation are last.
        evaluation: None where none was recorded.
    """

    release_id: str
    against: str
    figures: tuple[Figure, ...]
    evaluation: Evaluation | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a part of the system should hold, and what it has.

    Attributes:
        part: such as `Milvus`, or `orchestrator a:41`.
    """

    part: str
    what: str
    should: str
    has: str
    good: bool


@dataclass(frozen=True, slots=True)
class ReleaseStatus:
    """Whether Triton, Milvus and every orchestrator hold what they should: `good` where all findings are."""

    good: bool
    findings: tuple[Finding, ...]
