"""What `semblance up` was asked to start."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from semblance.orchestrator.settings import Settings, SettingsError
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
    insecure_listen: bool = False
    triton_traces: str = ""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """The plan whose `dataclasses.asdict` these fields are."""
        return cls(**{**fields, "triton": triton.Ports(**fields["triton"])})

    @property
    def starts_milvus(self) -> bool:
        return self.milvus in (LITE, STANDALONE)

    def check_models(self) -> None:
        """Raises StartError where the repository has not the models that the orchestrator calls."""
        way_out = "`semblance publish`, or `semblance export` for other weights"
        if not Path(self.repository).is_dir():
            raise StartError(
                f"there is no model repository {self.repository}; "
                f"name yours with --repository, or make one by {way_out}"
            )
        missing = [name for name in MODELS if not any(Path(self.repository, name).glob("[0-9]*/"))]
        if missing:
            raise StartError(
                f"{self.repository} has no version of {' and '.join(missing)}; publish one first: {way_out}"
            )

    def check_settings(self) -> None:
        """Raises StartError where the orchestrator would refuse its SEMBLANCE_* variables, or to listen there."""
        insecure = {"insecure_listen": "true"} if self.insecure_listen else {}
        try:
            Settings.read({"listen": self.listen, **insecure})
        except SettingsError as error:
            raise StartError(str(error)) from None

    def check_ports(self) -> None:
        """Raises StartError where the stack can't have a port that it needs, and says why: who has it, say."""
        host, port = tcp.split(self.listen)
        obstacles = {"orchestrator": tcp.obstacle(port, host)}
        obstacles |= {f"Triton {name}": tcp.obstacle(one) for name, one in vars(self.triton).items()}
        if self.starts_milvus:
            obstacles["Milvus"] = tcp.obstacle(self.milvus_port)
        lines = [f"{part}: {obstacle}" for part, obstacle in obstacles.items() if obstacle]
        if lines:
            raise StartError("\n".join([*lines, "stop it, or choose another address (see `semblance up --help`)"]))
