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

from semblance.serving import ports

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
    assert f"Triton at {settings['SEMBLANCE_TRITON_URL']} does not answer" in last["message"]


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
    assert any(f"Triton at {settings['SEMBLANCE_TRITON_URL']} does not answer" in message for message in messages)
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
