"""The folder of a training: its settings, its progress line by line, its curves, and what it made.

settings.json       how it was started; a resumed run must be started in the same way
progress.jsonl      one line for each epoch
curves.png          the same, drawn
MODEL_CARD.md       data, settings, figures, licence
export/             what passed the export's gate, for `semblance publish`
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semblance.training.train.errors import TrainingError

SETTINGS = "settings.json"
PROGRESS = "progress.jsonl"
CURVES = "curves.png"
CARD = "MODEL_CARD.md"
EXPORT = "export"

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
        if not resume:
            if path.exists() and not (folder / PROGRESS).exists():
                shutil.rmtree(folder)
            if folder.exists() and any(folder.iterdir()):
                raise TrainingError(
                    f"{folder} is not empty; give another --output"
                    + (", or --resume to go on with the run in it" if path.exists() else "")
                )
            folder.mkdir(parents=True, exist_ok=True)
            write(path, json.dumps(settings, indent=2) + "\n")
            return cls(folder)
        try:
            begun = json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise TrainingError(f"{folder} holds no run to resume: {path} can't be read; leave --resume out") from error
        if changed := sorted(name for name in begun.keys() | settings.keys() if begun.get(name) != settings.get(name)):
            name = changed[0]
            raise TrainingError(
                f"the run in {folder} was begun with {name} {begun.get(name)!r}, and this is {settings.get(name)!r}; "
                "resume it with the command that began it, or give another --output"
            )
        return cls(folder)

    def records(self) -> list[dict[str, Any]]:
        """The progress so far."""
        path = self.folder / PROGRESS
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def keep(self, records: Sequence[Record]) -> None:
        """Writes the progress anew, whole or not at all."""
        write(self.folder / PROGRESS, "".join(json.dumps(dict(record)) + "\n" for record in records))


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(text)
    os.replace(aside, path)
