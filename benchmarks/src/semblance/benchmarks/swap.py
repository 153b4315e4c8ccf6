"""`swap`: what callers notice while the embedder, and then the detector, are replaced under their load."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from pymilvus import MilvusClient
from rich.console import Console
from tritonclient.grpc import InferenceServerClient

from semblance.benchmarks import stack, swap_client
from semblance.benchmarks.experiment import PATIENT, Experiment
from semblance.benchmarks.figure import Figure, Measure
from semblance.benchmarks.host import Host
from semblance.benchmarks.open_loop import p99
from semblance.benchmarks.scenario import Suite
from semblance.benchmarks.stack import MODELS
from semblance.benchmarks.swap_client import DIFFERS, SIMILARITY_TOLERANCE
from semblance.benchmarks.world import World
from semblance.client import Client, NewRelease, Release
from semblance.export import repository as model_repository
from semblance.serving import milvus, orchestrator, triton

NAME = "swap"
# Enough that building takes longer than loading the models does.
ITEMS = 120
ORCHESTRATORS = 2
CLIENTS = 3
IN_FLIGHT_EACH = 2
NOTE = (
    f"one run; {CLIENTS} client processes on the same cores with {IN_FLIGHT_EACH} searches in flight each, on "
    f"{ORCHESTRATORS} orchestrators; the next embedder's vectors have another length"
)
# Long enough for a 99th percentile that means something, and around the moment of a switch, in seconds.
STEADY_SECONDS = 40.0
SWITCH_SECONDS = 10.0
SHADOW_PERCENT = 50.0
# Who calls from this host, as a canary knows it.
CALLER = "ipv4:127.0.0.1"
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 1800.0
# The most that Milvus returns at once.
ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Call:
    """`end` in Unix time, `seconds` it took; `error` is empty where it was answered by `release`."""

    end: float
    seconds: float
    release: str
    error: str


@dataclass(slots=True)
class Phases:
    """When what was done, in Unix time, by name; one after another."""

    spans: dict[str, tuple[float, float]] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begin = time.time()
        yield
        self.spans[name] = begin, time.time()

    def p99(self, name: str, calls: Sequence[Call]) -> float:
        """Seconds, of the calls that ended within a phase."""
        begin, end = self.spans[name]
        return p99([call.seconds for call in calls if begin <= call.end <= end])


@dataclass(frozen=True, slots=True)
class Vectors:
    """A collection: float32 [N, dimension] of length 1, and the item of each."""

    item_ids: tuple[str, ...]
    vectors: NDArray[np.float32]

    @classmethod
    def of(cls, uri: str, collection: str) -> Vectors:
        client = MilvusClient(uri)
        try:
            rows = client.query(
                collection,
                filter="",
                limit=ROWS,
                output_fields=["item_id", "vector"],
                consistency_level="Strong",
            )
        finally:
            client.close()
        return cls(tuple(row["item_id"] for row in rows), np.array([row["vector"] for row in rows], np.float32))

    def explains(self, embedding: Sequence[float], hits: Sequence[tuple[str, float]]) -> bool:
        """Whether comparing with every vector gives these items such similarities, and no other item a greater one."""
        query = np.array(embedding, np.float32)
        if query.shape != self.vectors.shape[1:]:
            return False
        best: dict[str, float] = {}
        for item_id, similarity in zip(self.item_ids, (self.vectors @ query).tolist(), strict=True):
            best[item_id] = max(similarity, best.get(item_id, -1.0))
        if any(abs(best.get(item_id, 2.0) - similarity) > SIMILARITY_TOLERANCE for item_id, similarity in hits):
            return False
        nearest = sorted(best.values(), reverse=True)[: len(hits)]
        return all(abs(a - b) <= SIMILARITY_TOLERANCE for a, b in zip(nearest, (hit[1] for hit in hits), strict=True))


@dataclass(slots=True)
class Run:
    """What is known when the load has ended: when what was done, the seconds that switches took, each release's
    vectors, and megabytes of memory before and after retiring."""

    phases: Phases = field(default_factory=Phases)
    activations: list[float] = field(default_factory=list)
    rollbacks: list[float] = field(default_factory=list)
    vectors: dict[str, Vectors] = field(default_factory=dict)
    memory: list[tuple[float, float]] = field(default_factory=list)


def measure(experiment: Experiment, command: str) -> Figure:
    """One run: a release is built for the first time once."""
    run = Run()
    world = World.drawn(experiment.drawings, ITEMS, experiment.suite.scenes)
    with started(experiment.suite, world, experiment.folder / NAME) as service:
        host = Host.here(service.versions)
        with (
            clients(world.files, service, experiment.folder / "clients") as load,
            Client(service.targets[0]) as client,
        ):
            run.vectors["r1"] = vectors_of(client, service, "r1")
            for model, old, new in (("embedder", "r1", "r2"), ("detector", "r2", "r3")):
                swap(client, service, run, experiment.console, model, old, new)
        calls = load.calls()
        differing = sum(not explained(answer, run.vectors) for answer in load.answers())
    return Figure(NAME, measures(calls, run, differing), command, host.noting(NOTE), parts(calls, run))


def swap(client: Client, service: Service, run: Run, console: Console, model: str, old: str, new: str) -> None:
    """Puts version 2 of a model in place of version 1: built, watched, activated, rolled back, activated again; then
    the old release is retired."""
    releases = client.releases
    with run.phases.phase(f"before {model}"):
        time.sleep(STEADY_SECONDS)
    with run.phases.phase(f"building {model}"):
        releases.create(NewRelease(new, detector=2) if model == "detector" else NewRelease(new, embedder=2))
        until(lambda: releases.get(new).state == "ready")
    run.vectors[new] = vectors_of(client, service, new)
    releases.shadow(new, percent=SHADOW_PERCENT)
    time.sleep(SWITCH_SECONDS)
    releases.shadow(new, percent=0)
    releases.canary(new, callers=[CALLER])
    time.sleep(SWITCH_SECONDS)
    releases.canary(new)
    for figure in releases.report(new).figures:
        console.print(f"{new} {figure.name}: {figure.value}")
    with run.phases.phase(f"switching {model}"):
        run.activations.append(releases.activate(new).seconds)
        time.sleep(SWITCH_SECONDS)
        run.rollbacks.append(releases.roll_back().seconds)
        time.sleep(SWITCH_SECONDS)
        run.activations.append(releases.activate(new).seconds)
        time.sleep(SWITCH_SECONDS)
    before = memory(service)
    retired = releases.retire(old)
    unused = models(retired) - models(releases.get(new))
    until(lambda: retired.collection not in collections(service) and not unused & loaded(service))
    run.memory.append((before, memory(service)))
    console.print(f"{new} is active, {old} is retired")


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"what was waited for did not come within {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def explained(answer: Mapping[str, Any], vectors: Mapping[str, Vectors]) -> bool:
    """Whether an answer is what its release's vectors give."""
    known = vectors[answer["release"]]
    return all(known.explains(each["embedding"], each["hits"]) for each in answer["objects"])


def vectors_of(client: Client, service: Service, release_id: str) -> Vectors:
    return Vectors.of(service.milvus, client.releases.get(release_id).collection)


def collections(service: Service) -> Sequence[str]:
    client = MilvusClient(service.milvus)
    try:
        return list(client.list_collections())
    finally:
        client.close()


def models(release: Release) -> set[tuple[str, int]]:
    return {(model.name, model.version) for model in (release.detector, release.embedder)}


def loaded(service: Service) -> set[tuple[str, int]]:
    """Models and versions that Triton has, one that it is unloading included."""
    with InferenceServerClient(service.triton) as client:
        index = client.get_model_repository_index()
    return {(model.name, int(model.version)) for model in index.models if model.state not in ("", "UNAVAILABLE")}


def memory(service: Service) -> float:
    """Megabytes of Triton, with its models' processes, and Milvus."""
    processes = [psutil.Process(pid) for pid in service.pids]
    family = {each for process in processes for each in (process, *process.children(recursive=True))}
    return sum(process.memory_info().rss for process in family) / 2**20


def measures(calls: Sequence[Call], run: Run, differing: int) -> dict[str, Measure]:
    def ratio(phase: str) -> Measure:
        ratios = [
            run.phases.p99(f"{phase} {model}", calls) / run.phases.p99(f"before {model}", calls) for model in MODELS
        ]
        return Measure(tuple(ratios), 1.5 if phase == "building" else 1.2, "lower")

    different = differing + sum(call.error == DIFFERS for call in calls)
    failed = sum(bool(call.error) and call.error != DIFFERS for call in calls)
    return {
        "requests": Measure((len(calls),), 1, "higher"),
        "failed": Measure((failed,), 0, "lower"),
        "mixed": Measure((different,), 0, "lower"),
        "p99_ratio_building": ratio("building"),
        "p99_ratio_switch": ratio("switching"),
        "seconds_to_activate": Measure(tuple(run.activations), 2.0, "lower"),
        "seconds_to_roll_back": Measure(tuple(run.rollbacks), 2.0, "lower"),
    }


def parts(calls: Sequence[Call], run: Run) -> dict[str, tuple[float, ...]]:
    """Milliseconds and seconds of each phase, megabytes before and after each retirement, answers of each release."""
    found: dict[str, tuple[float, ...]] = {}
    for name, (begin, end) in run.phases.spans.items():
        found[f"p99_ms {name}"] = (1000 * run.phases.p99(name, calls),)
        found[f"seconds {name}"] = (end - begin,)
        found[f"photos_per_second {name}"] = (sum(begin <= call.end <= end for call in calls) / (end - begin),)
    found["memory_mb_before_retiring"] = tuple(before for before, _ in run.memory)
    found["memory_mb_after_retiring"] = tuple(after for _, after in run.memory)
    for release_id in run.vectors:
        found[f"answers {release_id}"] = (sum(call.release == release_id for call in calls),)
    return found


@dataclass(frozen=True, slots=True)
class Service:
    """Two orchestrators on the same stores. `pids` are Triton's and Milvus'."""

    targets: tuple[str, ...]
    triton: str
    milvus: str
    pids: tuple[int, ...]
    versions: Mapping[str, str]


@contextmanager
def started(suite: Suite, world: World, folder: Path) -> Iterator[Service]:
    """Serves version 1 of both models with the world's catalogue; version 2 of each is published beside it."""
    repository = folder / "model_repository"
    stack.publish(suite.models("fastest"), repository)
    with (
        triton.running(repository, folder / "triton", models=()) as inference,
        milvus.standalone(folder / "milvus") as index,
        ExitStack() as running,
    ):
        targets = []
        for number in range(ORCHESTRATORS):
            service = running.enter_context(
                orchestrator.running(
                    folder / "orchestrator",
                    repository=repository,
                    triton=inference.grpc,
                    milvus=index.uri,
                    log=folder / f"orchestrator-{number}.log",
                    settings=dict(PATIENT),
                )
            )
            targets.append(service.address)
            if number == 0:
                stack.fill(service.address, world)
        for model in MODELS:
            model_repository.publish(Path(suite.models("next")) / model, repository, 2)
        yield Service(
            tuple(targets),
            inference.grpc,
            index.uri,
            (inference.pid, index.pid),
            {"milvus": milvus.version(index.uri)},
        )


@dataclass(frozen=True, slots=True)
class Load:
    """Client processes that search without end; what they said is in `folder`."""

    folder: Path
    processes: tuple[subprocess.Popen[str], ...]

    def calls(self) -> list[Call]:
        lines = (line for path in sorted(self.folder.glob("*.calls")) for line in path.read_text().splitlines())
        return [Call(*json.loads(line)) for line in lines]

    def answers(self) -> list[dict[str, Any]]:
        lines = (line for path in sorted(self.folder.glob("*.answers")) for line in path.read_text().splitlines())
        return [json.loads(line) for line in lines]


@contextmanager
def clients(photos: Sequence[Path], service: Service, folder: Path) -> Iterator[Load]:
    """At the end each has got the answers that it waited for."""
    folder.mkdir()
    processes = tuple(_client(number, photos, service, folder) for number in range(CLIENTS))
    try:
        yield Load(folder, processes)
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            process.wait()


def _client(number: int, photos: Sequence[Path], service: Service, folder: Path) -> subprocess.Popen[str]:
    order = {
        "targets": service.targets,
        "photos": [str(path) for path in photos],
        "in_flight": IN_FLIGHT_EACH,
        "answers": str(folder / f"{number}.answers"),
    }
    with (folder / f"{number}.calls").open("w") as calls:
        process = subprocess.Popen(
            [sys.executable, "-m", swap_client.__name__], stdin=subprocess.PIPE, stdout=calls, text=True
        )
    assert process.stdin is not None
    print(json.dumps(order), file=process.stdin, flush=True)
    return process
