"""What is measured: `scenarios.toml`, read into checked values."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from semblance.benchmarks.load import Calls
from semblance.benchmarks.stack import NULL, MilvusKind

InFlight = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class ScenarioError(Exception):
    """The file of scenarios says what it may not say. One line for each complaint."""


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Scenario(_Declared):
    """`models` is a name of the suite's models, or "null"."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    models: str
    seconds: PositiveFloat = 5.0


class ModelScenario(_Scenario):
    """One Triton model by perf_analyzer, its tensors sent as bytes or left in shared memory."""

    kind: Literal["model"]
    model: Literal["detector", "embedder"]
    batches: InFlight
    in_flight: InFlight
    transports: tuple[Literal["bytes", "shared_memory"], ...] = ("bytes", "shared_memory")


class ChainScenario(_Scenario):
    """The chain by perf_analyzer: closed loop, then Poisson arrivals at shares of the rate that it reached."""

    kind: Literal["chain"]
    in_flight: InFlight
    load: tuple[PositiveFloat, ...] = ()


class NativeScenario(_Scenario):
    """The native API by an asyncio client, closed loop."""

    kind: Literal["native"]
    calls: tuple[Calls, ...] = ("unary", "stream")
    in_flight: InFlight


class IngestScenario(_Scenario):
    """Puts of one-image items through one stream."""

    kind: Literal["ingest"]
    in_flight: InFlight


class MilvusScenario(_Scenario):
    """Milvus alone: searches among each of `rows` random vectors, without the service."""

    kind: Literal["milvus"]
    rows: tuple[PositiveInt, ...] = Field(min_length=1)
    in_flight: InFlight


Scenario = Annotated[
    ModelScenario | ChainScenario | NativeScenario | IngestScenario | MilvusScenario, Field(discriminator="kind")
]


class Rounds(_Declared):
    """How the figures are measured: `rounds` times, each part for `seconds`, with `in_flight` searches at once."""

    rounds: PositiveInt
    seconds: PositiveFloat
    in_flight: PositiveInt


class Suite(_Declared):
    """Everything in the file.

    Attributes:
        items: of the drawn catalogue.
        scenes: that are drawn; those of 640 × 480 pixels are searched with.
        packages: of the models by name: folders with `detector` and `embedder`, relative to the file.
    """

    milvus: MilvusKind
    items: PositiveInt
    scenes: PositiveInt
    packages: dict[str, Path]
    figures: Rounds
    scenarios: tuple[Scenario, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [scenario.name for scenario in self.scenarios]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"scenarios have the same name: {', '.join(sorted(twice))}")
        known = {NULL, *self.packages}
        if unknown := {scenario.models for scenario in self.scenarios} - known:
            raise ValueError(f"no such models: {', '.join(sorted(unknown))}; expected {', '.join(sorted(known))}")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ScenarioError."""
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
            suite = cls.model_validate(content)
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ScenarioError(f"{path}: {error}") from None
        except ValidationError as error:
            complaints = (f"{path}: {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ScenarioError("\n".join(complaints)) from None
        home = path.resolve().parent
        return suite.model_copy(update={"packages": {name: home / part for name, part in suite.packages.items()}})

    def models(self, name: str) -> str | Path:
        """The packages that a name stands for. Raises ScenarioError where they are not there."""
        if name == NULL:
            return NULL
        if not (home := self.packages[name]).is_dir():
            raise ScenarioError(
                f"the models {name!r} are expected in {home}, which is not there; `make bench` exports those of the "
                "repository's own scenarios"
            )
        return home
