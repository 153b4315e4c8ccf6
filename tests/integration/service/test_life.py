"""From the bound port to the last answer."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tritonclient.grpc import service_pb2
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from semblance.orchestrator import dependency, keeper
from semblance.orchestrator.address import AddressInUse
from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable
from semblance.orchestrator.testing import Faulty, MemoryMetadataStore, MemoryRegistry
from semblance.v1.manifest_pb2 import Manifest
from semblance.v1.search_pb2 import SearchRequest, SearchStreamResponse
from tests.integration.service.world import PATIENCE, RED_PHOTO, Caller, World, item, reason, until

SEARCHES = ("", "semblance.v1.SearchService", "inference.GRPCInferenceService")
NAMES = (*SEARCHES, "semblance.v1.CatalogService")
NOT_SERVING, SERVING = health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING
GONE = DependencyUnavailable("it does not answer")


async def test_health_tells_when_it_serves(world: World) -> None:
    service = world.service()
    caller = Caller(await service.bind())
    assert await statuses(caller, *NAMES, "traffic") == {NOT_SERVING}
    assert await caller.status("liveness") == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await caller.search(RED_PHOTO)
    assert reason(raised.value)[:2] == (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    await service.activate()
    assert await statuses(caller, *NAMES, "liveness", "traffic") == {SERVING}
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await caller.status("semblance.v1.Nothing")
    assert raised.value.code() is StatusCode.NOT_FOUND

    watches = [caller.health.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", "traffic")]
    for watch in watches:
        assert (await watch.read()).status == SERVING
    async with asyncio.timeout(PATIENCE / 2):
        await service.stop()
    for watch in watches:
        assert (await watch.read()).status == NOT_SERVING
    await caller.channel.close()


async def statuses(caller: Caller, *names: str) -> set[int]:
    return {await caller.status(name) for name in names}


async def becomes(caller: Caller, name: str, status: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while await caller.status(name) != status:
            await asyncio.sleep(0.01)


@pytest.fixture
def probes(no_probes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependency, "PROBE_SECONDS", 0.01)
    monkeypatch.setattr(dependency, "LAST_RETRY", 0.02)


@pytest.mark.parametrize("part", ["models", "index", "metadata"])
async def test_health_follows_what_is_needed(probes: None, start: Callable[..., Any], world: World, part: str) -> None:
    caller = await start()
    kserve = GRPCInferenceServiceStub(caller.channel)
    missing: Faulty = getattr(world, part)
    missing.fail(*[GONE] * 10_000)
    await becomes(caller, "semblance.v1.CatalogService", NOT_SERVING)
    searches = part == "metadata"
    assert await statuses(caller, *SEARCHES) == {SERVING if searches else NOT_SERVING}
    assert (await kserve.ServerReady(service_pb2.ServerReadyRequest())).ready == searches
    assert (await kserve.ModelReady(service_pb2.ModelReadyRequest(name="search"))).ready == searches
    assert await statuses(caller, "liveness", "traffic") == {SERVING}
    if searches:
        assert (await caller.search(RED_PHOTO)).objects
    else:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await caller.search(RED_PHOTO)
        assert reason(raised.value)[:2] == (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    [answer] = await caller.put(item("a", RED_PHOTO))
    assert answer.failure.reason == "DEPENDENCY_UNAVAILABLE"
    missing.mend()
    await becomes(caller, "semblance.v1.CatalogService", SERVING)
    assert await statuses(caller, *NAMES) == {SERVING}
    [answer] = await caller.put(item("a", RED_PHOTO))
    assert answer.WhichOneof("result") == "outcome"


async def test_every_watcher_is_told(caller: Caller, world: World) -> None:
    """Even after others have left."""
    watches = [caller.health.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
    assert [(await watch.read()).status for watch in watches] == [SERVING] * 3
    watches[0].cancel()
    world.models.fail(*[GONE] * dependency.FAILURES * 100)
    for _ in range(dependency.FAILURES):
        with pytest.raises(grpc.aio.AioRpcError):
            await caller.search(RED_PHOTO)
    async with asyncio.timeout(PATIENCE):
        assert [(await watch.read()).status for watch in watches[1:]] == [NOT_SERVING] * 2


async def test_it_says_that_it_goes_before_it_goes(world: World) -> None:
    service = world.service(drain_delay=PATIENCE)
    caller = Caller(await service.bind())
    await service.activate()
    stopping = asyncio.create_task(service.stop())
    await becomes(caller, "", NOT_SERVING)
    assert await statuses(caller, *NAMES, "traffic") == {NOT_SERVING}
    assert await caller.status("liveness") == SERVING
    assert (await caller.search(RED_PHOTO)).objects
    assert not stopping.done()
    stopping.cancel()
    await asyncio.wait({stopping})
    await caller.channel.close()
    await service.stop()


async def test_reflection_names_the_services(caller: Caller) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(caller.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    [answer] = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
    names = {service.name for service in answer.list_services_response.service}
    assert names >= {*NAMES[1:], "grpc.health.v1.Health"}


async def test_stopping_answers_what_was_read_and_ends_the_streams(world: World) -> None:
    service = world.service()
    caller = Caller(await service.bind())
    await service.activate()
    world.models.gate.clear()
    stream = caller.searching.SearchStream()
    await stream.write(SearchRequest(request_id="a", image=RED_PHOTO))
    unary = asyncio.ensure_future(caller.search(RED_PHOTO))
    await until(lambda: world.models.waiting == 2)
    stopping = asyncio.create_task(service.stop())
    answers: list[SearchStreamResponse] = []
    reading = asyncio.create_task(stream.read())
    world.models.gate.set()
    answers.append(await reading)
    assert answers[0].response.request_id == "a"
    assert (await unary).objects
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stream.read()
    assert reason(raised.value)[:2] == (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    async with asyncio.timeout(PATIENCE / 2):
        await stopping
    await caller.channel.close()


async def test_an_address_in_use_is_named(start: Callable[..., Any], world: World) -> None:
    first = world.service()
    port = await first.bind()
    with pytest.raises(AddressInUse, match=f"127.0.0.1:{port}: the address is in use"):
        await world.service(listen=f"127.0.0.1:{port}").bind()
    await first.stop()


async def test_the_first_start_makes_a_release_and_the_next_one_takes_it(
    start: Callable[..., Any], world: World
) -> None:
    caller = await start()
    await caller.put(item("a", RED_PHOTO))
    release = await world.registry.active_release()
    assert release is not None
    assert (release.release_id, release.detector.version, release.embedder.version) == ("r1", 1, 1)
    assert set(world.index.collections) == {release.collection}
    second = await start()
    assert await world.registry.active_release() == release
    assert (await second.search(RED_PHOTO)).objects[0].hits[0].item_id == "a"


def change_model_file(world: World) -> None:
    (world.repository / "embedder" / "1" / "model.onnx").write_bytes(b"something else")


def remove_manifest(world: World) -> None:
    (world.repository / "detector" / "1" / "manifest.json").unlink()


def break_manifest(world: World) -> None:
    (world.repository / "detector" / "1" / "manifest.json").write_text("{")


def publish_other_bytes(world: World) -> None:
    path = world.repository / "embedder" / "1" / "manifest.json"
    manifest = json_format.Parse(path.read_text(), Manifest())
    manifest.model_file.sha256 = "0" * 64
    path.write_text(json_format.MessageToJson(manifest, preserving_proto_field_name=True))


def point_elsewhere(world: World) -> None:
    """The right bytes, in a place that is not the version's."""
    folder = world.repository / "embedder" / "1"
    manifest = json_format.Parse((folder / "manifest.json").read_text(), Manifest())
    (folder / "model.onnx").rename(world.repository / "model.onnx")
    manifest.model_file.name = "../../model.onnx"
    (folder / "manifest.json").write_text(json_format.MessageToJson(manifest, preserving_proto_field_name=True))


def lose_collection(world: World) -> None:
    world.index.collections.clear()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_model_file, r"embedder/1/model.onnx has the SHA-256 .* restore the file"),
        (remove_manifest, r"release r1 needs detector version 1: .*manifest.json is not there.*semblance publish"),
        (break_manifest, r"detector/1/manifest.json is not a manifest"),
        (publish_other_bytes, r"release r1 was made with sha256 .* of embedder version 1.*its manifest says 0000"),
        (point_elsewhere, r"embedder/1/manifest.json names '../../model.onnx', which is not a file beside it"),
        (lose_collection, "there is no collection"),
    ],
)
async def test_what_is_not_as_the_release_says_stops_the_start(
    start: Callable[..., Any], world: World, change: Callable[[World], None], message: str
) -> None:
    caller = await start()
    await caller.put(item("a", RED_PHOTO))
    change(world)
    with pytest.raises(ContractMismatch, match=message):
        await start()


async def test_an_empty_catalogue_gets_its_collection_whatever_came_between(
    start: Callable[..., Any], world: World
) -> None:
    await start()
    lose_collection(world)
    caller = await start()
    await caller.put(item("a", RED_PHOTO))
    assert (await caller.search(RED_PHOTO)).objects[0].hits[0].item_id == "a"


async def test_two_catalogues_in_one_milvus_keep_apart(start: Callable[..., Any], world: World) -> None:
    caller = await start()
    await caller.put(item("a", RED_PHOTO))
    world.metadata = MemoryMetadataStore()
    world.registry = MemoryRegistry(world.metadata)
    other = await start()
    assert not (await other.search(RED_PHOTO)).objects[0].hits


async def test_models_without_a_manifest_stop_the_first_start(start: Callable[..., Any], world: World) -> None:
    remove_manifest(world)
    with pytest.raises(ContractMismatch, match=r"manifest.json is not there.*semblance publish"):
        await start()


async def test_the_start_waits_for_what_is_not_there_yet(world: World) -> None:
    repository = world.repository.rename(world.repository.with_name("elsewhere"))
    service = world.service(startup_wait=PATIENCE)
    caller = Caller(await service.bind())
    starting = asyncio.create_task(service.activate())
    world.metadata.fail(DependencyUnavailable("the database does not answer"))
    assert await caller.status() == health_pb2.HealthCheckResponse.NOT_SERVING
    assert not starting.done()
    repository.rename(world.repository)
    async with asyncio.timeout(PATIENCE):
        await starting
    assert await caller.status() == health_pb2.HealthCheckResponse.SERVING
    await caller.channel.close()
    await service.stop()


async def test_what_is_not_loaded_is_loaded_at_the_start(start: Callable[..., Any], world: World) -> None:
    world.models.published, world.models.models = {*world.models.models}, set()
    caller = await start(startup_wait=PATIENCE)
    await caller.put(item("a", RED_PHOTO))
    assert (await caller.search(RED_PHOTO)).objects[0].hits[0].item_id == "a"


async def test_the_start_does_not_wait_forever(start: Callable[..., Any], world: World) -> None:
    world.models.models = set()
    with pytest.raises(DependencyUnavailable, match="Triton has no version of detector ready"):
        await start(startup_wait=0)


async def test_what_did_not_reach_the_index_is_mended_meanwhile(
    start: Callable[..., Any], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "MEND_SECONDS", 0.01)
    caller = await start()
    world.index.fail(DependencyUnavailable("Milvus does not answer"))
    [answer] = await caller.put(item("a", RED_PHOTO))
    assert answer.failure.reason == "DEPENDENCY_UNAVAILABLE"
    await until(lambda: not any(world.metadata.changed.values()))
    assert (await caller.search(RED_PHOTO)).objects[0].hits[0].item_id == "a"
