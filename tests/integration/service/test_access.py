"""Who gets in, found out for every method that reflection names."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from semblance.client import AsyncClient, Client, NewItem, Outcome, SemblanceError
from semblance.client import SearchRequest as ImageSearch
from semblance.client.commands.group import semblance
from semblance.orchestrator import caller as calling
from semblance.orchestrator.grpc_edge.callers import digest, new_token
from semblance.orchestrator.pipeline import Pipeline
from semblance.v1.catalog_pb2 import CountRequest
from semblance.v1.search_pb2 import SearchOptions, SearchRequest
from tests.certificates import Authority
from tests.integration.service.world import PATIENCE, RED_PHOTO, Caller, reason, until

ROLES = ("search", "ingest", "admin")
TOKENS = {role: new_token(role) for role in ROLES}

# What each method takes. A method that is not in here fails the tests: say who may call it.
OPEN = {"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"}
TAKES = {
    "/semblance.v1.SearchService/Search": {"search", "admin"},
    "/semblance.v1.SearchService/SearchStream": {"search", "admin"},
    "/semblance.v1.CatalogService/Put": {"ingest", "admin"},
    "/semblance.v1.CatalogService/Delete": {"ingest", "admin"},
    "/semblance.v1.CatalogService/Get": set(ROLES),
    "/semblance.v1.CatalogService/List": set(ROLES),
    "/semblance.v1.CatalogService/Count": set(ROLES),
    **{f"/semblance.v1.FeedbackService/{name}": {"search", "admin"} for name in ("Give", "List", "Delete")},
    **{f"/semblance.v1.FeedbackService/{name}": {"admin"} for name in ("Report", "Export", "AddReference")},
    **{
        f"/semblance.v1.ReleaseService/{name}": {"admin"}
        for name in (
            *("Plan", "Create", "Get", "List", "Activate", "Rollback", "Canary", "Shadow", "Report", "Retire"),
            *("RecordEvaluation", "Status", "ListPending", "BuildItems"),
        )
    },
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": set(ROLES),
    **{
        f"/inference.GRPCInferenceService/{name}": {"search", "admin"}
        for name in (
            *("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig"),
            *("ModelStatistics", "ModelInfer", "ModelStreamInfer"),
        )
    },
    **{
        f"/inference.GRPCInferenceService/{name}": {"admin"}
        for name in (
            *("RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings"),
            *("SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister"),
            *("CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister"),
        )
    },
}
REFUSED = {StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED}


def bearing(token: str) -> tuple[tuple[str, str]]:
    return (("authorization", f"Bearer {token}"),)


def entry(name: str, *tokens: str, **fields: Any) -> dict[str, Any]:
    hashes = [{"sha256": digest(token).hex(), "created": "2026-01-31"} for token in tokens]
    return {"name": name, "roles": [name], "tokens": hashes, **fields}


def write(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"callers": entries}))
    return path


@pytest.fixture
def callers(tmp_path: Path) -> Path:
    return write(tmp_path / "callers.json", *(entry(role, TOKENS[role]) for role in ROLES))


@pytest.fixture
async def closed(start: Callable[..., Any], callers: Path) -> Caller:
    """A service that asks who calls."""
    made: Caller = await start(callers=str(callers))
    return made


async def methods(caller: Caller) -> set[str]:
    """All that reflection names, as /service/method."""
    stub = reflection_pb2_grpc.ServerReflectionStub(caller.channel)

    async def ask(**question: str) -> Any:
        request = reflection_pb2.ServerReflectionRequest(**question)
        [answer] = [
            each async for each in stub.ServerReflectionInfo(iter([request]), metadata=bearing(TOKENS["admin"]))
        ]
        return answer

    found = set()
    for service in (await ask(list_services="")).list_services_response.service:
        answer = await ask(file_containing_symbol=service.name)
        for serialized in answer.file_descriptor_response.file_descriptor_proto:
            file = FileDescriptorProto.FromString(serialized)
            for described in file.service:
                if f"{file.package}.{described.name}" == service.name:
                    found |= {f"/{service.name}/{method.name}" for method in described.method}
    return found


async def outcome(caller: Caller, method: str, *metadata: tuple[str, str]) -> StatusCode:
    """Of a call with one empty message. That of a stream may end as INTERNAL here, for its number of answers."""
    channel: Any = caller.channel
    if method.endswith("/Watch"):
        watch = channel.unary_stream(method)(b"", metadata=metadata, timeout=PATIENCE)
        assert await watch.read() is not grpc.aio.EOF
        watch.cancel()
        return StatusCode.OK
    # As a stream it could miss the status: grpc.aio takes a message that comes too late for an error of its own.
    call = channel.unary_unary(method)(b"", metadata=metadata, timeout=PATIENCE)
    code: StatusCode = await call.code()
    return code


async def test_every_method_is_in_the_table(closed: Caller) -> None:
    assert await methods(closed) == OPEN | TAKES.keys()


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer "),),
        bearing("hunter2"),
        bearing(new_token("admin")),
        bearing(new_token("nobody")),
        bearing(TOKENS["admin"][:-1]),
        bearing(TOKENS["admin"] + "x"),
        bearing(TOKENS["admin"].replace("admin", "search")),
        bearing(digest(TOKENS["admin"]).hex()),
        (("authorization", f"Basic {TOKENS['admin']}"),),
        (("authorization", TOKENS["admin"]),),
        (("token", TOKENS["admin"]),),
        (("authorization", "Bearer wrong"), ("authorization", f"Bearer {TOKENS['admin']}")),
    ],
)
async def test_who_is_not_known_gets_nowhere(closed: Caller, metadata: tuple[tuple[str, str], ...]) -> None:
    for method in TAKES:
        assert await outcome(closed, method, *metadata) is StatusCode.UNAUTHENTICATED, method


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_opens_its_methods_and_no_others(closed: Caller, role: str) -> None:
    for method, takes in TAKES.items():
        code = await outcome(closed, method, *bearing(TOKENS[role]))
        if role in takes:
            assert code not in REFUSED, method
        else:
            assert code is StatusCode.PERMISSION_DENIED, method


async def test_spaces_and_the_case_of_the_scheme_do_not_matter(closed: Caller) -> None:
    for value in (f" Bearer {TOKENS['search']}", f"bearer {TOKENS['search']} ", f"BEARER {TOKENS['search']}"):
        code = await outcome(closed, "/semblance.v1.CatalogService/Count", ("authorization", value))
        assert code is StatusCode.OK


async def test_health_asks_nobody_who_he_is(closed: Caller) -> None:
    for method in OPEN:
        assert await outcome(closed, method) is StatusCode.OK


async def test_what_there_is_not_is_unimplemented_for_who_is_known(closed: Caller) -> None:
    """Clients try newer protocols first, and fall back."""
    for method in ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/nothing/At"):
        assert await outcome(closed, method, *bearing(TOKENS["search"])) is StatusCode.UNIMPLEMENTED
        assert await outcome(closed, method) is StatusCode.UNAUTHENTICATED


async def test_an_open_service_lets_anybody_in(caller: Caller) -> None:
    assert {await outcome(caller, method) for method in TAKES}.isdisjoint(REFUSED)
    assert {await outcome(caller, method, *bearing("any")) for method in TAKES}.isdisjoint(REFUSED)


async def test_a_refusal_says_why_and_does_not_wait_for_the_request(closed: Caller) -> None:
    for metadata, expected in (
        ((), (StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", None)),
        (bearing(TOKENS["ingest"]), (StatusCode.PERMISSION_DENIED, "FORBIDDEN", None)),
    ):
        call: Any = closed.channel.stream_stream("/semblance.v1.SearchService/Search")(
            metadata=metadata, timeout=PATIENCE
        )
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
        assert reason(raised.value) == expected


async def test_a_changed_file_counts_soon(closed: Caller, callers: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def code(token: str) -> StatusCode:
        return await outcome(closed, "/semblance.v1.CatalogService/Count", *bearing(token))

    async def soon(token: str, expected: StatusCode) -> None:
        async with asyncio.timeout(PATIENCE):
            while await code(token) is not expected:
                await asyncio.sleep(0.05)

    second = new_token("search")
    write(callers, entry("search", TOKENS["search"], second))
    await soon(second, StatusCode.OK)
    assert await code(TOKENS["search"]) is StatusCode.OK
    assert await code(TOKENS["admin"]) is StatusCode.UNAUTHENTICATED
    callers.write_text('{"callers": [')
    await until(lambda: "the callers stay those of before" in caplog.text)
    assert await code(second) is StatusCode.OK
    write(callers, entry("search", second))
    await soon(TOKENS["search"], StatusCode.UNAUTHENTICATED)
    assert await code(second) is StatusCode.OK
    assert not [token for token in (second, *TOKENS.values()) if token.rpartition(".")[2] in caplog.text]


async def test_a_stream_outlives_its_token_by_no_request(closed: Caller, callers: Path) -> None:
    stream = closed.searching.SearchStream(metadata=bearing(TOKENS["search"]), timeout=PATIENCE)
    await stream.write(SearchRequest(request_id="before", image=RED_PHOTO))
    answer: Any = await stream.read()
    assert (answer.request_id, answer.HasField("response")) == ("before", True)
    write(callers, entry("search", new_token("search")))
    async with asyncio.timeout(PATIENCE):
        while await outcome(closed, "/semblance.v1.CatalogService/Count", *bearing(TOKENS["search"])) is StatusCode.OK:
            await asyncio.sleep(0.05)
    await stream.write(SearchRequest(request_id="after", image=RED_PHOTO))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stream.read()
    assert reason(raised.value)[:2] == (StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")


async def named_search(stream: Any) -> tuple[str, str]:
    """Of the next answer, the release and the reason of its failure."""
    await stream.write(SearchRequest(image=RED_PHOTO, options=SearchOptions(release="r1")))
    answer = await stream.read()
    return answer.response.release, answer.failure.reason


async def test_a_release_is_named_by_an_admin_alone(closed: Caller, callers: Path) -> None:
    request = SearchRequest(image=RED_PHOTO, options=SearchOptions(release="r1"))
    answer = await closed.searching.Search(request, metadata=bearing(TOKENS["admin"]), timeout=PATIENCE)
    assert answer.release == "r1"
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await closed.searching.Search(request, metadata=bearing(TOKENS["search"]), timeout=PATIENCE)
    assert reason(raised.value)[:2] == (StatusCode.PERMISSION_DENIED, "FORBIDDEN")
    assert "search may not search a release by its id, which takes the role admin" in (raised.value.details() or "")
    stream = closed.searching.SearchStream(metadata=bearing(TOKENS["admin"]), timeout=PATIENCE)
    assert await named_search(stream) == ("r1", "")
    write(callers, {**entry("admin", TOKENS["admin"]), "roles": ["search"]})
    async with asyncio.timeout(PATIENCE):
        while (outcome := await named_search(stream)) != ("", "FORBIDDEN"):
            assert outcome == ("r1", "")
            await asyncio.sleep(0.05)


@pytest.fixture
def limited(start: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Starts a service with one caller, `admin`, whose rate is given."""

    async def starting(requests_per_second: float, burst: int) -> Caller:
        limits = {"requests_per_second": requests_per_second, "burst": burst}
        file = write(tmp_path / "limited.json", entry("admin", TOKENS["admin"], **limits))
        made: Caller = await start(callers=str(file))
        return made

    return starting


async def test_who_calls_too_often_is_told_when_to_come_again(limited: Callable[..., Any]) -> None:
    caller = await limited(requests_per_second=0.01, burst=2)
    for _ in range(2):
        await caller.catalog.Count(CountRequest(), metadata=bearing(TOKENS["admin"]), timeout=PATIENCE)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await caller.catalog.Count(CountRequest(), metadata=bearing(TOKENS["admin"]), timeout=PATIENCE)
    code, why, delay = reason(raised.value)
    assert (code, why) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert delay is not None
    assert 100 - PATIENCE < delay <= 100
    assert await caller.status() == health_pb2.HealthCheckResponse.SERVING


async def test_a_stream_goes_at_the_pace_of_its_caller(limited: Callable[..., Any]) -> None:
    caller = await limited(requests_per_second=20, burst=1)
    requests = [SearchRequest(request_id=str(number), image=RED_PHOTO) for number in range(5)]
    begin = time.monotonic()
    stream = caller.searching.SearchStream(iter(requests), metadata=bearing(TOKENS["admin"]), timeout=PATIENCE)
    answers = [answer async for answer in stream]
    assert {answer.request_id for answer in answers if answer.HasField("response")} == set("01234")
    # The call itself took the burst.
    assert time.monotonic() - begin >= 5 / 20


async def test_the_rest_of_the_service_knows_who_calls(closed: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    callers: list[str] = []
    search = Pipeline.search

    async def noting(self: Pipeline, *arguments: Any) -> Any:
        callers.append(calling.current.get().name)
        return await search(self, *arguments)

    monkeypatch.setattr(Pipeline, "search", noting)
    for role in ("search", "admin"):
        request = SearchRequest(image=RED_PHOTO)
        await closed.searching.Search(request, metadata=bearing(TOKENS[role]), timeout=PATIENCE)
        stream = closed.searching.SearchStream(iter([request]), metadata=bearing(TOKENS[role]), timeout=PATIENCE)
        assert [answer.HasField("response") async for answer in stream] == [True]
    assert callers == ["search", "search", "admin", "admin"]
    assert calling.current.get() is calling.ANYBODY


async def test_both_clients_show_their_token_with_every_call(closed: Caller, tmp_path: Path) -> None:
    token = TOKENS["admin"]
    async with AsyncClient(closed.address, token=token, timeout=PATIENCE) as client:
        assert await client.put_item(NewItem("red", [RED_PHOTO])) is Outcome.CREATED
        assert (await client.search(RED_PHOTO)).objects[0].hits[0].item_id == "red"
        assert [result async for _, result in client.search_many([ImageSearch(RED_PHOTO)])]
        assert (await client.get("red")).item_id == "red"
        assert [item.item_id async for item in client.list()] == ["red"]
        assert (await client.count()).items == 1
        await client.delete("red")

    def synchronously() -> None:
        with Client(closed.address, token=token, timeout=PATIENCE) as client:
            assert client.put_item(NewItem("red", [RED_PHOTO])) is Outcome.CREATED
            assert client.search(RED_PHOTO).objects[0].hits[0].item_id == "red"
            [(_, result)] = client.search_many([ImageSearch(RED_PHOTO)])
            assert not isinstance(result, SemblanceError)
            assert client.get("red").item_id == "red"
            assert [item.item_id for item in client.list()] == ["red"]
            assert client.count().items == 1
            client.delete("red")

    await asyncio.to_thread(synchronously)


async def test_commands_reach_a_closed_service(
    start: Callable[..., Any], callers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "authority")
    server, mine = authority.issue("server", "127.0.0.1"), authority.issue("me")
    caller = await start(
        callers=str(callers),
        tls_certificate=str(server.certificate),
        tls_key=str(server.key),
        tls_client_ca=str(authority.ca),
    )
    (tmp_path / "token").write_text(TOKENS["search"])
    files = {"ca": authority.ca, "client-certificate": mine.certificate, "client-key": mine.key}
    options = [part for name, file in files.items() for part in (f"--{name}", str(file))]

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(semblance, [*arguments, "--target", caller.address, *options])

    counted = await asyncio.to_thread(run, "count", "--token-file", str(tmp_path / "token"))
    assert (counted.exit_code, counted.output) == (0, "0 items, 0 images, 0 vectors\n")
    monkeypatch.setenv("SEMBLANCE_TOKEN", TOKENS["search"])
    denied = await asyncio.to_thread(run, "delete", "red")
    assert denied.exit_code == 1
    assert "search may not call /semblance.v1.CatalogService/Delete" in denied.output
    monkeypatch.delenv("SEMBLANCE_TOKEN")
    unknown = await asyncio.to_thread(run, "count")
    assert "no caller of this service has the certificate of me; send a token" in unknown.output
