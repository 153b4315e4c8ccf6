"""docker-compose.yml: that a slip in it is caught, and that what it has containers run does what it should.

The containers are not built or started here.
"""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import grpc
import pytest
import yaml
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from deploy import credentials
from semblance.export import gpu
from semblance.export.command import export
from semblance.serving.triton import trace_options
from tests import compose

TEXT = compose.FILE.read_text()
HEALTH = "127.0.0.1:50052"
# By NVIDIA's release notes of its containers.
TENSORRT = {"nvcr.io/nvidia/tritonserver:24.10-py3": "10.4.0"}
TOOLS = Path(sys.executable).parent.parent / "packages" / "bin"

Document = dict[str, Any]


@pytest.fixture
def document() -> Document:
    """Where an anchor stands in two places, each has a copy of its own."""
    found: Document = json.loads(json.dumps(compose.read(TEXT)))
    return found


@pytest.fixture
def services(document: Document) -> Document:
    found: Document = document["services"]
    return found


def slip(service: str, *keys: str | int, to: object) -> Callable[[Document], None]:
    """Something else in the place of what a service has at `keys`."""

    def make(document: Document) -> None:
        place = document["services"][service]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to

    return make


def without(*keys: str | int) -> Callable[[Document], None]:
    def make(document: Document) -> None:
        place = document
        for key in keys[:-1]:
            place = place[key]  # type: ignore[index]
        del place[keys[-1]]  # type: ignore[arg-type]

    return make


def test_the_file_agrees_with_itself_and_with_the_code(document: Document) -> None:
    assert list(compose.problems(document)) == []
    assert list(compose.undocumented(TEXT)) == []


ENVIRONMENT = ("orchestrator", "environment")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        # Settings
        (slip(*ENVIRONMENT, "SEMBLANCE_TRANSPROT", to="bytes"), "orchestrator: SEMBLANCE_TRANSPROT: Extra inputs"),
        (slip(*ENVIRONMENT, "SEMBLANCE_TRANSPORT", to="memory"), "orchestrator: SEMBLANCE_TRANSPORT: Input should be"),
        (
            slip(*ENVIRONMENT, "SEMBLANCE_INSECURE_LISTEN", to="false"),
            "orchestrator: SEMBLANCE_LISTEN is '0.0.0.0:50051'",
        ),
        (without("services", *ENVIRONMENT, "SEMBLANCE_INSECURE_LISTEN"), "which other hosts reach"),
        (
            slip("orchestrator", "stop_grace_period", to="10s"),
            "orchestrator: it is killed 10 s after it is told to stop",
        ),
        # Ports and hosts
        (
            slip(*ENVIRONMENT, "SEMBLANCE_LISTEN", to="0.0.0.0:50053"),
            "SEMBLANCE_LISTEN is 0.0.0.0:50053.*usual port is 50051",
        ),
        (slip(*ENVIRONMENT, "SEMBLANCE_TRITON_URL", to="triton:8000"), "SEMBLANCE_TRITON_URL is triton:8000.*8001"),
        (
            slip(*ENVIRONMENT, "SEMBLANCE_MILVUS_URI", to="http://milvus:19531"),
            "port 19531, on which milvus does not listen",
        ),
        (slip(*ENVIRONMENT, "SEMBLANCE_MILVUS_URI", to="http://mivlus:19530"), "names mivlus, which is no service"),
        (
            slip(*ENVIRONMENT, "SEMBLANCE_HEALTH_LISTEN", to="127.0.0.1:50054"),
            "port 50052, on which orchestrator does not",
        ),
        (slip("milvus", "environment", "MINIO_ADDRESS", to="minio:9001"), "milvus: 'minio:9001' names port 9001"),
        (
            slip("perf-analyzer", "command", 6, to="orchestrator:8001"),
            "port 8001, on which orchestrator does not listen",
        ),
        (
            slip("milvus", "healthcheck", "test", 3, to="http://127.0.0.1:9092/healthz"),
            "port 9092, on which milvus does not",
        ),
        (slip("bucket", "environment", "AWS_ENDPOINT_URL", to="http://s3:9000"), "names s3, which is no service"),
        (slip("postgresql", "ports", to=["127.0.0.1:5432:5432"]), "postgresql: publishes 127.0.0.1:5432:5432; only"),
        (slip("orchestrator", "ports", 0, to="50051:50051"), "publishes 50051:50051 beyond this host"),
        (slip("orchestrator", "ports", 0, to="127.0.0.1:50051:50050"), "does not listen on 50050"),
        (
            slip(*ENVIRONMENT, "SEMBLANCE_METRICS_LISTEN", to="0.0.0.0:9465"),
            "port 9464, on which orchestrator does not",
        ),
        (slip(*ENVIRONMENT, "SEMBLANCE_OTLP_ENDPOINT", to="http://jaeger:4318"), "port 4318, on which jaeger does not"),
        (
            slip(*ENVIRONMENT, "SEMBLANCE_OTLP_ENDPOINT", to="otel-collector:4317"),
            "SEMBLANCE_OTLP_ENDPOINT: String should",
        ),
        (slip("grafana", "ports", to=["127.0.0.1:3000:3000"]), "grafana: publishes 127.0.0.1:3000:3000; only"),
        (without("services", "jaeger"), "otel-collector: .*names jaeger, which is no service"),
        # Health and order
        (
            slip("postgresql", "healthcheck", "test", 1, to="pg_ready"),
            r"postgresql: its health is asked with CMD pg_ready",
        ),
        (without("services", "etcd", "healthcheck"), "etcd: its health is asked with NONE"),
        (
            slip("orchestrator", "depends_on", "milvsu", to={"condition": "service_healthy"}),
            "milvsu, which is no service",
        ),
        (slip("orchestrator", "depends_on", "milvus", to={"condition": "service_started"}), "expected service_healthy"),
        (
            slip("orchestrator", "depends_on", "bucket", to={"condition": "service_healthy"}),
            "service_completed_successfully",
        ),
        (
            slip("orchestrator", "depends_on", "triton", "required", to=True),
            r"requires triton, .* profiles \['gpu'\] alone",
        ),
        (without("services", "orchestrator", "depends_on", "publisher"), "publisher: ends, and nothing waits for it"),
        (
            slip("grafana", "depends_on", "otel-collector", to={"condition": "service_healthy"}),
            "whose health nobody asks for",
        ),
        # Images
        (slip("minio", "image", to="minio/minio:latest"), "minio: image minio/minio:latest is not pinned"),
        (slip("milvus", "image", to="milvusdb/milvus"), "milvus: image milvusdb/milvus is not pinned"),
        (slip("orchestrator", "image", to="semblance-orchestrator:0.0.9"), "is not of this version"),
        (slip("publisher", "build", "target", to="publish"), "the Dockerfile has no target publish"),
        (without("services", "scenes", "build"), "scenes: image semblance-orchestrator:.* is in no registry"),
        # Mounts
        (slip("publisher", "volumes", 1, to="./demo/weight:/exports:ro"), "mounts ./demo/weight, which is not there"),
        (slip("publisher", "volumes", 1, to="./demo/weights:/exports"), "may write into ./demo/weights"),
        (slip("etcd", "volumes", 0, to="ectd:/etcd"), "etcd: mounts the volume ectd, which is not declared"),
        (without("services", "minio", "volumes"), "volume minio is used by none"),
        (slip("triton", "volumes", 1, to="etcd:/models:ro"), "triton: mounts /models twice"),
        (
            slip("triton-cpu", "volumes", 0, to="models:/model:ro"),
            "triton-cpu: the model repository /models is not mounted",
        ),
        (
            slip("publisher", "volumes", 0, to="models:/models:ro"),
            r"publisher: the model repository /models is \[\('models', True",
        ),
        (
            slip(*ENVIRONMENT, "SEMBLANCE_MODEL_REPOSITORY", to="/repo"),
            "orchestrator: the model repository /repo is not mounted",
        ),
        # Shared memory
        (slip("triton", "user", to="triton-server"), "triton: its user is not the orchestrator's, 10001:10001"),
        (slip("triton-cpu", "volumes", 1, to="scenes:/dev/shm"), "triton-cpu: its /dev/shm is not the orchestrator's"),
        (without("services", "orchestrator", "volumes", 1, "volume"), "orchestrator: Docker gives .* expected nocopy"),
        (slip(*ENVIRONMENT, "SEMBLANCE_WORKERS", to="4"), "shared memory has 256m, and up to 640m are needed"),
        # Secrets
        (
            slip("postgresql", "environment", "POSTGRES_PASSWORD", to="semblance"),
            "POSTGRES_PASSWORD is in the environment",
        ),
        (
            slip("milvus", "secrets", to=["minio_password"]),
            "milvus: reads the secret milvus_password, which it is not given",
        ),
        (
            slip("etcd", "secrets", to=["minio_password"]),
            "etcd: is given the secret minio_password, and does not read it",
        ),
        (
            slip("orchestrator", "secrets", 1, to="semblance_milvus_tokem"),
            "secret semblance_milvus_tokem is no setting",
        ),
        (without("secrets", "minio_password"), "minio: secret minio_password is not declared"),
    ],
)
def test_a_slip_is_caught(document: Document, make: Callable[[Document], None], problem: str) -> None:
    make(document)
    assert re.search(problem, "\n".join(compose.problems(document)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TEXT.replace("ORCHESTRATOR_CPUS:-2", "ORCHESTRATOR_COUNT:-2"), "ORCHESTRATOR_COUNT is not in docs"),
        (TEXT.replace(":-4g}", "}"), "ORCHESTRATOR_MEMORY has no default"),
    ],
)
def test_what_an_operator_may_set_has_a_default_and_is_documented(text: str, problem: str) -> None:
    assert re.search(problem, "\n".join(compose.undocumented(text)))


def test_a_secret_from_elsewhere_is_caught(document: Document) -> None:
    document["secrets"]["minio_password"] = {"file": "deploy/secrets/minio"}
    assert any("which deploy/credentials.py does not write" in problem for problem in compose.problems(document))


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda document: None, 0),
        (slip("orchestrator", "enviroment", to={}), 1),
        (slip("orchestrator", "depends_on", "milvus", to={"condition": "healthy"}), 1),
        (slip("orchestrator", "healthcheck", "retries", to=[]), 1),
        (slip("triton", "deploy", "resources", "reservations", "devices", 0, to={"driver": "nvidia"}), 1),
    ],
)
def test_make_check_knows_composes_schema(
    document: Document, tmp_path: Path, make: Callable[[Document], None], status: int
) -> None:
    make(document)
    (tmp_path / "compose.yml").write_text(yaml.safe_dump(document))
    options = ("--builtin-schema", "vendor.compose-spec")
    assert f"/check-jsonschema {' '.join(options)} docker-compose.yml" in (compose.ROOT / "Makefile").read_text()
    command = (TOOLS / "check-jsonschema", *options, tmp_path / "compose.yml")
    assert subprocess.run(command, capture_output=True).returncode == status


@pytest.mark.parametrize("profile", ["gpu", "cpu"])
def test_one_triton_starts_and_takes_a_gpu_where_the_profile_says_so(services: Document, profile: str) -> None:
    always = {name for name, service in services.items() if not service.get("profiles")}
    tritons = {name for name, service in services.items() if "triton" in compose.aliases(name, service)}
    started = {name for name in tritons if profile in services[name].get("profiles", ())}
    assert started == {{"gpu": "triton", "cpu": "triton-cpu"}[profile]}
    assert always >= {"etcd", "minio", "milvus", "postgresql", "orchestrator"}
    (triton,) = started
    assert ("deploy" in services[triton]) == (profile == "gpu")
    assert "COMPOSE_PROFILES=gpu\n" in (compose.ROOT / ".env").read_text()


def test_triton_lets_the_orchestrator_load_its_models(services: Document) -> None:
    for name in ("triton", "triton-cpu"):
        options = services[name]["command"]
        assert "--model-control-mode=explicit" in options
        assert not [option for option in options if option.startswith("--load-model")]


def test_engines_are_built_in_the_container_that_serves_them_on_a_gpu(services: Document) -> None:
    engine = services["engine"]
    assert engine["profiles"] == ["engine"]
    (device,) = engine["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    dockerfile = (compose.ROOT / engine["build"]["dockerfile"]).read_text()
    assert f"\nFROM {services['triton']['image']}\n" in dockerfile
    copied = re.findall(r"^COPY (\S+) ", dockerfile, re.MULTILINE)
    assert copied
    sent = (compose.ROOT / ".dockerignore").read_text().splitlines()
    assert all((compose.ROOT / path).exists() and f"!{path}" in sent for path in copied)
    program, *arguments = json.loads(dockerfile.partition("\nENTRYPOINT ")[2])
    assert (program, arguments[0]) == ("semblance", "export")
    context = export.make_context("export", [*arguments[1:], "--help"], resilient_parsing=True)
    name, command, rest = export.resolve_command(context, arguments[1:])
    assert name == "engine"
    assert command is not None
    parsed = command.make_context(name, [*rest, str(compose.ROOT)])
    assert parsed.params["repository"] == Path("/models")
    assert list(compose.volumes(engine)) == [("models", "/models", False)]
    assert engine["user"] == services["triton"]["user"]


def test_triton_keeps_what_tensorrt_builds_where_the_configurations_say(services: Document) -> None:
    for name in ("triton", "tensorrt-cache"):
        assert f"tensorrt:{gpu.CACHE}" in services[name]["volumes"]
    assert services["triton"]["depends_on"] == {"tensorrt-cache": {"condition": "service_completed_successfully"}}
    assert TENSORRT[services["triton"]["image"]] == gpu.TENSORRT
    prepare = services["tensorrt-cache"]
    assert prepare["image"] == services["triton"]["image"]
    user, group = services["triton"]["user"].split(":")
    assert {f"--owner={user}", f"--group={group}"} <= set(prepare["command"])
    assert prepare["command"][-1] == gpu.CACHE


def test_triton_traces_as_the_launcher_has_it(services: Document) -> None:
    options = trace_options("http://otel-collector:4318/v1/traces")
    for name in ("triton", "triton-cpu"):
        assert [option for option in services[name]["command"] if "trace" in option] == options


def test_containers_have_no_rights_that_they_do_not_need(services: Document) -> None:
    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"]
        if name != "milvus":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert {"cpus", "mem_limit", "pids_limit"} <= services["orchestrator"].keys()
    user = compose.DOCKERFILE.rindex("\nUSER 10001:10001\n")
    assert user < compose.DOCKERFILE.index("\nENTRYPOINT ")
    assert "USER" not in compose.DOCKERFILE[user + 6 :]


def test_base_images_are_pinned_to_a_patch() -> None:
    bases = re.findall(r"^FROM (\S+:\S+)", compose.DOCKERFILE, re.MULTILINE)
    assert bases
    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases)


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


def check(services: Document, address: str) -> int:
    """The exit status of the orchestrator's health check, asked of another address."""
    kind, program, *arguments = services["orchestrator"]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    assert HEALTH in arguments[-1]
    return subprocess.run(
        [sys.executable, *(argument.replace(HEALTH, address) for argument in arguments)], stderr=subprocess.DEVNULL
    ).returncode


def test_the_orchestrator_is_healthy_when_it_serves(
    services: Document, server: tuple[str, health.HealthServicer]
) -> None:
    address, servicer = server
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert check(services, address) == 1
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    assert check(services, address) == 0


def test_an_orchestrator_that_is_not_there_is_not_healthy(services: Document) -> None:
    assert check(services, "127.0.0.1:1") == 1


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with new secrets."""
    credentials.write(tmp_path / "secrets")
    return tmp_path / "secrets"


def test_only_their_owner_gets_to_the_secrets_which_any_user_of_a_container_may_read(written: Path) -> None:
    assert stat.S_IMODE(written.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in written.iterdir()} == {0o444}


def test_secrets_are_made_where_they_are_missing_and_fit_those_that_stand(written: Path) -> None:
    before = {path: path.read_text() for path in written.iterdir()}
    for derived in ("semblance_metadata_url", "semblance_milvus_token", "aws_credentials"):
        (written / derived).unlink()
    assert len(credentials.write(written)) == 3
    assert credentials.write(written) == []
    assert {path: path.read_text() for path in written.iterdir()} == before


def test_secrets_stay_out_of_the_repository() -> None:
    for name in credentials.contents({}):
        ignored = subprocess.run(["git", "check-ignore", "--quiet", credentials.FOLDER / name], cwd=compose.ROOT)
        assert ignored.returncode == 0


def run(service: Document, replaced: dict[str, str], environment: dict[str, str]) -> None:
    """Runs what a container would, with other paths, on this host."""
    words = [word.replace("$$", "$") for word in (*service["entrypoint"], *service["command"])]
    for path, instead in replaced.items():
        assert any(path in word for word in words)
        words = [word.replace(path, instead) for word in words]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(words, env={**os.environ, "PATH": path, **environment}, check=True, cwd=compose.ROOT)


def test_the_bucket_is_made_with_the_keys_of_the_file_and_may_be_there(
    services: Document, s3: str, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = services["bucket"]
    (name,) = re.findall(r"s3://(\w+)/", services["orchestrator"]["environment"]["SEMBLANCE_IMAGE_STORE"])
    assert f'makedirs("{name}"' in bucket["command"][0]
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable, raising=False)
    environment = {**bucket["environment"], "AWS_ENDPOINT_URL": s3}
    environment["AWS_SHARED_CREDENTIALS_FILE"] = str(written / "aws_credentials")
    run(bucket, {}, environment)
    run(bucket, {}, environment)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert name in {each["Name"] for each in boto3.client("s3").list_buckets()["Buckets"]}


def test_the_publisher_publishes_each_folder(services: Document, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    paths = {"/exports/": f"{compose.ROOT}/demo/weights/", "/models": str(tmp_path / "models")}
    run(services["publisher"], paths, {})
    published = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("models/*/[0-9]*")}
    assert published == {"models/detector/1", "models/embedder/1"}
    assert {path.parent.name for path in tmp_path.glob("models/*/config.pbtxt")} == {"detector", "embedder"}
