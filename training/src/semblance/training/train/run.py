"""The folder of a training: its settings, its progress line by line, its curves, and what it made.

settings.json       how it was started, and digests of what it read; a resumed run must be started in the same way
tuning.db           what `--tune` has tried
progress.jsonl      one line for each epoch
curves.png          the same, drawn
MODEL_CARD.md       data, settings, figures, licence
export/             what passed the export's gate, for `semblance publish`
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semblance.training.atomic import write
from semblance.training.train.errors import TrainingError

SETTINGS = "settings.json"
TUNING = "tuning.db"
PROGRESS = "progress.jsonl"
CURVES = "curves.png"
CARD = "MODEL_CARD.md"
EXPORT = "export"

CONTENTS = "contents"
"""Of the settings: what the paths among them held, by digest."""

Record = Mapping[str, Any]
"""One line of progress: numbers by name, `epoch` among them."""


@dataclass(frozen=True)
class Step:
    """What is reported while an epoch lasts. seconds_left: of the whole training, where every epoch is trained."""

    epoch: int
    step: int
    steps: int
    seconds_left: float


@dataclass(frozen=True)
class Run:
    """A training's folder."""

    folder: Path

    @classmethod
    def open(cls, folder: Path, settings: Mapping[str, Any], *, resume: bool) -> Run:
        """A new folder with these settings, or one that was begun with the same.

        What a run left that ended before its first record, for want of weights perhaps, is nothing to go on with: it
        is begun anew.

        Raises:
            TrainingError: it holds a run and is not to be resumed; or none, or another one, and is.
        """
        path = folder / SETTINGS
        begun = _begun(path, settings)
        if not resume:
            if begun is not None and not any((folder / name).exists() for name in (PROGRESS, TUNING)):
                shutil.rmtree(folder)
            if folder.exists() and any(folder.iterdir()):
                raise TrainingError(
                    f"{folder} is not empty; give another --output"
                    + (", or --resume to go on with the run in it" if begun is not None else "")
                )
            folder.mkdir(parents=True, exist_ok=True)
            write(path, json.dumps(settings, indent=2) + "\n")
            return cls(folder)
        if begun is None:
            raise TrainingError(
                f"{folder} holds no such run to resume: "
                + (
                    f"{path} is of another version or kind; begin anew without --resume, with another --output"
                    if path.exists()
                    else f"there is no {path}; leave --resume out"
                )
            )
        _refuse_others(folder, begun, settings)
        return cls(folder)

    def records(self) -> list[dict[str, Any]]:
        """The progress so far."""
        path = self.folder / PROGRESS
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def keep(self, records: Sequence[Record]) -> None:
        """Writes the progress anew, whole or not at all."""
        write(self.folder / PROGRESS, "".join(json.dumps(dict(record)) + "\n" for record in records))


def _begun(path: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings of a run of the same kind; None where there is none, a file of another program perhaps."""
    try:
        begun = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return begun if isinstance(begun, dict) and begun.keys() == settings.keys() else None


def _refuse_others(folder: Path, begun: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raises TrainingError where the run was begun with other settings, or its paths held something else."""
    remedy = "resume it with the command that began it, or give another --output"
    for name in sorted(settings):
        if name != CONTENTS and begun[name] != settings[name]:
            then, now = (
                f"with {name} {each!r}" if each is not None else f"without {name}"
                for each in (begun[name], settings[name])
            )
            raise TrainingError(f"the run in {folder} was begun {then}, and this is {now}; {remedy}")
    for name, digest in settings.get(CONTENTS, {}).items():
        if begun[CONTENTS].get(name) != digest:
            raise TrainingError(
                f"{name} {settings[name]} has changed since the run in {folder} was begun; a run ends on the data "
                "that it began with: put that back, or begin anew with another --output"
            )
