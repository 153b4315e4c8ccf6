"""`alternatives`: the chain's throughput over that of other ways to serve the same models.

All run at once and take turns: the service, one of the others, the service, the next one, … Whose turn it is not is
stopped by a signal, but for Triton and Milvus, which others use too. One load generator calls them all, a closed loop
over the same photos, with as many in flight as served each best in a sweep beforehand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, replace

from semblance.benchmarks import contenders, load
from semblance.benchmarks.contenders import Contender, Site, Start
from semblance.benchmarks.experiment import PATIENT, Experiment, Parts, client_note, interleaved, others_note
from semblance.benchmarks.figure import Figure, Measure
from semblance.benchmarks.host import Host
from semblance.benchmarks.load import Load
from semblance.benchmarks.stack import NULL, Stack

NAME = "alternatives"
# How far ahead of each the service should be: with real models compute dominates, with null models overhead.
REAL = {"plain": 6.0, "bls": 1.0, "bentoml": 1.1, "ray": 1.1}
EMPTY = {"bls": 1.2, "bentoml": 2.0, "ray": 2.0}
SERVICE = "semblance"
STARTS: Mapping[str, Start] = {
    SERVICE: contenders.semblance,
    "plain": contenders.plain,
    "bls": contenders.bls,
    "bentoml": contenders.bentoml,
    "ray": contenders.ray,
}
SWEEP = (4, 8, 16, 32)
# The script takes one photo after the other.
IN_FLIGHT = {"plain": (1,)}
# Before counting: adaptive batching learns, what was stopped comes back.
WARM_UP_SECONDS = 2.0


def measure(experiment: Experiment, command: str) -> Figure:
    """With the fastest models that the suite has packages of, and with null models.

    The plain script always runs the fp32 weights, in torch: it is what one would write first.
    """
    real = "fastest" if "fastest" in experiment.suite.packages else "fp32"
    measures: dict[str, Measure] = {}
    parts: dict[str, tuple[float, ...]] = {}
    notes = [f"the servers run the {real} models, the plain script the fp32 weights in torch"]
    for models, targets, suffix in ((real, REAL, ""), (NULL, EMPTY, "_null")):
        with (
            experiment.started(models, PATIENT) as service,
            started(experiment, service, [SERVICE, *targets]) as contest,
        ):
            host = Host.here(service.versions)
            best = {name: contest.best_in_flight(name) for name in contest.contenders}
            notes.append(f"{models} models, in flight: {', '.join(f'{name} {count}' for name, count in best.items())}")
            ratios, rounds = _rounds(contest, list(targets), best, suffix)
        measures |= {name + suffix: Measure(tuple(ratios[name]), targets[name], "higher") for name in targets}
        for name, numbers in rounds.items():
            parts |= numbers.frozen(f"{name}{suffix}_")
    shares, others = (
        [share for name, numbers in parts.items() if name.endswith(end) for share in numbers]
        for end in ("_client_share", "_others_share")
    )
    return Figure(NAME, measures, command, host.noting(*notes, client_note(shares), others_note(others)), parts)


def _rounds(
    contest: Contest, rivals: Sequence[str], best: Mapping[str, int], suffix: str
) -> tuple[dict[str, list[float]], dict[str, Parts]]:
    """The service's rate over each rival's, one ratio a round, and what each spent."""
    ratios: dict[str, list[float]] = {name: [] for name in rivals}
    parts = {name: Parts() for name in (SERVICE, *rivals)}

    def turn(name: str) -> Load:
        loaded = contest.turn(name, best[name])
        parts[name].add_load(loaded)
        return loaded

    order = [*rivals] * contest.experiment.suite.figures.rounds
    upcoming = iter(order)
    turns = interleaved(len(order), lambda: turn(SERVICE), lambda: turn(next(upcoming)))
    for name, (before, rival, after) in zip(order, turns, strict=True):
        ours = (before.rate + after.rate) / 2
        ratios[name].append(ours / rival.rate)
        contest.experiment.console.print(
            f"{NAME}{suffix}: {ours:.1f} photos/s, {name} {rival.rate:.1f}: {ours / rival.rate:.2f}"
        )
    return ratios, parts


@dataclass(frozen=True, slots=True)
class Contest:
    """The service and its rivals, all running; who has no turn is stopped, see `started`."""

    experiment: Experiment
    service: Stack
    contenders: Mapping[str, Contender]
    loop: asyncio.Runner

    def turn(self, name: str, in_flight: int) -> Load:
        """What a contender does while it has the host to itself."""
        contender = self.contenders[name]
        own = {} if contender.pid is None else {name: contender.pid}
        with ExitStack() as others:
            for other, each in self.contenders.items():
                if other != name:
                    others.enter_context(each.paused())
            return self.loop.run(
                load.searches(
                    contender.search,
                    replace(self.service, pids={**self.service.pids, **own}),
                    self.experiment.world.photos,
                    in_flight=in_flight,
                    seconds=self.experiment.suite.figures.seconds,
                    warm_up=WARM_UP_SECONDS,
                )
            )

    def best_in_flight(self, name: str) -> int:
        """How many photos in flight give a contender its highest throughput."""
        rates = {count: self.turn(name, count).rate for count in IN_FLIGHT.get(name, SWEEP)}
        shown = ", ".join(f"{count}: {rate:.1f}" for count, rate in rates.items())
        self.experiment.console.print(f"{NAME}: {name} photos/s by photos in flight: {shown}")
        return max(rates, key=rates.__getitem__)


@contextmanager
def started(experiment: Experiment, service: Stack, names: Sequence[str]) -> Iterator[Contest]:
    """Starts the contenders beside the service."""
    site = Site(service, experiment.suite.packages["fp32"], experiment.world.files, experiment.folder)
    with asyncio.Runner() as loop:
        exits = AsyncExitStack()
        try:
            running = {name: loop.run(exits.enter_async_context(STARTS[name](site))) for name in names}
            yield Contest(experiment, service, running, loop)
        finally:
            loop.run(exits.aclose())
