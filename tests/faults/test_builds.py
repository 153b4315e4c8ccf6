"""Builds and switches of releases while parts of the service are killed, and while the catalogue changes.

Seeds decide what is killed and when; where the build is by then is up to the machine.
"""

import asyncio
import hashlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from pymilvus import MilvusClient
from tritonclient.grpc import InferenceServerClient

from semblance.client import (
    AsyncClient,
    Client,
    ContractMismatchError,
    DeadlineExceededError,
    NewItem,
    NewRelease,
    RetryableError,
    SemblanceError,
    UnavailableError,
)
from semblance.orchestrator.item import Item
from semblance.orchestrator.release import ReleaseState
from tests.faults import models, rows
from tests.faults.kills import EVERY_PART, Loop
from tests.faults.ledger import State, photo
from tests.faults.load import CALL_TIMEOUT, SAME, Load
from tests.faults.parts import MilvusKind, Service, service
from tests.faults.rows import Collections
from tests.servers import postgresql_made
from tests.stack import semblance

ITEMS, IMAGES_EACH = 100, 2
NEW_ITEMS = [
    NewItem(f"steady-{number}", [photo(0, f"steady-{number}", image) for image in range(IMAGES_EACH)], {"n": number})
    for number in range(ITEMS)
]
# Puts at once, to fill the catalogue.
AT_ONCE = 8
# Before something is done while callers go on, in seconds.
EARLIEST, LATEST = 0.5, 2.0
# In seconds: what is waited for, and how long a client may take to reach an orchestrator that is back.
PATIENCE, RECONNECT = 120.0, 3.0
# Within which a switch is killed, in seconds.
LONGEST_SWITCH = 0.5
POLL = 0.1
# What an item is known to be: its images and its attributes; None where there is none.
Content = tuple[tuple[str, ...], tuple[tuple[str, object], ...]] | None


@dataclass
class Stage:
    """A service whose catalogue holds `NEW_ITEMS` and whose active release is r1; version 2 of both models is
    published."""

    service: Service
    loop: Loop
    client: Client
    collections: Collections
    # A part's process lives as long as the thread that started it: these outlive the service.
    starters: ThreadPoolExecutor

    def kill(self, name: str) -> None:
        """Kills a part and starts it again."""
        part = self.service.part(name)
        part.kill()
        part.start()

    def start(self, names: Sequence[str]) -> None:
        """In this order, before the ones before are ready; returns when all are."""
        started = []
        for name in names:
            started.append(self.starters.submit(self.service.part(name).start))
            time.sleep(POLL)
        for each in started:
            each.result(PATIENCE)

    def unsettled(self, release_id: str) -> int:
        progress = self.client.releases.get(release_id).progress
        assert progress is not None
        return progress.unsettled

    def build(self, new: NewRelease) -> str:
        release_id = self.client.releases.create(new).release_id
        self.wait_until_ready(release_id)
        return release_id

    def wait_until_ready(self, release_id: str) -> None:
        until(lambda: self.client.releases.get(release_id).state == "ready")

    def check(self, *release_ids: str, known: Mapping[str, set[Content]] | None = None) -> None:
        """Waits until all is settled, and every collection holds exactly the catalogue, which is as `known`."""
        until(lambda: not any(self.unsettled(release_id) for release_id in release_ids))
        found = [""]
        limit = time.monotonic() + PATIENCE
        while found and time.monotonic() < limit:
            time.sleep(POLL)
            found = self.loop.run(self._complaints(release_ids, known or {}))
        assert found == []

    async def _complaints(self, release_ids: Sequence[str], known: Mapping[str, set[Content]]) -> list[str]:
        complaints = []
        wanted: dict[str, set[Content]] = {item.item_id: {_content_of(item)} for item in NEW_ITEMS} | dict(known)
        for release_id in release_ids:
            release = (await self.collections.find(release_id)).release
            stored = {item.item_id: _stored(item) for item in await self.collections.items(release)}
            complaints += [f"item {item_id} is of nobody" for item_id in stored.keys() - wanted.keys()]
            complaints += [
                f"item {item_id} is {stored.get(item_id)}"
                for item_id, contents in wanted.items()
                if stored.get(item_id) not in contents
            ]
            complaints += await self.collections.complaints(release_id)
        return complaints


def _content_of(item: NewItem) -> Content:
    ids = (hashlib.sha256(image).hexdigest() for image in item.images if isinstance(image, bytes))
    return tuple(ids), tuple(item.attributes.items())


def _stored(item: Item) -> Content:
    return tuple(image.image_id for image in item.images), tuple(item.attributes.items())


def _contents(states: set[State]) -> set[Content]:
    return {None if state is None else _content_of(state.item) for state in states}


def until(condition: Callable[[], bool]) -> None:
    """A part may be away meanwhile."""
    limit = time.monotonic() + PATIENCE
    last: Exception | None = None
    while True:
        try:
            if condition():
                return
        except (RetryableError, DeadlineExceededError) as error:
            last = error
        assert time.monotonic() < limit, last
        time.sleep(POLL)


@contextmanager
def staged(folder: Path, postgresql_installed: tuple[Path, tuple[str, ...]], kind: MilvusKind) -> Iterator[Stage]:
    with (
        ThreadPoolExecutor(len(EVERY_PART)) as starters,
        postgresql_made(*postgresql_installed) as database,
        service(folder, database, kind) as running,
    ):
        loop = Loop()
        stack = AsyncExitStack()
        try:
            collections = loop.run(stack.enter_async_context(rows.opened(running)))
            models.publish_next(running.repository)
            with Client(running.address) as client:
                with ThreadPoolExecutor(AT_ONCE) as pool:
                    list(pool.map(client.put_item, NEW_ITEMS))
                yield Stage(running, loop, client, collections, starters)
        finally:
            loop.run(stack.aclose())
            loop.close()


@pytest.fixture(scope="module")
def lite(
    postgresql_installed: tuple[Path, tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("builds"), postgresql_installed, "lite") as stage:
        yield stage


@pytest.fixture
def stage(lite: Stage) -> Iterator[Stage]:
    """What a test leaves is taken away for the next one."""
    yield lite
    known = {item.item_id for item in NEW_ITEMS}
    for item in list(lite.client.list()):
        if item.item_id not in known:
            lite.client.delete(item.item_id)
    until(lambda: lite.client.releases.activate("r1").active.release_id == "r1")
    for release in lite.client.releases.list():
        if release.state in ("building", "ready"):
            lite.client.releases.retire(release.release_id)


def build_among_kills(stage: Stage, new: NewRelease, seed: int) -> None:
    """Kills each part once, while the release is built: the first in the first quarter of it, and so on."""
    choose = random.Random(seed)
    order = list(EVERY_PART)
    choose.shuffle(order)
    moments = [choose.randrange(quarter * ITEMS // 4, (quarter + 1) * ITEMS // 4) for quarter in range(4)]
    print(f"seed {seed}: {list(zip(order, moments, strict=True))}")
    release_id = stage.client.releases.create(new).release_id
    hits = 0
    for name, settled in zip(order, moments, strict=True):
        stage.loop.run(stage.collections.wait_until_settled(release_id, settled, PATIENCE))
        hits += stage.loop.run(stage.collections.find(release_id)).state is ReleaseState.BUILDING
        stage.kill(name)
    assert hits >= len(order) - 1, "the build was over before what it was to be hit by"
    stage.wait_until_ready(release_id)
    assert stage.unsettled(release_id) == 0
    stage.check("r1", release_id)


@pytest.mark.parametrize(("seed", "detector"), [(1, 2), (4, None)])
def test_a_build_whose_parts_are_killed_ends_whole(stage: Stage, seed: int, detector: int | None) -> None:
    build_among_kills(stage, NewRelease(f"killed{seed}", embedder=2, detector=detector), seed)


def test_a_build_on_milvus_standalone_whose_parts_are_killed_ends_whole(
    postgresql_installed: tuple[Path, tuple[str, ...]], tmp_path: Path
) -> None:
    with staged(tmp_path, postgresql_installed, "standalone") as standalone:
        build_among_kills(standalone, NewRelease("killed2", embedder=2), seed=2)


@dataclass
class Searches:
    """What searches for items that nobody changes say, while inside `running`."""

    client: AsyncClient
    seed: int
    releases: list[str] = field(default_factory=list)
    # When each began and ended, by the monotonic clock.
    failures: list[tuple[float, float, SemblanceError]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        choose = random.Random(self.seed)
        while not stop.is_set():
            item = choose.choice(NEW_ITEMS)
            began = time.monotonic()
            try:
                result = await self.client.search(choose.choice(item.images), top_k=1)
            except SemblanceError as error:
                self.failures.append((began, time.monotonic(), error))
                await asyncio.sleep(POLL)
                continue
            if not self.releases or self.releases[-1] != result.release:
                self.releases.append(result.release)
            hits = [hit for found in result.objects for hit in found.hits]
            if any(hit.item_id != item.item_id or hit.similarity < SAME for hit in hits) or len(hits) != 2:
                self.wrong.append(f"{result.release} found {hits} for {item.item_id}")


@dataclass
class Traffic:
    """Writers and a searcher."""

    load: Load
    searches: Searches


@contextmanager
def traffic(stage: Stage, seed: int) -> Iterator[Traffic]:
    """While inside, items are put, replaced, deleted and searched for."""
    stack = AsyncExitStack()

    async def begin() -> Traffic:
        client = await stack.enter_async_context(AsyncClient(stage.service.address, timeout=CALL_TIMEOUT))
        load, searches = Load(client, seed, searchers=0), Searches(client, seed)
        await stack.enter_async_context(load.running())
        stop = asyncio.Event()
        searching = asyncio.create_task(searches.run(stop))

        async def end() -> None:
            stop.set()
            await searching

        stack.push_async_callback(end)
        return Traffic(load, searches)

    under_way = stage.loop.run(begin())
    try:
        yield under_way
    finally:
        stage.loop.run(stack.aclose())


@pytest.mark.parametrize(("seed", "killed_before"), [(6, None), (7, "ready"), (9, "roll back")])
def test_changes_through_a_build_and_a_switch_reach_both_releases(
    stage: Stage, seed: int, killed_before: str | None
) -> None:
    choose = random.Random(seed)
    dead: list[tuple[float, float]] = []

    def go_on(next_step: str) -> None:
        time.sleep(choose.uniform(EARLIEST, LATEST))
        if next_step == killed_before:
            began = time.monotonic()
            stage.kill("orchestrator")
            dead.append((began, time.monotonic() + RECONNECT))

    releases = stage.client.releases
    with traffic(stage, seed) as under_way:
        until(lambda: under_way.load.counts["acknowledged"] > 0)
        release_id = releases.create(NewRelease(f"changed{seed}", embedder=2)).release_id
        go_on("ready")
        stage.wait_until_ready(release_id)
        go_on("switch")
        until(lambda: releases.activate(release_id).active.release_id == release_id)
        go_on("roll back")
        assert releases.roll_back().active.release_id == "r1"
        go_on("the end")
    load, searches = under_way.load, under_way.searches
    known = {item_id: _contents(record.possible) for item_id, record in load.records.items()}
    stage.check("r1", release_id, known=known)
    unexpected = [
        error
        for began, ended, error in searches.failures
        if not isinstance(error, UnavailableError) or not any(began < back and ended > at for at, back in dead)
    ]
    print(f"seed {seed}: {dict(load.counts)}, searches were served by {searches.releases}")
    assert (searches.wrong, load.wrong, unexpected) == ([], [], [])
    assert searches.releases == ["r1", release_id, "r1"]
    failed = load.counts.keys() - {"acknowledged"}
    assert failed <= ({UnavailableError.__name__} if dead else set())


@pytest.mark.parametrize("seed", [12])
def test_an_activation_whose_orchestrator_is_killed_has_happened_or_not(stage: Stage, seed: int) -> None:
    choose = random.Random(seed)
    item, client = NEW_ITEMS[0], stage.client
    active, other = "r1", stage.build(NewRelease(f"switched{seed}", embedder=2))
    with ThreadPoolExecutor(1) as pool:
        for _ in range(4):
            switching = pool.submit(client.releases.activate, other)
            time.sleep(choose.uniform(0.0, LONGEST_SWITCH))
            stage.kill("orchestrator")
            failure = switching.exception(PATIENCE)
            assert failure is None or isinstance(failure, UnavailableError)
            until(lambda: client.releases.status().good)
            now = next(each.release_id for each in client.releases.list() if each.state == "active")
            print(f"{active} to {other}: {now}, {failure}")
            # What was acknowledged has happened.
            assert now == other or failure is not None
            result = client.search(item.images[0], top_k=1)
            assert (result.release, result.objects[0].hits[0].item_id) == (now, item.item_id)
            if now == other:
                active, other = other, active
    stage.check(active, other)


@pytest.mark.parametrize("seed", [11])
def test_parts_that_are_started_in_any_order_serve_again_without_help(stage: Stage, seed: int) -> None:
    choose = random.Random(seed)
    order = list(EVERY_PART)
    choose.shuffle(order)
    print(f"seed {seed}: {order}")
    release_id = stage.build(NewRelease(f"restarted{seed}", embedder=2, detector=2))
    for name in order:
        stage.service.part(name).kill()
    choose.shuffle(order)
    stage.start(order)
    until(lambda: stage.client.releases.status().good)
    assert {each.release_id: each.state for each in stage.client.releases.list() if each.state != "retired"} == {
        "r1": "active",
        release_id: "ready",
    }
    item = NEW_ITEMS[0]
    for active in (release_id, "r1"):
        assert stage.client.releases.activate(active).lagging == ()
        result = stage.client.search(item.images[0], top_k=1)
        assert (result.release, result.objects[0].hits[0].item_id) == (active, item.item_id)
    stage.check("r1", release_id)


def test_a_model_that_was_unloaded_by_hand_comes_back(stage: Stage) -> None:
    stage.build(NewRelease("unloaded", embedder=2))
    with closing(InferenceServerClient(stage.service.triton)) as triton:
        for name, version in (("embedder", "1"), ("embedder_24", "2")):
            assert triton.is_model_ready(name, version)
            triton.unload_model(name)
            until(partial(triton.is_model_ready, name, version))
    until(lambda: stage.client.releases.status().good)
    for active in ("unloaded", "r1"):
        stage.client.releases.activate(active)
        assert stage.client.search(NEW_ITEMS[0].images[0], top_k=1).objects[0].hits[0].item_id == NEW_ITEMS[0].item_id


def test_a_collection_that_was_dropped_by_hand_is_named_and_rebuilt_when_asked(stage: Stage) -> None:
    client = stage.client
    search = partial(client.search, NEW_ITEMS[0].images[0], top_k=1)
    stage.build(NewRelease("whole", embedder=2))
    collection = client.releases.get("r1").collection
    with closing(MilvusClient(stage.service.milvus_uri)) as milvus:
        milvus.drop_collection(collection)

    def is_named() -> bool:
        bad = [each for each in client.releases.status().findings if not each.good]
        return any(each.part == "Milvus" and f"no collection {collection}" in each.has for each in bad)

    until(is_named)
    with pytest.raises(ContractMismatchError, match=collection):
        search()
    done = semblance("rebuild", "--yes", "--metadata-url", stage.service.metadata_url)
    assert done.returncode == 0, done.stderr
    assert client.releases.get("r1").collection != collection
    until(lambda: client.releases.status().good)
    assert search().objects[0].hits[0].item_id == NEW_ITEMS[0].item_id
    stage.check("r1", "whole")
