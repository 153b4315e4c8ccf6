"""What is live: one detector version, one embedder version, and the collection that holds the embedder's vectors."""

from dataclasses import dataclass
from enum import StrEnum


class ReleaseState(StrEnum):
    BUILDING = "building"
    READY = "ready"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A model's input or output; `dims` are without the batch, `data_type` is Triton's name, such as UINT8."""

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One published version of a model, as its manifest describes it."""

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
    """HNSW's parameters; see Milvus' documentation of the index for what they trade."""

    m: int = 16
    ef_construction: int = 200
    ef: int = 128


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
