"""The floor of a request on this host: model compute at the best batch size, and one JPEG decode.

Nothing is paid for but that: no transport, no queue, no resizing, no search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from semblance.benchmarks import bare, sessions
from semblance.benchmarks.bare import Inputs
from semblance.benchmarks.stack import Stack
from semblance.export.contract import DETECTOR, EMBEDDER


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of all cores for one photo."""

    decode: float
    detect: float
    embed: float

    @property
    def total(self) -> float:
        return self.decode + self.detect + self.embed


@dataclass(frozen=True, slots=True)
class Floor:
    """`batches` are the sizes of the highest throughput, by model; `objects` the crops of a photo on average."""

    photos: Sequence[bytes]
    objects: float
    open_sessions: sessions.Sessions
    batches: Mapping[str, int]

    def measure(self, seconds: float) -> Cost:
        """One after another, for `seconds` each: photos decoded, letterboxed photos detected in, crops embedded."""
        models = self.open_sessions
        detected, embedded = (models.rate(name, size, seconds) for name, size in self.batches.items())
        return Cost(1 / bare.decode_rate(self.photos, seconds), 1 / detected, self.objects / embedded)


@contextmanager
def opened(photos: Sequence[bytes], stack: Stack, folder: Path) -> Iterator[Floor]:
    """Opens the models that the stack serves, and looks for their best batch sizes."""
    inputs = Inputs.of(photos, stack.target)
    with sessions.started(folder) as models:
        models.open(DETECTOR.model, stack.repository, inputs.letterboxed, folder)
        models.open(EMBEDDER.model, stack.repository, inputs.crops, folder)
        batches: dict[str, int] = {
            contract.model: models.best_batch(contract.model, contract.default_max_batch_size)
            for contract in (DETECTOR, EMBEDDER)
        }
        yield Floor(photos, inputs.objects, models, batches)


def mean(one: Cost, other: Cost) -> Cost:
    return Cost(
        (one.decode + other.decode) / 2,
        (one.detect + other.detect) / 2,
        (one.embed + other.embed) / 2,
    )
