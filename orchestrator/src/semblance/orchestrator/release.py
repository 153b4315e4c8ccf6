"""What is live: one detector version, one embedder version, and the collection that holds the embedder's vectors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from semblance.orchestrator.measure import Measure


class ReleaseState(StrEnum):
    """building → ready ⇄ active; building and ready → retired."""

    BUILDING = "building"
    READY = "ready"
    ACTIVE = "active"
    RETIRED = "retired"


LIVE = frozenset({ReleaseState.BUILDING, ReleaseState.READY, ReleaseState.ACTIVE})
"""The states in which every change of the catalogue goes to a release's collection, and its models stay loaded."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A model's input or output; `dims` are without the batch, `data_type` is Triton's name, such as UINT8."""

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One published version of a model, as its manifest describes it.

    `name` is Triton's, a folder of the model repository: versions of an embedder whose vectors have another length, and
    those for GPUs, are in a folder beside it, such as `embedder_384`, because Triton has one configuration for all
    versions of a model.
    """

    name: str
    version: int
    sha256: str
    input: Tensor
    output: Tensor
    max_batch_size: int
    pad_value: int
    class_names: tuple[str, ...] = ()

    @property
    def input_size(self) -> int:
        """Side of the square input image, in pixels."""
        return self.input.dims[0]


@dataclass(frozen=True, slots=True)
class IndexParameters:
    """HNSW's parameters; see Milvus' documentation of the index for what they trade. `metric`, one of METRICS, is what
    it finds the nearest by."""

    m: int = 16
    ef_construction: int = 200
    ef: int = 128
    metric: Measure = Measure.COSINE


@dataclass(frozen=True, slots=True)
class Release:
    """What a request is served with, from admission to answer."""

    release_id: str
    detector: ModelVersion
    embedder: ModelVersion
    index: IndexParameters
    collection: str

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return self.embedder.output.dims[0]


@dataclass(frozen=True, slots=True)
class Canary:
    """Whose searches a release serves in place of the active one: so many percent of all callers, and these."""

    percent: float
    callers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Registered:
    """A release as the registry has it.

    `changed_at`: when it got its state. `replaced`: the release that was active before it, where a rollback goes.
    `shadow` is a percentage of searches, 0 for none. While it is built: `problem` says what keeps it from getting on,
    and `rate` how many items are indexed in a second; before `outside_until` an outside engine indexes them, and the
    keeper does not.
    """

    release: Release
    state: ReleaseState
    created_at: datetime
    changed_at: datetime
    replaced: str = ""
    canary: Canary | None = None
    shadow: float = 0.0
    problem: str = ""
    rate: float = 0.0
    outside_until: datetime | None = None

    @property
    def release_id(self) -> str:
        return self.release.release_id

    def is_built_outside(self, now: datetime) -> bool:
        building = self.state is ReleaseState.BUILDING
        return building and self.outside_until is not None and now < self.outside_until


@dataclass(frozen=True, slots=True)
class Presence:
    """An orchestrator process that is alive: the ids of what it serves now, and what is wrong with releases, by theirs.

    `searching`: it has served searches within the last seconds.
    """

    name: str
    active: str
    canary: str = ""
    shadow: str = ""
    keeper: bool = False
    searching: bool = False
    problems: Mapping[str, str] = field(default_factory=dict)
