"""`semblance up`, `down` and `status` as processes, with real parts and tiny models."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from semblance.serving import milvus, ports, state, triton
from semblance.serving.plan import Plan
from tests.certificates import Authority

SEMBLANCE = Path(sys.prefix, "bin", "semblance")
UP_SECONDS = 150


def wait_until(condition: Callable[[], bool], limit: float = 30) -> None:
    until = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < until, "not within the limit"
        time.sleep(0.05)


@dataclass(frozen=True)
class Host:
    """A data folder and ports of its own."""

    data: Path
    repository: Path
    ports: list[int]
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def options(self) -> list[str | Path]:
        names = ("--milvus-port", "--triton-http-port", "--triton-grpc-port", "--triton-metrics-port")
        numbers = [part for pair in zip(names, map(str, self.ports[1:]), strict=True) for part in pair]
        listen = f"{ports.LOOPBACK}:{self.ports[0]}"
        return ["--data", self.data, "--repository", self.repository, "--listen", listen, *numbers]

    def semblance(self, *arguments: str | Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [SEMBLANCE, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=UP_SECONDS,
            env=os.environ | {"COLUMNS": "200"} | self.variables,
        )
        assert not check or done.returncode == 0, done.stdout
        return done

    def up(self, *options: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return self.semblance("up", *self.options, *options, check=check)

    def down(self) -> str:
        return self.semblance("down", "--data", self.data).stdout

    def status(self) -> tuple[int, list[dict[str, Any]]]:
        done = self.semblance("status", "--data", self.data, "--json", check=False)
        return done.returncode, json.loads(done.stdout)

    def run(self) -> state.Run:
        run = state.read(self.data)
        assert run is not None
        return run

    def processes(self) -> list[psutil.Process]:
        """The launcher and all below it."""
        launcher = psutil.Process(self.run().launcher.pid)
        return [launcher, *launcher.children(recursive=True)]


@pytest.fixture
def host(tmp_path: Path, tiny_repository: Path) -> Iterator[Host]:
    made = Host(tmp_path / "data of the stack", tiny_repository, ports.free(5))
    yield made
    made.down()


def shared_memory(prefix: str) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{prefix}*"))


def test_up_status_down(host: Host, tmp_path: Path) -> None:
    """With a door that is closed to strangers, and to whoever asks how it is."""
    authority = Authority(tmp_path / "authority")
    server = authority.issue("elsewhere.example")
    host.variables["SEMBLANCE_TLS_CERTIFICATE"] = str(server.certificate)
    host.variables["SEMBLANCE_TLS_KEY"] = str(server.key)
    host.variables["SEMBLANCE_TLS_CLIENT_CA"] = str(authority.ca)
    output = host.up().stdout
    for step in ("Milvus (lite)", "Triton", "orchestrator, which loads its models into Triton"):
        assert step in output
    code, parts = host.status()
    assert code == 0
    assert [part["name"] for part in parts] == ["Milvus", "Triton", "orchestrator"]
    for part in parts:
        assert part["ready"]
        assert psutil.pid_exists(part["pid"])

    again = host.up()
    assert "already up" in again.stdout
    other = host.up("--milvus", "http://127.0.0.1:1", check=False)
    assert other.returncode == 1
    assert "other settings" in other.stdout

    processes, prefix = host.processes(), host.run().shared_memory_prefix
    assert shared_memory(prefix)
    assert host.down().strip() == "stopped"
    assert not [process for process in processes if process.is_running()]
    assert not shared_memory(prefix)
    assert not (host.data / state.RUN_FILE).exists()
    assert host.down().strip() == "not running"
    assert host.status() == (1, [])


def test_status_names_the_part_that_died(host: Host) -> None:
    host.up()
    part = host.run().part("Triton")
    assert part is not None
    os.kill(part.itself.pid, signal.SIGKILL)
    wait_until(lambda: part.guard.process() is None)
    code, parts = host.status()
    assert code == 1
    assert {part["name"]: part["pid"] is None for part in parts} == {
        "Milvus": False,
        "Triton": True,
        "orchestrator": False,
    }
    again = host.up(check=False)
    assert again.returncode == 1
    assert "not all of it is ready" in again.stdout


def test_parts_end_with_a_launcher_that_is_killed_and_up_cleans_up(host: Host) -> None:
    host.up()
    processes, prefix = host.processes(), host.run().shared_memory_prefix
    processes[0].kill()
    assert "cleaning up after a launcher that was killed" in host.up().stdout
    assert not [process for process in processes if process.is_running()]
    assert not shared_memory(prefix)
    assert host.status()[0] == 0


def test_down_cleans_up_after_launcher_and_guards_were_killed(host: Host) -> None:
    host.up()
    processes, prefix = host.processes(), host.run().shared_memory_prefix
    for process in (processes[0], *processes[0].children()):
        process.kill()
    assert host.down().strip() == "stopped"
    wait_until(lambda: not [process for process in processes if process.is_running()])
    assert not shared_memory(prefix)


def test_a_process_that_took_a_recorded_pid_is_left_alone(host: Host) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        ours = state.Identity.of(stranger.pid)
        reused = state.Identity(ours.pid, ours.started - 1, ours.boot)
        host.data.mkdir()
        plan = Plan(str(host.repository), str(host.data), "lite", "127.0.0.1:1", 2, triton.Ports(3, 4, 5))
        state.write(state.Run(plan, reused, "semblance_nothing_", (state.Part("Triton", reused, reused, "", ""),)))
        assert host.down().strip() == "stopped"
        assert stranger.poll() is None
        stranger.terminate()


def test_a_busy_port_is_named_with_its_holder(host: Host) -> None:
    with socket.create_server((ports.LOOPBACK, host.ports[2])):
        done = host.up(check=False)
    assert done.returncode == 1
    assert f"Triton http: port {host.ports[2]} is taken by" in done.stdout
    assert f"(pid {os.getpid()})" in done.stdout


def test_a_part_that_does_not_start_shows_its_log_and_stops_the_others(host: Host, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    for model in ("detector", "embedder"):
        (broken / model / "1").mkdir(parents=True)
        (broken / model / "config.pbtxt").write_bytes((host.repository / model / "config.pbtxt").read_bytes())
    done = host.up("--repository", str(broken), check=False)
    assert done.returncode == 1
    assert "manifest.json is not there" in done.stdout
    assert str(host.data / "logs" / "orchestrator.log") in done.stdout.replace("\n", "")
    assert all(map(ports.is_free, host.ports))
    assert host.status() == (1, [])


def test_a_milvus_that_runs_already_is_used_and_left_running(host: Host, tmp_path: Path) -> None:
    with milvus.lite(tmp_path / "milvus") as vectors:
        host.up("--milvus", vectors.uri)
        code, parts = host.status()
        assert code == 0
        assert (parts[0]["endpoint"], parts[0]["pid"]) == (vectors.uri, None)
        assert ports.is_free(host.ports[1]), "a second Milvus was started"
        host.down()
        assert milvus.is_ready(vectors.uri)
    gone = host.up("--milvus", vectors.uri, check=False)
    assert gone.returncode == 1
    assert f"no healthy Milvus answers at {vectors.uri}" in gone.stdout


def test_up_without_models_says_what_to_do(host: Host, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = host.up("--repository", str(tmp_path / "empty"), check=False)
    assert done.returncode == 1
    assert "no version of detector and embedder; publish one first" in done.stdout


@pytest.mark.parametrize("uri", ["http://127.0.0.1:abc", "http://127.0.0.1:99999", "http://:19530", "http://[::1", "x"])
def test_a_milvus_that_is_no_uri_is_refused(host: Host, uri: str) -> None:
    done = host.up("--milvus", uri, check=False)
    assert done.returncode == 2
    assert f"{uri!r} is neither lite nor standalone nor http://host:port" in done.stdout


def test_a_host_that_is_not_this_one_is_told(host: Host) -> None:
    done = host.up("--listen", "192.0.2.1:50051", check=False)
    assert done.returncode == 1
    assert "orchestrator: can't listen on 192.0.2.1, port 50051: Cannot assign requested address" in done.stdout


def test_other_hosts_are_not_listened_to_without_a_word(host: Host) -> None:
    listen = f"0.0.0.0:{host.ports[0]}"
    done = host.up("--listen", listen, check=False)
    assert done.returncode == 1
    assert f"SEMBLANCE_LISTEN is '{listen}', which other hosts reach: set SEMBLANCE_TLS_CERTIFICATE" in done.stdout
    assert host.status() == (1, [])
    (host.data / state.LOCK_FILE).mkdir(parents=True)
    assert "unexpected IsADirectoryError" in host.up("--listen", listen, "--insecure-listen", check=False).stdout


def test_a_password_in_an_address_is_refused_and_not_shown(host: Host) -> None:
    done = host.up("--milvus", "http://root:hunter2@127.0.0.1:19530", check=False)
    assert done.returncode == 2
    assert "set SEMBLANCE_MILVUS_TOKEN=user:password instead" in done.stdout
    assert "hunter2" not in done.stdout


def test_a_launcher_that_fails_says_why_and_where_its_log_is(host: Host) -> None:
    (host.data / state.LOCK_FILE).mkdir(parents=True)
    done = host.up(check=False)
    assert done.returncode == 1
    log = host.data / "logs" / "launcher.log"
    assert "unexpected IsADirectoryError" in done.stdout
    assert f"log: {log}" in done.stdout
    assert "Traceback" in log.read_text()
    assert host.status() == (1, [])


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGKILL])
def test_what_ends_up_ends_what_it_started(host: Host, way: signal.Signals) -> None:
    with subprocess.Popen([SEMBLANCE, "up", *host.options], stdout=subprocess.DEVNULL) as command:
        wait_until(lambda: (run := state.read(host.data)) is not None and run.part("Milvus") is not None)
        processes = host.processes()
        command.send_signal(way)
        assert command.wait(60) != 0
    wait_until(lambda: not [process for process in processes if process.is_running()])
    wait_until(lambda: all(map(ports.is_free, host.ports)))
    assert host.down().strip() == "not running"
