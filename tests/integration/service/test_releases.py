"""Releases are built, switched and retired while the service is used."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from semblance.client import (
    AsyncClient,
    ContractMismatchError,
    Figure,
    InvalidArgumentError,
    NewItem,
    NewRelease,
    NotFoundError,
    Release,
    SemblanceError,
    WrongStateError,
)
from semblance.client.commands.group import semblance
from semblance.orchestrator import bootstrap, follower, keeper, releases, verification
from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.errors import DependencyUnavailable, InvalidImage
from semblance.orchestrator.release import ModelVersion, ReleaseState, Tensor
from semblance.orchestrator.sizing import disk_of_row, memory_of_row, query_nodes
from semblance.orchestrator.testing import example_release
from tests.integration.service.world import (
    BLUE,
    GREEN_PHOTO,
    PATIENCE,
    RED_PHOTO,
    Caller,
    World,
    photo,
    publish,
)

CYAN, YELLOW = (20, 200, 220), (220, 200, 20)
TWO = photo((CYAN, (10, 10, 90, 90)), (YELLOW, (150, 100, 300, 220)))
BLUE_PHOTO = photo((BLUE, (90, 90, 150, 150)))
# By item, what the catalogue holds in most tests.
PHOTOS = {"red": RED_PHOTO, "green": GREEN_PHOTO, "two": TWO}
NEW_EMBEDDER, NEW_DETECTOR = NewRelease(embedder=2), NewRelease(detector=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, seconds in (
        (keeper, "POLL_SECONDS", 0.01),
        (keeper, "RENEW_SECONDS", 0.02),
        (keeper, "LEASE_SECONDS", 0.5),
        (keeper, "MEND_SECONDS", 0.02),
        (keeper, "FIRST_RETRY", 0.02),
        (follower, "FOLLOW_SECONDS", 0.01),
        (bootstrap, "FOLLOW_SECONDS", 0.01),
        (follower, "APPEAR_SECONDS", 0.05),
        (verification, "SECOND_LOOK", 0.01),
    ):
        monkeypatch.setattr(module, name, seconds)


async def next_models(world: World) -> dict[str, ModelVersion]:
    """Publishes beside what r1 is made of, for nobody to load yet: an embedder of another length, a detector."""
    known = example_release()
    made = (
        replace(known.embedder, name="embedder_24", version=2, output=Tensor("embedding", "FP32", (24,))),
        replace(known.detector, version=2),
    )
    for model in made:
        publish(world.repository, model)
    repository = FileModelRepository(str(world.repository))
    published = {role: await repository.describe(role, 2) for role in ("embedder", "detector")}
    world.models.published |= set(published.values())
    return published


@pytest.fixture
async def caller(start: Callable[..., Awaitable[Caller]]) -> Caller:
    return await start(max_deadline=2)


@pytest.fixture
async def models(caller: Caller, world: World) -> dict[str, ModelVersion]:
    return await next_models(world)


@pytest.fixture
async def client(caller: Caller, models: object) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(caller.address) as made:
        for item_id, file in PHOTOS.items():
            await made.put_item(NewItem(item_id, [file]))
        yield made


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.005)


async def ready(client: AsyncClient, new: NewRelease) -> Release:
    release = await client.releases.create(new)

    async def is_ready() -> bool:
        return (await client.releases.get(release.release_id)).state == "ready"

    await until(is_ready)
    return await client.releases.get(release.release_id)


def rows(world: World, collection: str) -> Sequence[tuple[str, str]]:
    return sorted((row.item_id, row.image_id) for row in world.index.collections[collection].rows.values())


async def collection_of(world: World, release_id: str) -> str:
    [found] = [each for each in await world.registry.releases() if each.release_id == release_id]
    return found.release.collection


async def test_a_build_loads_the_models_and_fills_a_collection_of_its_own(client: AsyncClient, world: World) -> None:
    release = await ready(client, NEW_EMBEDDER)
    assert (release.release_id, release.dimension, release.embedder.name) == ("r2", 24, "embedder_24")
    assert release.progress is not None
    assert (release.progress.items, release.progress.unsettled) == (3, 0)
    assert rows(world, release.collection) == rows(world, await collection_of(world, "r1"))
    assert world.index.collections[release.collection].dimension == 24
    assert (await client.search(RED_PHOTO)).release == "r1"


async def test_a_switch_and_a_roll_back_are_followed_at_once(client: AsyncClient) -> None:
    await ready(client, NEW_EMBEDDER)
    switch = await client.releases.activate("r2")
    assert (switch.active.state, switch.replaced, switch.lagging) == ("active", "r1", ())
    found = await client.search(RED_PHOTO, include_embeddings=True)
    assert (found.release, len(found.objects[0].embedding or ()), found.objects[0].hits[0].item_id) == ("r2", 24, "red")
    back = await client.releases.roll_back()
    assert (back.active.release_id, back.replaced, back.seconds < 2) == ("r1", "r2", True)
    assert (await client.search(RED_PHOTO)).release == "r1"
    with pytest.raises(WrongStateError, match="replaced no other"):
        await client.releases.roll_back()


async def test_every_orchestrator_follows(
    client: AsyncClient, start: Callable[..., Awaitable[Caller]], world: World
) -> None:
    async with AsyncClient((await start()).address) as other:
        await ready(other, NEW_EMBEDDER)
        await other.releases.activate("r2")
        assert {(await each.search(RED_PHOTO)).release for each in (client, other)} == {"r2"}


async def test_changes_of_the_catalogue_go_to_every_live_release(client: AsyncClient, world: World) -> None:
    await ready(client, NEW_EMBEDDER)
    await client.put_item(NewItem("blue", [BLUE_PHOTO]))
    await client.put_item(NewItem("red", [GREEN_PHOTO]))
    await client.delete("green")
    await client.releases.activate("r2")
    await client.put_item(NewItem("late", [RED_PHOTO]))
    one, two = await collection_of(world, "r1"), await collection_of(world, "r2")

    async def agree() -> bool:
        return rows(world, one) == rows(world, two)

    await until(agree)
    assert {item_id for item_id, _ in rows(world, two)} == {"blue", "red", "two", "late"}
    assert (await client.search(BLUE_PHOTO)).objects[0].hits[0].item_id == "blue"


async def test_a_detector_alone_may_keep_the_index_where_the_operator_says_so(
    client: AsyncClient, world: World
) -> None:
    kept = await ready(client, NewRelease("r2", detector=2, keep_index=True))
    anew = await ready(client, NewRelease("r3", detector=2))
    assert kept.collection == await collection_of(world, "r1") != anew.collection
    with pytest.raises(InvalidArgumentError, match="keep-index goes with another detector alone"):
        await client.releases.create(NewRelease(embedder=2, keep_index=True))
    await client.releases.activate("r2")
    await client.releases.retire("r1")
    await client.releases.retire("r3")

    async def dropped() -> bool:
        return anew.collection not in world.index.collections

    await until(dropped)
    assert (await client.search(RED_PHOTO)).objects[0].hits[0].item_id == "red"


async def test_what_changes_nothing_or_is_not_published_is_refused(client: AsyncClient) -> None:
    with pytest.raises(InvalidArgumentError, match="name what is to change"):
        await client.releases.create(NewRelease())
    with pytest.raises(SemblanceError, match="9"):
        await client.releases.create(NewRelease(embedder=9))


async def test_a_retired_release_leaves_nothing_behind(
    client: AsyncClient, world: World, models: dict[str, ModelVersion]
) -> None:
    release = await ready(client, NEW_EMBEDDER)
    assert models["embedder"] in world.models.models
    with pytest.raises(WrongStateError, match="r1 is active"):
        await client.releases.retire("r1")
    await client.releases.canary("r2", percent=1)
    with pytest.raises(WrongStateError, match="canary"):
        await client.releases.retire("r2")
    await client.releases.canary("r2")
    await client.releases.retire("r2")

    async def gone() -> bool:
        return release.collection not in world.index.collections and models["embedder"] not in world.models.models

    await until(gone)
    assert len(world.models.models) == 2
    assert (await client.search(RED_PHOTO)).release == "r1"


async def test_a_build_that_cannot_get_on_says_why_and_goes_on_when_it_can(
    client: AsyncClient, world: World, models: dict[str, ModelVersion]
) -> None:
    world.models.published.remove(models["embedder"])
    await client.releases.create(NEW_EMBEDDER)

    async def says_why() -> bool:
        progress = (await client.releases.get("r2")).progress
        return progress is not None and "embedder_24" in progress.problem

    await until(says_why)
    world.models.published.add(models["embedder"])

    async def is_ready() -> bool:
        return (await client.releases.get("r2")).state == "ready"

    await until(is_ready)


async def test_an_item_that_cannot_be_indexed_keeps_a_release_from_being_ready(
    client: AsyncClient, world: World
) -> None:
    [lost] = [image_id for image_id, data in world.images.images.items() if data == GREEN_PHOTO]
    file = world.images.images.pop(lost)
    await client.releases.create(NEW_EMBEDDER)

    async def says_why() -> bool:
        progress = (await client.releases.get("r2")).progress
        return progress is not None and "'green' can't be indexed" in progress.problem

    await until(says_why)
    with pytest.raises(WrongStateError, match="building"):
        await client.releases.activate("r2")
    world.images.images[lost] = file

    async def is_ready() -> bool:
        return (await client.releases.get("r2")).state == "ready"

    await until(is_ready)


async def stays_building(client: AsyncClient, release_id: str = "r2") -> None:
    """For as many looks of the keeper as make it sure."""
    limit = time.monotonic() + 50 * keeper.POLL_SECONDS
    while time.monotonic() < limit:
        assert (await client.releases.get(release_id)).state == "building"
        await asyncio.sleep(0.005)


async def test_a_release_whose_models_are_loaded_already_is_not_ready_before_its_items_are_indexed(
    client: AsyncClient, world: World
) -> None:
    async with held(world):
        release = await client.releases.create(NewRelease(m=8))
        await stays_building(client)
        assert not rows(world, release.collection)

    async def is_ready() -> bool:
        return (await client.releases.get("r2")).state == "ready"

    await until(is_ready)
    assert rows(world, release.collection) == rows(world, await collection_of(world, "r1"))


async def test_a_keeper_that_gets_its_lease_again_makes_nothing_ready_that_is_not(
    client: AsyncClient, world: World, models: dict[str, ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    infer, lease = world.models.infer, world.registry.lease

    async def failing(model: ModelVersion, batch: Any, timeout: float) -> Any:
        if model == models["embedder"]:
            raise DependencyUnavailable("it is broken")
        return await infer(model, batch, timeout)

    async def refused(*_: object) -> bool:
        return False

    async def says_why() -> bool:
        progress = (await client.releases.get("r2")).progress
        return progress is not None and "can't be indexed" in progress.problem

    async def somebody_keeps() -> bool:
        return any(each.keeper for each in await world.registry.present(follower.PRESENT_SECONDS))

    async def nobody_keeps() -> bool:
        return not await somebody_keeps()

    monkeypatch.setattr(world.models, "infer", failing)
    await client.releases.create(NEW_EMBEDDER)
    await until(says_why)
    monkeypatch.setattr(world.registry, "lease", refused)
    await until(nobody_keeps)
    async with held(world):
        monkeypatch.setattr(world.models, "infer", infer)
        monkeypatch.setattr(world.registry, "lease", lease)
        await until(somebody_keeps)
        await stays_building(client)

    async def is_ready() -> bool:
        return (await client.releases.get("r2")).state == "ready"

    await until(is_ready)


async def test_a_ready_release_is_not_activated_without_what_can_not_be_indexed(
    client: AsyncClient, world: World, models: dict[str, ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "SETTLE_SECONDS", 0.2)
    await ready(client, NEW_EMBEDDER)
    infer = world.models.infer

    async def failing(model: ModelVersion, batch: Any, timeout: float) -> Any:
        if model == models["embedder"]:
            raise InvalidImage("it is broken")
        return await infer(model, batch, timeout)

    monkeypatch.setattr(world.models, "infer", failing)
    await client.put_item(NewItem("blue", [BLUE_PHOTO]))
    with pytest.raises(WrongStateError, match="1 items that were changed before are not in its collection"):
        await client.releases.activate("r2")
    monkeypatch.setattr(world.models, "infer", infer)
    monkeypatch.setattr(releases, "SETTLE_SECONDS", PATIENCE)
    assert (await client.releases.activate("r2")).active.release_id == "r2"
    assert (await client.search(BLUE_PHOTO)).objects[0].hits[0].item_id == "blue"


async def test_a_broken_version_of_a_ready_release_keeps_no_other_out(
    client: AsyncClient, world: World, models: dict[str, ModelVersion]
) -> None:
    await ready(client, NEW_DETECTOR)
    world.models.published.remove(models["detector"])
    # Triton restarts.
    world.models.models.clear()

    async def served() -> bool:
        try:
            return (await client.search(RED_PHOTO)).release == "r1"
        except SemblanceError:
            return False

    await until(served)
    world.models.published.add(models["detector"])

    async def back() -> bool:
        return models["detector"] in world.models.models

    await until(back)


async def test_a_load_that_takes_long_holds_up_no_other_release_and_is_said_once(
    client: AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load, loaded = world.models.load, asyncio.Event()

    async def slow(name: str, versions: Any, config: str, timeout: float) -> None:
        if name == "embedder_24":
            await loaded.wait()
        await load(name, versions, config, timeout)

    monkeypatch.setattr(world.models, "load", slow)
    await client.releases.create(NEW_EMBEDDER)

    async def says_why() -> bool:
        progress = (await client.releases.get("r2")).progress
        return progress is not None and "is loading embedder_24" in progress.problem

    await until(says_why)
    await ready(client, NewRelease("r3", detector=2))
    assert (await client.releases.get("r2")).state == "building"
    assert len([each for each in caplog.records if "is loading embedder_24" in each.message]) == 1
    loaded.set()

    async def is_ready() -> bool:
        return (await client.releases.get("r2")).state == "ready"

    await until(is_ready)


async def test_a_version_that_is_being_unloaded_makes_no_release_ready(
    client: AsyncClient, world: World, models: dict[str, ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    await ready(client, NEW_DETECTOR)
    load, unloading, unloaded = world.models.load, asyncio.Event(), asyncio.Event()

    async def slow(name: str, versions: Any, config: str, timeout: float) -> None:
        if name == "detector" and 2 not in versions:
            unloading.set()
            await unloaded.wait()
        await load(name, versions, config, timeout)

    monkeypatch.setattr(world.models, "load", slow)
    await client.releases.retire("r2")
    await unloading.wait()
    await client.releases.create(NewRelease("r3", detector=2, keep_index=True))
    await stays_building(client, "r3")
    unloaded.set()

    async def is_ready() -> bool:
        return (await client.releases.get("r3")).state == "ready"

    await until(is_ready)
    assert models["detector"] in world.models.models


async def test_a_model_that_was_unloaded_by_hand_comes_back(client: AsyncClient, world: World) -> None:
    [embedder] = [model for model in world.models.models if model.name == "embedder"]
    world.models.models.remove(embedder)

    async def back() -> bool:
        return embedder in world.models.models

    await until(back)
    assert (await client.search(RED_PHOTO)).objects


async def test_the_lease_passes_on_when_its_keeper_is_gone(
    start: Callable[..., Awaitable[Caller]], world: World
) -> None:
    """Even if it could not say so."""
    await world.registry.lease(keeper.LEASE, "a killed one", 0.2)
    async with AsyncClient((await start()).address) as client:
        await next_models(world)
        await client.put_item(NewItem("red", [RED_PHOTO]))
        await ready(client, NEW_EMBEDDER)


async def test_a_changed_model_file_refuses_the_requests_of_its_release(
    client: AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(follower, "RECHECK_SECONDS", 0.0)
    path = world.repository / "embedder" / "1" / "model.onnx"
    published = path.read_bytes()
    path.write_bytes(b"something else")

    async def refused() -> bool:
        try:
            await client.search(RED_PHOTO)
        except ContractMismatchError as error:
            return "was published as embedder version 1" in str(error)
        return False

    await until(refused)
    findings = (await client.releases.status()).findings
    assert ("model repository", "embedder version 1", False) in {(each.part, each.what, each.good) for each in findings}
    path.write_bytes(published)

    async def served() -> bool:
        try:
            return (await client.search(RED_PHOTO)).release == "r1"
        except ContractMismatchError:
            return False

    await until(served)


async def test_a_canary_serves_the_callers_that_are_named(client: AsyncClient) -> None:
    await ready(client, NEW_EMBEDDER)
    await client.releases.canary("r2", callers=["ipv4:127.0.0.1"])

    async def served_by(release_id: str) -> bool:
        return (await client.search(RED_PHOTO)).release == release_id

    await until(lambda: served_by("r2"))
    for _ in range(5):
        await client.search(TWO)

    async def figure(name: str) -> float | None:
        return next(each.value for each in (await client.releases.report("r2")).figures if each.name == name)

    async def observed() -> bool:
        return (await figure("compared") or 0) >= 1 and (await figure("requests") or 0) >= 5

    await until(observed)
    assert await figure("overlap@1") == 1.0
    assert await figure("errors") == 0
    # A put is the active release's, whoever calls.
    await client.put_item(NewItem("blue", [BLUE_PHOTO]))
    with pytest.raises(WrongStateError, match="overlap@1 is 1, and > 1 is required"):
        await client.releases.activate("r2", require=["overlap@1>1"])
    with pytest.raises(InvalidArgumentError, match="overlap@10"):
        await client.releases.activate("r2", require=["beauty>1"])
    await client.releases.canary("r2")
    await until(lambda: served_by("r1"))
    assert (await client.releases.activate("r2", require=["overlap@1>=0.9, errors<=0"])).active.release_id == "r2"


async def test_a_release_that_is_ready_is_searched_by_its_id(
    client: AsyncClient, caller: Caller, tmp_path: Path
) -> None:
    await ready(client, NEW_EMBEDDER)
    await client.releases.shadow("r2", percent=100)

    async def requests() -> float | None:
        return next(each.value for each in (await client.releases.report("r2")).figures if each.name == "requests")

    async def served() -> bool:
        try:
            return (await client.search(RED_PHOTO, release="r2")).release == "r2"
        except WrongStateError:
            # The client has seen that it is ready before the orchestrator has.
            return False

    await until(served)
    found = await client.search(TWO, release="r2", include_embeddings=True)
    assert [len(each.embedding or ()) for each in found.objects] == [24, 24]
    assert {each.hits[0].item_id for each in found.objects} == {"two"}
    assert (await client.search(TWO, release="r1")).release == (await client.search(TWO)).release == "r1"
    (tmp_path / "two.png").write_bytes(TWO)
    arguments = ["search", str(tmp_path / "two.png"), "--release", "r2", "--json", "--target", caller.address]
    command = await asyncio.to_thread(CliRunner().invoke, semblance, arguments)
    assert json.loads(command.stdout)["release"] == "r2", command.output

    async def copied() -> bool:
        return (await requests() or 0) >= 1

    # The one search that named none.
    await until(copied)
    assert await requests() == 1
    with pytest.raises(NotFoundError, match="there is no release 'r9'; r1, r2 can be searched"):
        await client.search(RED_PHOTO, release="r9")
    with pytest.raises(InvalidArgumentError, match="'R 2' can't be a release's id"):
        await client.search(RED_PHOTO, release="R 2")
    await client.releases.shadow("r2", percent=0)
    await client.releases.retire("r2")

    async def refused() -> bool:
        try:
            await client.search(RED_PHOTO, release="r2")
        except WrongStateError as error:
            return "release r2 is retired, and only one that is ready or active can be searched" in str(error)
        return False

    await until(refused)


async def test_another_metric_is_another_index(client: AsyncClient, world: World) -> None:
    planned = await client.releases.plan(NewRelease(metric="l2"))
    assert (planned.new_collection, planned.index.metric, planned.embedder.version) == (True, "l2", 1)
    with pytest.raises(InvalidArgumentError, match="keep-index goes with another detector alone"):
        await client.releases.plan(NewRelease(metric="l2", keep_index=True))
    with pytest.raises(InvalidArgumentError, match="and this index already, and is active"):
        await client.releases.plan(NewRelease(metric="cosine"))
    release = await ready(client, NewRelease(metric="l2"))
    assert release.index.metric == "l2"
    assert rows(world, release.collection) == rows(world, await collection_of(world, "r1"))
    await client.releases.shadow("r2", percent=100)

    async def compared() -> bool:
        await client.search(TWO)
        figures = {each.name: each.value for each in (await client.releases.report("r2")).figures}
        # Embeddings have length 1: both find the same. What each calls similar is on another scale.
        return bool(figures["compared"]) and (figures["overlap@1"], figures["score_shift"]) == (1.0, None)

    await until(compared)
    await client.releases.activate("r2")
    by_l2 = await client.search(TWO)
    assert (by_l2.release, by_l2.measure) == ("r2", "l2")
    assert [each.hits[0].item_id for each in by_l2.objects] == ["two", "two"]
    assert by_l2.objects[0].hits[0].similarity == pytest.approx(1, abs=1e-3)
    by_cosine = await client.search(TWO, measure="cosine")
    assert (by_cosine.release, by_cosine.measure) == ("r2", "cosine")
    # |q - x|² is 2 - 2 q·x.
    for one, other in zip(by_l2.objects[0].hits, by_cosine.objects[0].hits, strict=True):
        assert one.item_id == other.item_id
        assert (2 * (1 - one.similarity)) ** 2 == pytest.approx(2 - 2 * other.similarity, abs=1e-4)
    # A release made from now on has the active one's metric.
    assert (await client.releases.plan(NewRelease(ef=64))).index.metric == "l2"


async def test_what_an_evaluation_measured_can_be_required(client: AsyncClient) -> None:
    await ready(client, NEW_EMBEDDER)
    requirement = ["evaluation.recall@1_difference_low>0"]
    with pytest.raises(WrongStateError, match="nothing was recorded of evaluation"):
        await client.releases.activate("r2", require=requirement)
    low = Figure("recall@1_difference_low", -0.01, "least difference of recall@1 at 95 %")
    await client.releases.record_evaluation("r2", [low], against="r1")
    report = await client.releases.report("r2")
    assert report.figures[-1] == Figure("evaluation.recall@1_difference_low", -0.01, low.meaning)
    assert report.evaluation is not None
    assert report.evaluation.against == "r1"
    with pytest.raises(WrongStateError, match="and > 0 is required"):
        await client.releases.activate("r2", require=requirement)
    await client.releases.record_evaluation("r2", [replace(low, value=0.02)], against="r1")
    assert (await client.releases.activate("r2", require=requirement)).active.release_id == "r2"
    # It was better than r1, and r1 is active no more.
    await client.releases.record_evaluation("r1", [replace(low, value=0.02)], against="r1")
    with pytest.raises(WrongStateError, match="was measured against r1, and r2 is active; evaluate again"):
        await client.releases.activate("r1", require=requirement)


async def test_a_shadow_that_fails_is_seen_in_the_report_alone(
    client: AsyncClient, world: World, models: dict[str, ModelVersion]
) -> None:
    await ready(client, NEW_EMBEDDER)
    await client.releases.shadow("r2", percent=100)
    infer = world.models.infer

    async def failing(model: ModelVersion, batch: Any, timeout: float) -> Any:
        if model == models["embedder"]:
            raise DependencyUnavailable("it is broken")
        return await infer(model, batch, timeout)

    world.models.infer = failing  # type: ignore[method-assign]

    async def seen() -> bool:
        assert (await client.search(RED_PHOTO)).release == "r1"
        figures = {each.name: each.value for each in (await client.releases.report("r2")).figures}
        return (figures["errors"] or 0) >= 4

    await until(seen)


async def test_status_names_what_is_not_as_it_should_be(client: AsyncClient, world: World) -> None:
    async def good() -> bool:
        return (await client.releases.status()).good

    await until(good)
    world.index.collections[await collection_of(world, "r1")].rows.popitem()
    status = await client.releases.status()
    assert [(each.part, each.should, each.has) for each in status.findings if not each.good] == [("Milvus", "4", "3")]


async def test_status_names_a_part_that_does_not_answer_before_the_caller_gives_up(
    client: AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(name: str, timeout: float) -> tuple[int, ...]:
        await asyncio.sleep(timeout)
        raise DependencyUnavailable("it does not answer")

    monkeypatch.setattr(releases, "STATUS_TIMEOUT", 0.05)
    monkeypatch.setattr(world.models, "ready_versions", silent)
    async with asyncio.timeout(PATIENCE):
        status = await client.releases.status()
    silent_ones = {(each.what, each.has) for each in status.findings if not each.good}
    assert {(f"versions of {name}", "it does not answer") for name in ("detector", "embedder")} <= silent_ones


async def test_a_plan_does_nothing(client: AsyncClient, world: World) -> None:
    before = set(world.index.collections)
    plan = await client.releases.plan(NEW_EMBEDDER)
    assert (plan.release_id, plan.dimension, plan.new_collection, plan.items, plan.rows) == ("r2", 24, True, 3, 4)
    [active] = [each.release for each in await world.registry.releases()]
    assert plan.active_memory == 4 * memory_of_row(active.dimension, active.index)
    assert plan.new_memory == 4 * memory_of_row(24, active.index)
    assert (plan.new_disk, plan.query_nodes) == (4 * disk_of_row(24), query_nodes(plan.active_memory + plan.new_memory))
    assert plan.seconds is not None
    assert plan.seconds > 0
    assert set(world.index.collections) == before
    assert [each.state for each in await world.registry.releases()] == [ReleaseState.ACTIVE]


@asynccontextmanager
async def held(world: World) -> AsyncIterator[None]:
    world.models.gate.clear()
    try:
        yield
    finally:
        world.models.gate.set()


async def test_a_request_ends_on_the_release_that_it_began_with(client: AsyncClient, world: World) -> None:
    await ready(client, NEW_EMBEDDER)
    async with held(world):
        searching = asyncio.create_task(client.search(RED_PHOTO))

        async def waits() -> bool:
            return world.models.waiting > 0

        await until(waits)
        # Nothing computes now, so nothing can be checked either: it was, when the release got ready.
        await client.releases.activate("r2")
    assert (await searching).release == "r1"
    assert (await client.search(RED_PHOTO)).release == "r2"
