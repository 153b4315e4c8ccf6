"""`ray`: what a Ray job that loses a worker leaves in catalogue and indexes, and its throughput beside plain puts.

`python -m semblance.benchmarks.ray_jobs FILE` says whether a measured figure has everything once, else its status is 1.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from pymilvus import MilvusClient
from rich.console import Console

from semblance.benchmarks import ray_cluster
from semblance.benchmarks.experiment import PATIENT, Experiment, Parts, interleaved
from semblance.benchmarks.figure import Figure, Measure
from semblance.benchmarks.host import Host
from semblance.benchmarks.ray_cluster import RayCluster
from semblance.benchmarks.stack import Stack
from semblance.benchmarks.world import World, numbered
from semblance.client import Client, Item
from semblance.export import repository as model_repository
from semblance.orchestrator.catalog import row_key

NAME = "ray"
TARGET = 0.9
WORKERS = 2
# The demo's catalogue, in which a worker is killed when so much of it is done.
ITEMS, SCENES = 240, 60
KILLED_AT = 0.33
# Photos put in a turn by each of the processes, and turns.
PHOTOS_EACH = 60
ROUNDS = 3
RELEASE = "again"
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 1800.0
RAY = ("--engine", "ray", "--workers", str(WORKERS))
# What must be zero.
EXACT = ("doubled", "missing", "build_doubled", "build_missing")
NOTE = (
    "the service, Ray and the plain processes share these cores; a rate is that of the items' times of creation, from "
    "the first to the last"
)


class JobError(Exception):
    """A command that should have ended well has not."""


@dataclass(frozen=True, slots=True)
class Held:
    """What an index holds against the catalogue: rows that it should not have or has twice, and that it lacks."""

    doubled: int
    missing: int


@dataclass(slots=True)
class Turns:
    """Puts photos that the catalogue has not seen, which takes other bytes each time, and says at what rate."""

    service: Stack
    cluster: RayCluster
    photos: Sequence[bytes]
    folder: Path
    parts: Parts = field(default_factory=Parts)
    _written: int = 0

    def plain(self, processes: int) -> float:
        """Items a second of so many processes, each with a part of them."""
        names = [self._manifest() for _ in range(processes)]
        return self._rate("plain", [[str(name)] for name in names], names)

    def ray(self, workers: int) -> float:
        """Items a second of one job with so many workers."""
        names = [self._manifest() for _ in range(workers)]
        return self._rate("ray", [[*map(str, names), "--engine", "ray", "--workers", str(workers)]], names)

    def _manifest(self) -> Path:
        """Named for what its items' ids begin with."""
        self._written += 1
        home = self.folder / f"turn-{self._written}"
        home.mkdir(parents=True)
        rows = []
        for number in range(PHOTOS_EACH):
            path = home / f"{number}.jpg"
            photo = self.photos[number % len(self.photos)]
            path.write_bytes(numbered(photo, 1000 * self._written + number))
            rows.append((f"{home.name}-{number}", path.name))
        return written(home / "items.csv", rows)

    def _rate(self, how: str, calls: Sequence[Sequence[str]], manifests: Sequence[Path]) -> float:
        began = time.time()
        processes = [index(self.cluster, self.service, arguments) for arguments in calls]
        for process in processes:
            finish(process)
        prefixes = tuple(f"{manifest.parent.name}-" for manifest in manifests)
        with Client(self.service.target) as client:
            times = sorted(item.created_at.timestamp() for item in client.list() if item.item_id.startswith(prefixes))
        expected = PHOTOS_EACH * len(manifests)
        if len(times) != expected:
            raise JobError(f"{len(times)} of {expected} items of a turn are in the catalogue")
        rate = (len(times) - 1) / (times[-1] - times[0])
        name = f"{how}_{len(manifests)}"
        self.parts.add(**{f"{name}_items_per_second": rate, f"{name}_seconds_to_first": times[0] - began})
        return rate


def measure(experiment: Experiment, command: str) -> Figure:
    console = experiment.console
    world = World.drawn(experiment.drawings, ITEMS, SCENES)
    manifest = experiment.drawings / f"{ITEMS}-items-{SCENES}-scenes" / "manifest.csv"
    folder = experiment.folder / NAME
    packages = experiment.suite.models("fp32")
    with (
        ray_cluster.started(WORKERS) as cluster,
        # Empty but for the few items that load code and open connections.
        experiment.started("fp32", PATIENT) as service,
    ):
        host = Host.here(service.versions)
        wanted = {item.item_id for item in (*world.catalogue, *experiment.world.catalogue)}
        kill_while(cluster, index(cluster, service, [str(manifest), *RAY]), stored(service), ITEMS, console)
        items = catalogue(service)
        indexed = len(wanted & items.keys())
        index_held = held(service, "r1", items)
        doubled = index_held.doubled + len(items.keys() - wanted)
        missing = index_held.missing + len(wanted) - indexed
        console.print(f"{indexed} of {len(wanted)} items indexed, {doubled} doubled, {missing} missing")

        model_repository.publish(Path(packages) / "embedder", service.repository, 2)
        creating = called(cluster, ["release", "create", RELEASE, "--embedder", "2", *RAY, "--target", service.target])
        kill_while(cluster, creating, settled(service), len(items), console)
        build_held = held(service, RELEASE, items)
        console.print(f"rebuilt: {build_held.doubled} doubled, {build_held.missing} missing")
        with Client(service.target) as client:
            client.releases.retire(RELEASE)

        turns = Turns(service, cluster, experiment.world.photos, folder)
        ratios = {workers: list(ratio(turns, workers, console)) for workers in (WORKERS, 1)}
    turns.parts.add(ray_start_seconds=cluster.seconds)
    measures = {
        "items": Measure((len(wanted),), ITEMS, "higher"),
        "indexed": Measure((indexed,), len(wanted), "higher"),
        "doubled": Measure((doubled,), 0, "lower"),
        "missing": Measure((missing,), 0, "lower"),
        "build_doubled": Measure((build_held.doubled,), 0, "lower"),
        "build_missing": Measure((build_held.missing,), 0, "lower"),
        "per_worker_ratio": Measure(tuple(ratios[WORKERS]), TARGET, "higher"),
        "one_worker_ratio": Measure(tuple(ratios[1]), TARGET, "higher"),
    }
    return Figure(NAME, measures, command, host.noting(NOTE), turns.parts.frozen())


def ratio(turns: Turns, workers: int, console: Console) -> Iterator[float]:
    """Of a job's throughput to that of as many plain processes, just before and after it."""
    for before, job, after in interleaved(ROUNDS, lambda: turns.plain(workers), lambda: turns.ray(workers)):
        plain = (before + after) / 2
        console.print(f"{workers} workers: {job:.2f} items/s of {plain:.2f} with plain processes: {job / plain:.3f}")
        yield job / plain


def called(cluster: RayCluster, arguments: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [cluster.program, *arguments],
        env=dict(cluster.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def index(cluster: RayCluster, service: Stack, arguments: Sequence[str]) -> subprocess.Popen[str]:
    return called(cluster, ["index", "--target", service.target, *arguments])


def finish(process: subprocess.Popen[str]) -> None:
    said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    if process.returncode:
        raise JobError(f"`{process.args!r}` ended with status {process.returncode}:\n{said}")


def kill_while(
    cluster: RayCluster, process: subprocess.Popen[str], done: Callable[[], int], of: int, console: Console
) -> None:
    """Kills one of the busy workers when a part of the items is done, and waits for the command to end well."""
    begun, give_up = done(), time.monotonic() + PATIENCE_SECONDS
    while not (done() - begun >= KILLED_AT * of and (busy := cluster.busy())):
        if process.poll() is not None or time.monotonic() > give_up:
            process.kill()
            raise JobError(f"there was no worker to kill while the items were done: {process.communicate()[0]}")
        time.sleep(POLL_SECONDS)
    busy[0].kill()
    console.print(f"killed worker {busy[0].pid} of {len(busy)} at {done() - begun} of {of} items")
    finish(process)


def stored(service: Stack) -> Callable[[], int]:
    def count() -> int:
        with Client(service.target) as client:
            return client.count().items

    return count


def settled(service: Stack) -> Callable[[], int]:
    """Items of the release that is built; 0 before there is one."""

    def count() -> int:
        with Client(service.target) as client:
            found = {release.release_id: release.progress for release in client.releases.list()}.get(RELEASE)
            return found.settled if found else 0

    return count


def catalogue(service: Stack) -> Mapping[str, Item]:
    with Client(service.target) as client:
        return {item.item_id: item for item in client.list()}


def held(service: Stack, release_id: str, items: Mapping[str, Item]) -> Held:
    """Compares the rows of a release's collection with those that the catalogue's items make."""
    with Client(service.target) as client:
        collection = client.releases.get(release_id).collection
    wanted = {
        row_key(item.item_id, image.image_id, number)
        for item in items.values()
        for image in item.images
        for number in range(image.vectors)
    }
    found = rows(service.milvus, collection)
    return Held(len(found) - len(wanted & set(found)), len(wanted - set(found)))


def rows(uri: str, collection: str) -> list[str]:
    """The primary keys of a collection, each as often as it is there."""
    with closing(MilvusClient(uri)) as client:
        iterator = client.query_iterator(collection, filter="", output_fields=["key"], consistency_level="Strong")
        with closing(iterator):
            return [row["key"] for batch in iter(iterator.next, []) for row in batch]


def written(path: Path, entries: Sequence[tuple[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("item_id", "image"))
        writer.writerows(entries)
    return path


def main(path: Path) -> int:
    figure = Figure.read(path)
    wrong = {name: figure.measures[name].value for name in EXACT if figure.measures[name].value}
    for name, value in wrong.items():
        print(f"{name}: {value:g}, expected 0")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
