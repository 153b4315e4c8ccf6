"""`semblance serve` as a process: how it starts, refuses to, and stops."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from semblance.orchestrator.grpc_edge.callers import digest
from semblance.serving import ports
from tests.certificates import Authority

SEMBLANCE = Path(sys.executable).with_name("semblance")
# Seconds within which a process starts or ends.
PATIENCE = 60


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Of a service none of whose dependencies is there."""
    listen, triton, milvus = ports.free(3)
    return {
        "SEMBLANCE_LISTEN": f"127.0.0.1:{listen}",
        "SEMBLANCE_TRITON_URL": f"127.0.0.1:{triton}",
        "SEMBLANCE_MILVUS_URI": f"http://127.0.0.1:{milvus}",
        "SEMBLANCE_METADATA_URL": f"sqlite:///{tmp_path}/metadata.db",
        "SEMBLANCE_IMAGE_STORE": f"file://{tmp_path}/images",
        "SEMBLANCE_MODEL_REPOSITORY": str(tmp_path / "models"),
    }


@contextmanager
def serving(settings: dict[str, str], *flags: str) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEMBLANCE_")}
    with subprocess.Popen(
        [SEMBLANCE, "serve", *flags], env=environment | settings, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Its exit status and the lines that it wrote."""
    _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors.splitlines()


def last_record(lines: list[str]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(lines[-1])
    return record


def test_a_wrong_setting_stops_the_start(settings: dict[str, str]) -> None:
    with serving(settings | {"SEMBLANCE_MAX_IMAGE_BYTES": "16M"}) as process:
        status, lines = ended(process)
    assert status == 2
    assert "SEMBLANCE_MAX_IMAGE_BYTES is '16M'" in lines[-1]


def test_what_does_not_come_within_the_wait_is_named(settings: dict[str, str]) -> None:
    with serving(settings, "--startup-wait", "0") as process:
        status, lines = ended(process)
    assert status == 1
    last = last_record(lines)
    assert last["level"] == "CRITICAL"
    assert "has no detector; publish one" in last["message"]


def test_a_busy_port_is_named(settings: dict[str, str]) -> None:
    server = grpc.server(None)  # type: ignore[arg-type]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with serving(settings | {"SEMBLANCE_LISTEN": f"127.0.0.1:{port}"}) as process:
            status, lines = ended(process)
    finally:
        server.stop(None)
    assert status == 1
    assert f"can't listen on 127.0.0.1:{port}" in last_record(lines)["message"]


def test_a_worker_that_finds_something_wrong_ends_the_service(settings: dict[str, str]) -> None:
    with serving(settings, "--workers", "2", "--startup-wait", "0") as process:
        status, lines = ended(process)
    assert status == 1
    messages = [json.loads(line)["message"] for line in lines]
    assert any("has no detector; publish one" in message for message in messages)
    assert any("ended with status 1; stopping the others" in message for message in messages)


def test_workers_share_their_port_with_nobody_else(settings: dict[str, str]) -> None:
    with serving(settings, "--workers", "2") as first:
        assert first.stderr is not None
        assert "2 workers on 127.0.0.1" in first.stderr.readline()
        for workers in ("1", "2"):
            with serving(settings, "--workers", workers) as second:
                status, lines = ended(second)
            assert status == 1
            assert "can't listen on 127.0.0.1" in last_record(lines)["message"]
        first.terminate()
        assert ended(first)[0] == 0


def test_workers_end_with_a_killed_parent(settings: dict[str, str]) -> None:
    with serving(settings, "--workers", "2") as process:
        assert process.stderr is not None
        assert "2 workers on 127.0.0.1" in process.stderr.readline()
        workers = psutil.Process(process.pid).children()
        process.kill()
        _, alive = psutil.wait_procs(workers, PATIENCE)
    assert (len(workers), alive) == (2, [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_that_it_does_not_serve_yet_and_stops_when_told(settings: dict[str, str], number: int) -> None:
    with serving(settings) as process, grpc.insecure_channel(settings["SEMBLANCE_LISTEN"]) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        process.send_signal(number)
        status, lines = ended(process)
    assert status == 0
    assert last_record(lines)["message"] == "stopping"


def test_no_secret_reaches_the_log(settings: dict[str, str], tmp_path: Path) -> None:
    token, wrong = (f"semblance.{name}.hunter2" for name in ("shop", "nobody"))
    hashed = {"sha256": digest(token).hex(), "created": "2026-01-31"}
    callers = {"callers": [{"name": "shop", "roles": ["search"], "tokens": [hashed]}]}
    (tmp_path / "callers.json").write_text(json.dumps(callers))
    pair = Authority(tmp_path / "authority").issue("127.0.0.1", "127.0.0.1")
    secret = settings | {
        "SEMBLANCE_LOG_LEVEL": "DEBUG",
        "SEMBLANCE_METADATA_URL": "postgresql+psycopg://semblance:hunter2@127.0.0.1:1/database",
        "SEMBLANCE_MILVUS_TOKEN": "root:hunter2",
        "SEMBLANCE_CALLERS": str(tmp_path / "callers.json"),
        "SEMBLANCE_TLS_CERTIFICATE": str(pair.certificate),
        "SEMBLANCE_TLS_KEY": str(pair.key),
    }
    trusted = grpc.ssl_channel_credentials(pair.certificate.read_bytes())
    with serving(secret) as process, grpc.secure_channel(settings["SEMBLANCE_LISTEN"], trusted) as channel:
        count: Any = channel.unary_unary("/semblance.v1.CatalogService/Count")
        for shown, expected in ((token, "UNAVAILABLE"), (wrong, "UNAUTHENTICATED")):
            metadata = (("authorization", f"Bearer {shown}"),)
            with pytest.raises(grpc.RpcError) as raised:
                count(b"", metadata=metadata, wait_for_ready=True, timeout=PATIENCE)
            assert expected in str(raised.value)
            assert "hunter2" not in str(raised.value)
        process.terminate()
        status, lines = ended(process)
    assert status == 0
    with serving(secret | {"SEMBLANCE_STARTUP_WAIT": "0"}) as process:
        status, more = ended(process)
    assert status == 1
    assert "the metadata store" in more[-1]
    assert not [line for line in (*lines, *more) if "hunter2" in line or "PRIVATE" in line]


def test_other_hosts_are_not_listened_to_without_a_word(settings: dict[str, str]) -> None:
    with serving(settings | {"SEMBLANCE_LISTEN": "0.0.0.0:0"}) as process:
        status, lines = ended(process)
    assert status == 2
    assert "SEMBLANCE_LISTEN is '0.0.0.0:0', which other hosts reach" in lines[-1]
    with serving(settings | {"SEMBLANCE_LISTEN": "0.0.0.0:0"}, "--insecure-listen") as process:
        assert process.stderr is not None
        assert "listening on port" in process.stderr.readline()


def test_a_thread_that_hangs_does_not_keep_the_process() -> None:
    script = """
import asyncio, time
from semblance.orchestrator import process

async def run(settings, worker):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)

process.run = run
process.serve(None)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=PATIENCE, check=False).returncode == 0
