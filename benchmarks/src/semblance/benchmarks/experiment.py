"""What every measurement has at hand: the suite, the drawn world, a scratch folder, and rounds that take turns."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from semblance.benchmarks import stack
from semblance.benchmarks.load import Load
from semblance.benchmarks.scenario import Suite
from semblance.benchmarks.world import World

Reference = TypeVar("Reference")
Subject = TypeVar("Subject")

# Settings of a service that lets callers wait: perf_analyzer and closed loops end where one request is refused, as
# happens by chance below saturation, too.
PATIENT = {"SEMBLANCE_SEARCH_QUEUE": "256"}


@dataclass(frozen=True, slots=True)
class Experiment:
    """`folder` is empty at the start and goes away at the end; `drawings` keeps what was drawn."""

    suite: Suite
    world: World
    drawings: Path
    folder: Path
    console: Console

    def started(self, models: str, settings: Mapping[str, str] | None = None) -> AbstractContextManager[stack.Stack]:
        """A service with a catalogue of its own, the models of this name, and more SEMBLANCE_* variables."""
        home = Path(tempfile.mkdtemp(prefix=f"{models}-", dir=self.folder))
        return stack.started(self.suite.models(models), self.world, home, self.suite.milvus, settings)


@contextmanager
def prepared(suite: Suite, drawings: Path, console: Console) -> Iterator[Experiment]:
    """Draws what is not drawn yet into the folder `drawings`."""
    with console.status("drawing catalogue and scenes"):
        world = World.drawn(drawings, suite.items, suite.scenes)
    with tempfile.TemporaryDirectory(prefix="semblance-bench-") as folder:
        yield Experiment(suite, world, drawings, Path(folder), console)


def interleaved(
    rounds: int, reference: Callable[[], Reference], subject: Callable[[], Subject]
) -> Iterator[tuple[Reference, Subject, Reference]]:
    """In each round the subject, with the reference measured just before and just after it.

    What a shared machine does to both cancels out of their ratio; the mean of the two references takes out a drift.
    """
    before = reference()
    for _ in range(rounds):
        measured = subject()
        after = reference()
        yield before, measured, after
        before = after


@dataclass(slots=True)
class Parts:
    """What ratios are made of, one number a round."""

    numbers: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, **numbers: float) -> None:
        for name, number in numbers.items():
            self.numbers[name].append(number)

    def add_load(self, load: Load) -> None:
        """Its rate, what the client and others took of the cores, and the CPU milliseconds of each process a photo."""
        self.add(photos_per_second=load.rate, **load.spent.shares)
        self.add(**{f"{process}_cpu_ms": 1000 * seconds for process, seconds in load.cpu_each.items()})

    def frozen(self, prefix: str = "") -> dict[str, tuple[float, ...]]:
        return {prefix + name: tuple(numbers) for name, numbers in self.numbers.items()}


def client_note(shares: list[float]) -> str:
    """How much of this host's CPU the load generator took."""
    return f"the asyncio load generator ran on the same cores and took up to {max(shares):.1%} of their time"


def others_note(shares: list[float]) -> str:
    """How much of this host's CPU went to what has nothing to do with the measurement."""
    return f"other processes took up to {max(shares):.1%} of the cores' time while the service was measured"
