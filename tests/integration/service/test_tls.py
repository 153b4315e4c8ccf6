"""TLS, and callers that are known by their certificates."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from semblance.client import AsyncClient, ForbiddenError, SemblanceError, Tls, UnauthenticatedError, UnavailableError
from semblance.orchestrator.grpc_edge.callers import digest, new_token
from semblance.orchestrator.settings import SettingsError
from semblance.serving import ports
from semblance.v1.search_pb2_grpc import SearchServiceStub
from tests.certificates import Authority, Pair
from tests.integration.service.world import PATIENCE, Caller, World, reason

HOST = ("localhost", "127.0.0.1")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def server(authority: Authority) -> Pair:
    return authority.issue("server", *HOST)


@pytest.fixture
def start_tls(start: Callable[..., Any], server: Pair) -> Callable[..., Any]:
    """Starts a service with the server's certificate, and gives its target."""

    async def starting(**settings: Any) -> str:
        files = {"tls_certificate": str(server.certificate), "tls_key": str(server.key)}
        caller: Caller = await start(**files | {name: str(value) for name, value in settings.items()})
        return caller.address

    return starting


async def count(target: str, tls: Tls | None, token: str | None = None) -> int:
    async with AsyncClient(target, timeout=PATIENCE, tls=tls, token=token) as client:
        return (await client.count()).items


async def test_tls_is_spoken_with_who_knows_the_authority(
    start_tls: Callable[..., Any], authority: Authority, tmp_path: Path
) -> None:
    target = await start_tls()
    assert await count(target, Tls(authority.ca)) == 0
    assert await count(target.replace("127.0.0.1", "localhost"), Tls(authority.ca)) == 0
    for wrong in (None, Tls(), Tls(Authority(tmp_path / "other").ca)):
        with pytest.raises(UnavailableError):
            await count(target, wrong)


async def test_a_certificate_for_another_host_is_not_believed(start: Callable[..., Any], authority: Authority) -> None:
    other = authority.issue("other", "elsewhere.example")
    caller = await start(tls_certificate=str(other.certificate), tls_key=str(other.key))
    with pytest.raises(UnavailableError):
        await count(caller.address, Tls(authority.ca))


async def test_mtls_lets_in_whom_its_authority_signed(
    start_tls: Callable[..., Any], authority: Authority, tmp_path: Path
) -> None:
    clients, stranger = Authority(tmp_path / "clients"), Authority(tmp_path / "stranger")
    target = await start_tls(tls_client_ca=clients.ca)
    known, unknown = clients.issue("known"), stranger.issue("unknown")
    assert await count(target, Tls(authority.ca, known.certificate, known.key)) == 0
    for wrong in (Tls(authority.ca), Tls(authority.ca, unknown.certificate, unknown.key)):
        with pytest.raises(UnavailableError):
            await count(target, wrong)


async def test_a_certificate_names_a_caller(
    start_tls: Callable[..., Any], authority: Authority, tmp_path: Path
) -> None:
    token = new_token("shop")
    callers = [
        {"name": "shop", "roles": ["search"], "tokens": [{"sha256": digest(token).hex(), "created": "2026-01-31"}]},
        {"name": "import", "roles": ["ingest"], "certificates": ["spiffe://example/import", "importer"]},
    ]
    (tmp_path / "callers.json").write_text(json.dumps({"callers": callers}))
    target = await start_tls(tls_client_ca=authority.ca, callers=tmp_path / "callers.json")

    def shown(pair: Pair) -> Tls:
        return Tls(authority.ca, pair.certificate, pair.key)

    uri = shown(authority.issue("a", "spiffe://example/import"))
    common_name = shown(authority.issue("importer"))
    other = shown(authority.issue("importer", "spiffe://example/other", file="b"))
    for tls in (uri, common_name):
        assert await count(target, tls) == 0
        async with AsyncClient(target, timeout=PATIENCE, tls=tls) as client:
            with pytest.raises(
                ForbiddenError, match=r"import may not call .*Search, which takes the role admin or search"
            ):
                await client.search(b"x")
    # A token, where there is one, says who calls; and lets in nobody else.
    for _ in range(2):
        with pytest.raises(UnauthenticatedError, match=r"no caller .* has the certificate of spiffe://example/other"):
            await count(target, other)
        assert await count(target, other, token) == 0
    with pytest.raises(UnauthenticatedError, match="not one of this service"):
        await count(target, uri, new_token("shop"))
    # Streams and reflection, which answer otherwise, are judged in the same way.
    async with grpc.aio.secure_channel(target, uri.credentials()) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        [answer] = [each async for each in stub.ServerReflectionInfo(iter([request]), timeout=PATIENCE)]
        assert answer.list_services_response.service
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await SearchServiceStub(channel).SearchStream(timeout=PATIENCE).read()
        assert reason(raised.value)[1] == "FORBIDDEN"


async def test_new_certificates_count_from_the_next_connection_on(
    start_tls: Callable[..., Any], authority: Authority, server: Pair, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = await start_tls()
    renewed = Authority(tmp_path / "renewed")
    pair = renewed.issue("server", *HOST)
    async with AsyncClient(target, timeout=PATIENCE, tls=Tls(authority.ca)) as connected:
        await connected.count()
        replace(server.certificate, pair.certificate)
        # Only half of the two is there: what fits together stays.
        assert await count(target, Tls(authority.ca)) == 0
        assert "the certificates stay those of before" in caplog.text
        replace(server.key, pair.key)
        assert await count(target, Tls(renewed.ca)) == 0
        with pytest.raises(UnavailableError):
            await count(target, Tls(authority.ca))
        await connected.count()


def replace(old: Path, new: Path) -> None:
    """As a certificate's renewal does, and certainly later."""
    later = old.stat().st_mtime_ns + 10**9
    os.utime(new, ns=(later, later))
    new.replace(old)


async def test_probes_need_no_certificate_on_a_port_of_their_own(
    start_tls: Callable[..., Any], authority: Authority
) -> None:
    probed = f"127.0.0.1:{ports.free(1)[0]}"
    await start_tls(tls_client_ca=authority.ca, health_listen=probed)
    async with grpc.aio.insecure_channel(probed) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(SemblanceError, match="Method not found"):
        await count(probed, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pair, other: {"tls_key": str(other.key)}, "are not a certificate chain and its unencrypted key"),
        (lambda pair, other: {"tls_key": str(pair.certificate)}, "are not a certificate chain and its unencrypted key"),
        (lambda pair, other: {"tls_key": "missing.pem"}, "No such file"),
        (lambda pair, other: {"tls_client_ca": str(pair.key)}, "holds no certificates"),
    ],
)
async def test_files_that_do_not_fit_stop_the_start(
    world: World, authority: Authority, server: Pair, change: Callable[[Pair, Pair], dict[str, str]], message: str
) -> None:
    files = {"tls_certificate": str(server.certificate), "tls_key": str(server.key)}
    with pytest.raises(SettingsError, match=message):
        world.service(**files | change(server, authority.issue("other")))
