"""What the checks look at beside the service's own ports. Nothing here changes anything but what its text says.

Every method raises SemblanceError where the other side does not answer within `timeout` seconds, or its own bound.
"""

from dataclasses import dataclass
from typing import Protocol

from tritonclient.grpc import model_config_pb2

from semblance.orchestrator.ports import ModelRepository
from semblance.orchestrator.release import ModelVersion, Release


class TritonLook(Protocol):
    async def version(self, timeout: float) -> str: ...

    async def folders(self, timeout: float) -> frozenset[str]:
        """The models in Triton's repository, loaded or not."""
        ...

    async def is_explicit(self, timeout: float) -> bool:
        """Whether it loads models on request. Asks it to unload a model that nobody has."""
        ...

    async def config(self, model: ModelVersion, timeout: float) -> model_config_pb2.ModelConfig:
        """The one that the model was loaded with."""
        ...

    async def refusal(self, timeout: float) -> str:
        """Why it does not take shared memory of this host, or "". Registers a page of it, and unregisters that."""
        ...


@dataclass(frozen=True, slots=True)
class CollectionState:
    """`metric` and what follows are the index's; an empty text or None where Milvus does not tell."""

    dimension: int | None
    embedder: str
    loaded: bool
    metric: str = ""
    kind: str = ""
    m: int | None = None
    ef_construction: int | None = None


class MilvusLook(Protocol):
    async def version(self, timeout: float) -> str: ...

    async def describe(self, collection: str, timeout: float) -> CollectionState:
        """Raises ContractMismatch where there is none. Loads nothing."""
        ...

    async def count(self, release: Release, timeout: float) -> int:
        """As `VectorIndex.count`."""
        ...


@dataclass(frozen=True, slots=True)
class Tables:
    """Of the metadata store; columns are `table.column`."""

    there: frozenset[str]
    missing: frozenset[str] = frozenset()
    missing_columns: frozenset[str] = frozenset()
    unknown_columns: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Clocks:
    """Seconds ahead of this host's: the database's, and that of the orchestrator that was seen last; None where there
    is none."""

    database: float | None
    orchestrator: float | None


class DatabaseLook(Protocol):
    async def tables(self) -> Tables:
        """Makes none."""
        ...

    async def clocks(self) -> Clocks: ...


class ImageLook(Protocol):
    async def probe(self) -> None:
        """Writes a file beside the images, reads it and removes it; makes no folder. Raises NotFound where the folder
        is not there, and can be made."""
        ...


class RepositoryLook(ModelRepository, Protocol):
    async def size(self, model: ModelVersion) -> int:
        """Bytes of its file, as the manifest says."""
        ...
