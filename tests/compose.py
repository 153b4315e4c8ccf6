"""What docker-compose.yml must agree with, beyond Compose's schema: `python -m tests.compose` says what does not.

Nothing is run. Of other projects' images this holds what the file relies on: ports, and programs that ask for health.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from deploy import credentials
from semblance.orchestrator.adapters.transport import SLOT_BYTES
from semblance.orchestrator.bootstrap import FEWEST_SLOTS, INPUTS_PER_SLOT
from semblance.orchestrator.settings import PREFIX, Settings, SettingsError

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docker-compose.yml"
DOCKERFILE = (ROOT / "deploy" / "orchestrator" / "Dockerfile").read_text()
MANUAL = (ROOT / "docs" / "containers.md").read_text()
SECRETS = "/run/secrets/"

# What an image listens on. The orchestrator's listens where its settings say.
PORTS = {
    "nvcr.io/nvidia/tritonserver": {8000, 8001, 8002},
    "quay.io/coreos/etcd": {2379},
    "minio/minio": {9000},
    "milvusdb/milvus": {9091, 19530},
    "postgres": {5432},
    "prom/prometheus": {9090},
    "grafana/grafana": {3000},
    "otel/opentelemetry-collector": {4317, 4318},
    "jaegertracing/jaeger": {4317, 13133, 16686},
}
# The programs in an image that health may be asked with; none in one that holds a single program.
PROGRAMS = {
    "nvcr.io/nvidia/tritonserver": {"curl"},
    "quay.io/coreos/etcd": {"etcdctl"},
    "minio/minio": {"curl"},
    "milvusdb/milvus": {"curl"},
    "postgres": {"pg_isready"},
    "prom/prometheus": {"wget"},
    "grafana/grafana": {"wget"},
    "otel/opentelemetry-collector": set(),
    "jaegertracing/jaeger": {"wget"},
    "semblance-orchestrator": {"python"},
}

Document = Mapping[str, Any]
Service = Mapping[str, Any]


def read(text: str) -> dict[str, Any]:
    """The document as Compose takes it where the host sets none of its variables."""
    document: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))
    return document


def problems(document: Document) -> Iterator[str]:
    """One line for each thing that does not fit together."""
    for name in document["services"]:
        for check in (image, settings, published, addresses, health, dependencies, mounts, secrets):
            yield from (f"{name}: {problem}" for problem in check(name, document))
    yield from unused(document)
    if "orchestrator" in document["services"]:
        yield from shared_memory(document)
        yield from one_repository(document)


def image(name: str, document: Document) -> Iterator[str]:
    service = document["services"][name]
    repository, _, tag = service["image"].rpartition(":")
    if not re.search(r"\d+\.\d+|\d{4}-\d\d-\d\d", tag):
        yield f"image {service['image']} is not pinned to a release"
    if build := service.get("build"):
        dockerfile = ROOT / build["dockerfile"]
        if not dockerfile.is_file():
            yield f"is built from {build['dockerfile']}, which is not there"
        elif "target" in build and f" AS {build['target']}\n" not in dockerfile.read_text():
            yield f"the Dockerfile has no target {build['target']}"
        if tag != version():
            yield f"image {service['image']} is not of this version, {version()}"
    elif repository.startswith("semblance-"):
        yield f"image {service['image']} is in no registry, and is not built"


def version() -> str:
    return str(tomllib.loads((ROOT / "orchestrator" / "pyproject.toml").read_text())["project"]["version"])


def told(service: Service) -> Settings | None:
    """What the service's variables and secrets tell the orchestrator; None where they tell nothing.

    Raises SettingsError or ValidationError where it would not start with them.
    """
    given = {n: str(value) for n, value in service.get("environment", {}).items() if n.startswith(PREFIX)}
    if not given:
        return None
    texts = credentials.contents({})
    given |= {n: texts[n] for n in service.get("secrets", ()) if n.startswith(PREFIX.lower()) and n in texts}
    settings = Settings(**dict[str, Any]({n.lower().removeprefix(PREFIX.lower()): v for n, v in given.items()}))
    settings.check()
    return settings


def settings(name: str, document: Document) -> Iterator[str]:
    """Variables that no setting reads, values that a setting refuses, ports other than everywhere else."""
    try:
        given = told(document["services"][name])
    except ValidationError as error:
        yield from (f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        return
    except SettingsError as error:
        yield str(error)
        return
    if given is None:
        return
    for field in given.model_fields_set & {"listen", "triton_url", "milvus_uri"}:
        usual = port(Settings.model_fields[field].default)
        if port(getattr(given, field)) != usual:
            yield f"{PREFIX}{field.upper()} is {getattr(given, field)}, and the usual port is {usual}"
    grace = float(str(document["services"][name].get("stop_grace_period", "10s")).removesuffix("s"))
    if grace < (longest := given.drain_delay + given.drain_grace):
        yield f"it is killed {grace:g} s after it is told to stop, which takes it up to {longest:g}"


def port(address: str) -> int | None:
    return urlsplit(address if "//" in address else f"//{address}").port


def listens(name: str, document: Document) -> set[int]:
    """The ports of a service, in its container."""
    service = document["services"][name]
    try:
        given = told(service)
    except (ValidationError, SettingsError):
        given = None
    if given is not None:
        listened = (given.listen, given.health_listen, given.metrics_listen)
        return {found for listen in listened if (found := port(listen))}
    return PORTS.get(service["image"].rpartition(":")[0], set())


def published(name: str, document: Document) -> Iterator[str]:
    for mapping in document["services"][name].get("ports", ()):
        host, _, inside = str(mapping).rpartition(":")
        if name != "orchestrator":
            yield f"publishes {mapping}; only the orchestrator's port may be published"
        elif int(inside) not in listens(name, document):
            yield f"publishes {mapping}, and does not listen on {inside}"
        elif not host.startswith("127.0.0.1:"):
            yield f"publishes {mapping} beyond this host"


def addresses(name: str, document: Document) -> Iterator[str]:
    """host:port wherever it stands: the host must be a service, and must listen there."""
    services: Mapping[str, Service] = document["services"]
    hosts = {alias: other for other in services for alias in aliases(other, services[other])}
    texts = credentials.contents({})
    for text in strings(services[name], texts):
        for host, number in re.findall(r"(?:^|//|@|\")([\w.-]+):(\d+)(?!\w)", text):
            if host == "0.0.0.0":
                continue
            owner = name if host == "127.0.0.1" else hosts.get(host)
            if owner is None:
                yield f"{text.strip()!r} names {host}, which is no service"
            elif int(number) not in listens(owner, document):
                yield f"{text.strip()!r} names port {number}, on which {owner} does not listen"


def aliases(name: str, service: Service) -> set[str]:
    return {name, *((service.get("networks") or {}).get("default") or {}).get("aliases", ())}


def strings(service: Service, texts: Mapping[str, str]) -> Iterator[str]:
    """What the service's programs are told, line by line where it is in a file."""
    yield from map(str, service.get("command", ()))
    yield from map(str, service.get("environment", {}).values())
    yield from map(str, service.get("healthcheck", {}).get("test", ()))
    yield from (texts[secret] for secret in service.get("secrets", ()) if secret in texts)
    for source, _, _ in volumes(service):
        if source.startswith("./deploy/"):
            for file in sorted((ROOT / source).rglob("*.yml")):
                yield from file.read_text().splitlines()


def ends(service: Service) -> bool:
    """Whether it does its work and ends."""
    return service.get("restart") == "no"


def health(name: str, document: Document) -> Iterator[str]:
    service = document["services"][name]
    if ends(service):
        return
    kind, program, *_ = service.get("healthcheck", {}).get("test", ("NONE", ""))
    known = PROGRAMS.get(service["image"].rpartition(":")[0])
    if known == set() and "healthcheck" not in service:
        return
    if kind != "CMD" or program not in (known or ()):
        yield f"its health is asked with {kind} {program}; expected CMD and one of {sorted(known or ())}"


def dependencies(name: str, document: Document) -> Iterator[str]:
    services: Mapping[str, Service] = document["services"]
    profiles = set(services[name].get("profiles", ()))
    for other, how in services[name].get("depends_on", {}).items():
        if other not in services:
            yield f"depends on {other}, which is no service"
            continue
        expected = "service_completed_successfully" if ends(services[other]) else "service_healthy"
        if how["condition"] != expected:
            yield f"depends on {other} with {how['condition']}; expected {expected}"
        elif expected == "service_healthy" and "healthcheck" not in services[other]:
            yield f"waits for {other} to be healthy, whose health nobody asks for"
        elsewhere = set(services[other].get("profiles", ()))
        if elsewhere and how.get("required", True) and not (profiles and profiles <= elsewhere):
            yield f"requires {other}, which is in the profiles {sorted(elsewhere)} alone"
    # `docker compose up --wait` takes it for failed otherwise.
    awaited = any(name in service.get("depends_on", {}) for service in services.values())
    if ends(services[name]) and not profiles and not awaited:
        yield "ends, and nothing waits for it"


def volumes(service: Service) -> Iterator[tuple[str, str, bool]]:
    """Source, target, and whether it is read-only, of each mount."""
    for volume in service.get("volumes", ()):
        if isinstance(volume, str):
            source, target, *mode = volume.split(":")
            yield source, target, mode == ["ro"]
        else:
            yield volume["source"], volume["target"], volume.get("read_only", False)


def mounts(name: str, document: Document) -> Iterator[str]:
    targets: set[str] = set()
    for source, target, read_only in volumes(document["services"][name]):
        if source.startswith((".", "/")):
            if not (ROOT / source).exists():
                yield f"mounts {source}, which is not there"
            elif not read_only:
                yield f"may write into {source}"
        elif source not in document.get("volumes", {}):
            yield f"mounts the volume {source}, which is not declared"
        if target in targets:
            yield f"mounts {target} twice"
        targets.add(target)


def secrets(name: str, document: Document) -> Iterator[str]:
    service = document["services"][name]
    given = set(service.get("secrets", ()))
    yield from (f"secret {each} is not declared" for each in sorted(given - set(document.get("secrets", {}))))
    named = {each for text in strings(service, {}) for each in re.findall(rf"{SECRETS}(\w+)", text)}
    yield from (f"reads the secret {each}, which it is not given" for each in sorted(named - given))
    read_by_itself = {each for each in given if each.startswith(PREFIX.lower())}
    yield from (f"is given the secret {each}, and does not read it" for each in sorted(given - named - read_by_itself))
    for each in sorted(read_by_itself):
        if each.removeprefix(PREFIX.lower()) not in Settings.model_fields:
            yield f"secret {each} is no setting"
    for variable in service.get("environment", {}):
        if re.search(r"(PASSWORD|PASSWD|TOKEN|SECRET|SECRET_KEY)$", variable):
            yield f"{variable} is in the environment; secrets come by file"


def unused(document: Document) -> Iterator[str]:
    services = document["services"].values()
    mounted = {source for service in services for source, _, _ in volumes(service)}
    yield from (f"volume {each} is used by none" for each in document["volumes"] if each not in mounted)
    given = {each for service in services for each in service.get("secrets", ())}
    written = credentials.contents({})
    folder = credentials.FOLDER.relative_to(ROOT)
    for name, secret in document["secrets"].items():
        if name not in given:
            yield f"secret {name} is used by none"
        if name not in written or secret != {"file": f"{folder}/{name}"}:
            yield f"secret {name} is {secret}, which deploy/credentials.py does not write"


def shared_memory(document: Document) -> Iterator[str]:
    """Triton opens what the orchestrator makes, as the only user who may, in one folder of both."""
    services = document["services"]
    service = services["orchestrator"]
    source = next((source for source, target, _ in volumes(service) if target == "/dev/shm"), "")
    options = document["volumes"].get(source) or {}
    parts = dict(part.split("=") for part in options.get("driver_opts", {}).get("o", "").split(",") if part)
    user = str(re.findall(r"\nUSER (\S+)\n", DOCKERFILE)[-1])
    if f"{parts.get('uid')}:{parts.get('gid')}" != user:
        yield f"the volume of shared memory belongs to {parts}, and the orchestrator is {user}"
    for name in ("triton", "triton-cpu"):
        if services[name].get("user") != user:
            yield f"{name}: its user is not the orchestrator's, {user}, whose memory it opens"
        if (source, "/dev/shm", False) not in set(volumes(services[name])):
            yield f"{name}: its /dev/shm is not the orchestrator's"
    for name in ("triton", "triton-cpu", "orchestrator"):
        for volume in services[name]["volumes"]:
            if isinstance(volume, dict) and volume["source"] == source and not volume.get("volume", {}).get("nocopy"):
                yield f"{name}: Docker gives the volume of shared memory its image's owner of /dev/shm; expected nocopy"
    in_flight = int(
        service["environment"].get("SEMBLANCE_SEARCH_IN_FLIGHT", Settings.model_fields["search_in_flight"].default)
    )
    workers = int(service["environment"].get("SEMBLANCE_WORKERS", 1))
    # As much again may be worn, until Triton gives it up.
    needed = 2 * workers * max(FEWEST_SLOTS, in_flight // INPUTS_PER_SLOT) * SLOT_BYTES
    if int(parts.get("size", "0m").removesuffix("m")) * 2**20 < needed:
        yield f"the volume of shared memory has {parts.get('size')}, and up to {needed // 2**20}m are needed"


def one_repository(document: Document) -> Iterator[str]:
    """Triton, the orchestrator and the publisher mean one folder of models."""
    services = document["services"]
    folders = {
        name: re.findall(r"--model-repository=(\S+)", " ".join(services[name]["command"]))
        for name in ("triton", "triton-cpu")
    }
    folders["publisher"] = re.findall(r"--repository (\S+)", " ".join(services["publisher"]["command"]))
    folders["orchestrator"] = [services["orchestrator"]["environment"].get("SEMBLANCE_MODEL_REPOSITORY")]
    for name, (folder, *_) in folders.items():
        access = [(source, read_only) for source, target, read_only in volumes(services[name]) if target == folder]
        if access != [("models", name != "publisher")]:
            yield f"{name}: the model repository {folder} is {access or 'not mounted'}"


def undocumented(text: str) -> Iterator[str]:
    """Of the variables that an operator may set on the host."""
    for variable, default in re.findall(r"\$\{(\w+)(:-[^}]+)?\}", text):
        if not default:
            yield f"{variable} has no default"
        if f"`{variable}`" not in MANUAL:
            yield f"{variable} is not in docs/containers.md"


def main() -> None:
    text = FILE.read_text()
    if found := [*problems(read(text)), *undocumented(text)]:
        sys.exit("\n".join(f"{FILE.name}: {problem}" for problem in found))


if __name__ == "__main__":
    main()
