"""What docker-compose.yml promises the orchestrator's container, which is not built here."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from semblance.export import gpu
from semblance.export.command import export
from semblance.orchestrator.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
# By NVIDIA's release notes of its containers.
TENSORRT = {"nvcr.io/nvidia/tritonserver:24.10-py3": "10.4.0"}
HEALTH = "127.0.0.1:50052"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
    return services


@pytest.fixture
def server() -> Iterator[tuple[str, health.HealthServicer]]:
    """The address of a gRPC server, and what says its health."""
    servicer = health.HealthServicer()
    server = grpc.server(ThreadPoolExecutor())
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", servicer
    server.stop(None).wait()


def check(services: dict[str, Any], address: str) -> int:
    """The exit status of the orchestrator's health check, asked of another address."""
    kind, program, *arguments = services["orchestrator"]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    assert HEALTH in arguments[-1]
    return subprocess.run(
        [sys.executable, *(argument.replace(HEALTH, address) for argument in arguments)], stderr=subprocess.DEVNULL
    ).returncode


def test_the_orchestrator_is_healthy_when_it_serves(
    services: dict[str, Any], server: tuple[str, health.HealthServicer]
) -> None:
    address, servicer = server
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert check(services, address) == 1
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    assert check(services, address) == 0


def test_triton_lets_the_orchestrator_load_its_models(services: dict[str, Any]) -> None:
    options = services["triton"]["command"]
    assert "--model-control-mode=explicit" in options
    assert not [option for option in options if option.startswith("--load-model")]


def test_engines_are_built_in_the_container_that_serves_them_on_a_gpu(services: dict[str, Any]) -> None:
    engine = services["engine"]
    assert engine["profiles"] == ["engine"]
    (device,) = engine["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    dockerfile = (ROOT / engine["build"]["dockerfile"]).read_text()
    assert f"\nFROM {services['triton']['image']}\n" in dockerfile
    copied = re.findall(r"^COPY (\S+) ", dockerfile, re.MULTILINE)
    assert copied
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert all((ROOT / path).exists() and f"!{path}" in sent for path in copied)
    program, *arguments = json.loads(dockerfile.partition("\nENTRYPOINT ")[2])
    assert (program, arguments[0]) == ("semblance", "export")
    context = export.make_context("export", [*arguments[1:], "--help"], resilient_parsing=True)
    name, command, rest = export.resolve_command(context, arguments[1:])
    assert name == "engine"
    assert command is not None
    parsed = command.make_context(name, [*rest, str(ROOT)])
    assert parsed.params["repository"] == Path("/models")
    assert [volume.partition(":")[2] for volume in engine["volumes"]] == ["/models"]


def test_triton_keeps_what_tensorrt_builds_where_the_configurations_say(services: dict[str, Any]) -> None:
    for name in ("triton", "tensorrt-cache"):
        assert f"tensorrt:{gpu.CACHE}" in services[name]["volumes"]
    assert services["triton"]["depends_on"] == {"tensorrt-cache": {"condition": "service_completed_successfully"}}
    assert TENSORRT[services["triton"]["image"]] == gpu.TENSORRT
    prepare = services["tensorrt-cache"]
    assert prepare["image"] == services["triton"]["image"]
    assert f"--owner={services['triton']['user']}" in prepare["command"]
    assert prepare["command"][-1] == gpu.CACHE


def test_an_orchestrator_that_is_not_there_is_not_healthy(services: dict[str, Any]) -> None:
    assert check(services, "127.0.0.1:1") == 1


def test_the_service_knows_what_it_is_told(services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own variables, and those that the file asks to be exported on the host."""
    told: dict[str, str] = services["orchestrator"]["environment"]
    for name in {*told, *re.findall(r"\$\{(\w+)", COMPOSE)}:
        monkeypatch.setenv(name, told.get(name, "p@ss/word"))
    settings = Settings.read({})
    assert settings.health_listen == HEALTH
    assert settings.insecure_listen
    assert {f"{PREFIX}{name.upper()}": str(getattr(settings, name)) for name in settings.model_fields_set} == {
        name: value.replace("true", "True") for name, value in told.items() if name.startswith(PREFIX)
    }


def test_the_password_is_nowhere_in_a_url(services: dict[str, Any]) -> None:
    orchestrator, postgresql = (services[name]["environment"] for name in ("orchestrator", "postgresql"))
    assert orchestrator["PGPASSWORD"] == postgresql["POSTGRES_PASSWORD"] == "${POSTGRES_PASSWORD:-semblance}"
    assert "$" not in orchestrator["SEMBLANCE_METADATA_URL"]


def test_who_listens_without_tls_is_published_to_this_host_alone(services: dict[str, Any]) -> None:
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_containers_have_no_rights_that_they_do_not_need(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"]
        if name != "milvus":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    dockerfile = (ROOT / "deploy" / "orchestrator" / "Dockerfile").read_text()
    user = dockerfile.rindex("\nUSER 10001\n")
    assert user > dockerfile.rindex("\nFROM ")
    assert user < dockerfile.index("\nENTRYPOINT ")
    assert {services[name]["user"] for name in ("triton", "postgresql")} == {"triton-server", "postgres"}
