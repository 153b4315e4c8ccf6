"""`overload`: what the service answers, and how soon, when several times as much is asked as it can do."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence

from semblance.benchmarks import load, open_loop
from semblance.benchmarks.experiment import Experiment, Parts, client_note, others_note
from semblance.benchmarks.figure import Figure, Measure
from semblance.benchmarks.host import Host
from semblance.benchmarks.open_loop import Outcome, Phase, p99
from semblance.benchmarks.reading import Reading
from semblance.benchmarks.scenario import Rounds
from semblance.benchmarks.stack import NULL, Stack
from semblance.client import AsyncClient

NAME = "overload"
# The first of these that the suite has packages of. Null models would leave most of the cores to the load generator.
MODELS = ("fastest", "fp32")
# Times the rate at saturation.
TIMES = (1, 2, 3, 5)
GREEDY_TIMES = 10
# Phases are this many times as long as the suite's parts of a figure: the rarest percent needs many searches.
LENGTH = 6
# The overload is over when lone searches with so many photos, one after another, take no longer than this many times
# what each took before.
LONE_PHOTOS = 3
NORMAL = 1.5
# Looking for that ends after so many seconds.
LOOKING_SECONDS = 60.0
LONE_REPEATS = 5


def measure(experiment: Experiment, command: str) -> Figure:
    """In each round: each multiple of the rate at saturation, which a closed loop finds before and after it, the time
    after, and two callers."""
    settings, photos = experiment.suite.figures, experiment.world.photos
    models = next((name for name in MODELS if name in experiment.suite.packages), NULL)
    ratios, parts = Parts(), Parts()
    with experiment.started(models) as service:
        host = Host.here(service.versions)
        # The service finds its limit.
        load.search(service, photos, in_flight=settings.in_flight, seconds=LENGTH * settings.seconds)
        for number in range(settings.rounds):
            before = Reading.of(service)
            asyncio.run(_round(service, photos, settings, ratios, parts))
            parts.add(**Reading.of(service).since(before).shares)
            last = {name: round(numbers[-1], 3) for name, numbers in ratios.numbers.items()}
            experiment.console.print(f"{NAME} {number + 1}: {last}")
    notes = (client_note(parts.numbers["client_share"]), others_note(parts.numbers["others_share"]))
    rates = f"{models} models; arrivals by a Poisson process; two callers are two addresses of this host"
    return Figure(NAME, _measures(ratios), command, host.noting(rates, *notes), parts.frozen())


def _measures(ratios: Parts) -> dict[str, Measure]:
    def measured(name: str, target: float, better: str) -> Measure:
        return Measure(tuple(ratios.numbers[name]), target, "higher" if better == "higher" else "lower")

    return {
        "goodput_ratio_at_3x": measured("goodput_ratio_at_3x", 0.9, "higher"),
        "p99_ratio_at_3x": measured("p99_ratio_at_3x", 1.5, "lower"),
        "refusal_p99_ms": measured("refusal_p99_ms", 50.0, "lower"),
        "other_errors": measured("other_errors", 0.0, "lower"),
        "recovery_seconds": measured("recovery_seconds", 5.0, "lower"),
        "fair_share": measured("fair_share", 0.9, "higher"),
    }


async def _round(service: Stack, photos: Sequence[bytes], settings: Rounds, ratios: Parts, parts: Parts) -> None:
    seconds = LENGTH * settings.seconds
    async with AsyncClient(service.target) as client:

        async def saturated() -> float:
            found = await load.searches(
                client.search, service, photos, in_flight=settings.in_flight, seconds=2 * settings.seconds, warm_up=1.0
            )
            parts.add(photos_per_second_at_saturation=found.rate)
            return found.rate

        lone = {photo: await _lone(client, photo) for photo in photos[:LONE_PHOTOS]}
        rates, phases = [await saturated()], dict[int, Phase]()
        for times in TIMES:
            phases[times] = await open_loop.search(client, photos, times * rates[-1], seconds)
            rates.append(await saturated())
            parts.add(**_described(phases[times], f"_at_{times}x"))
        recovery = await _recovery(client, photos, TIMES[-1] * rates[-1], seconds / LENGTH, lone)
    polite, greedy = await _two_callers(service, photos, rates[-1], seconds)
    at_3x = TIMES.index(3)
    refusals = [taken for phase in phases.values() for taken in phase.seconds(Outcome.REFUSED)]
    ratios.add(
        goodput_ratio_at_3x=phases[3].goodput / statistics.mean(rates[at_3x : at_3x + 2]),
        p99_ratio_at_3x=p99(phases[3].seconds(Outcome.ANSWERED)) / p99(phases[1].seconds(Outcome.ANSWERED)),
        refusal_p99_ms=1000 * p99(refusals),
        other_errors=sum(phase.count(Outcome.FAILED) for phase in (*phases.values(), polite, greedy)),
        recovery_seconds=recovery,
        fair_share=polite.goodput / min(polite.asked, (polite.goodput + greedy.goodput) / 2),
    )
    parts.add(
        lone_ms=1000 * statistics.mean(lone.values()),
        polite_asked_per_second=polite.asked,
        polite_per_second=polite.goodput,
        greedy_per_second=greedy.goodput,
    )


def _described(phase: Phase, suffix: str) -> dict[str, float]:
    return {
        f"answered_per_second{suffix}": phase.goodput,
        f"refused_per_second{suffix}": len(phase.seconds(Outcome.REFUSED)) / (phase.end - phase.begin),
        f"p99_ms{suffix}": 1000 * p99(phase.seconds(Outcome.ANSWERED)),
    }


async def _lone(client: AsyncClient, photo: bytes) -> float:
    """Median seconds."""
    return statistics.median([await _answered(client, photo) for _ in range(LONE_REPEATS)])


async def _recovery(
    client: AsyncClient, photos: Sequence[bytes], rate: float, seconds: float, lone: Mapping[bytes, float]
) -> float:
    """Seconds from the last search of an overload until lone ones take as long as before, as all after them do."""
    overload = asyncio.create_task(open_loop.search(client, photos, rate, seconds))
    await asyncio.sleep(seconds)
    stopped = time.perf_counter()
    recovered = end = stopped + LOOKING_SECONDS
    normal = 0
    while normal < len(lone) and time.perf_counter() < end:
        begin, photo = time.perf_counter(), list(lone)[normal]
        if await _answered(client, photo) > NORMAL * lone[photo]:
            recovered, normal = end, 0
            continue
        recovered = begin if normal == 0 else recovered
        normal += 1
    await overload
    return recovered - stopped


async def _answered(client: AsyncClient, photo: bytes) -> float:
    """Seconds of one search, refusals and what it waits after them included."""
    begin = time.perf_counter()
    while (await open_loop.call(client, photo, begin)).outcome is not Outcome.ANSWERED:
        await asyncio.sleep(0.05)
    return time.perf_counter() - begin


async def _two_callers(service: Stack, photos: Sequence[bytes], rate: float, seconds: float) -> tuple[Phase, Phase]:
    """One asks for half of what the service can do, the other for many times all of it."""
    async with (
        open_loop.another_caller(service.target) as address,
        AsyncClient(address) as polite,
        AsyncClient(service.target) as greedy,
    ):
        for client in (polite, greedy):
            # A new connection does not know yet how many streams the server takes.
            await _answered(client, photos[0])
        return await asyncio.gather(
            open_loop.search(polite, photos, rate / 2, seconds),
            open_loop.search(greedy, photos, GREEDY_TIMES * rate, seconds),
        )
