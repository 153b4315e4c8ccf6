"""What `semblance up` was asked to start."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from semblance.serving import ports as tcp
from semblance.serving import triton
from semblance.serving.process import StartError

LITE = "lite"
STANDALONE = "standalone"
MODELS = ("detector", "embedder")


@dataclass(frozen=True)
class Plan:
    """A stack: paths are absolute; `milvus` is "lite", "standalone" or the URI of one that runs already."""

    repository: str
    data: str
    milvus: str
    listen: str
    milvus_port: int
    triton: triton.Ports

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """The plan whose `dataclasses.asdict` these fields are."""
        return cls(**{**fields, "triton": triton.Ports(**fields["triton"])})

    @property
    def starts_milvus(self) -> bool:
        return self.milvus in (LITE, STANDALONE)

    def check_models(self) -> None:
        """Raises StartError where the repository has not the models that the orchestrator calls."""
        missing = [name for name in MODELS if not any(Path(self.repository, name).glob("[0-9]*/"))]
        if missing:
            raise StartError(
                f"{self.repository} has no version of {' and '.join(missing)}; publish one first: "
                "`semblance publish`, or `semblance export` for other weights"
            )

    def check_ports(self) -> None:
        """Raises StartError where a port that the stack needs is taken, and says by whom."""
        host, port = tcp.split(self.listen)
        wanted = {"orchestrator": port, **{f"Triton {name}": one for name, one in vars(self.triton).items()}}
        if self.starts_milvus:
            wanted["Milvus"] = self.milvus_port
        taken = [
            f"{part}: {tcp.holder(one)}"
            for part, one in wanted.items()
            if not tcp.is_free(one, host if part == "orchestrator" else tcp.LOOPBACK)
        ]
        if taken:
            raise StartError("\n".join([*taken, "stop it, or choose other ports (see `semblance up --help`)"]))
