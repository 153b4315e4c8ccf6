"""`evaluation.json`: an evaluation in the shape that all of the project's figures have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from semblance.training.atomic import write
from semblance.training.evaluate.errors import EvaluationError
from semblance.training.evaluate.sample import PhotoSample

FILE = "evaluation.json"

Interval = tuple[float | None, float | None]


class Subject(BaseModel):
    """What was evaluated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: str
    dataset: str
    split: str
    classes: tuple[str, ...]
    against: str | None = None
    """The release that it was compared with."""


class Record(BaseModel):
    """`value` and `spread` are by the figures' names; None where there was nothing to tell from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["evaluation"] = "evaluation"
    value: Mapping[str, float | None]
    target: Mapping[str, float]
    """What a difference has to exceed for the release to be better; an evaluation alone has no bars."""
    samples: tuple[PhotoSample, ...]
    spread: Mapping[str, Interval]
    """The bounds of each figure's 95 % interval."""
    command: str
    environment: Mapping[str, Any]
    subject: Subject
    parts: Mapping[str, Any]
    """The tables behind the report: by class, by ef, by corruption, by measure."""

    def write(self, folder: Path) -> None:
        write(folder / FILE, self.model_dump_json(by_alias=True, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Record:
        """Raises EvaluationError where the file is not an evaluation."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise EvaluationError(f"can't read {path}: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise EvaluationError(f"{path} is not what `semblance evaluate` writes: {where}: {first['msg']}") from error
