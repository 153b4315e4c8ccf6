"""The objects against each other, docker-compose.yml and the code. Nothing is run."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from deploy import credentials
from semblance.orchestrator import sizing
from semblance.orchestrator.doctor.host import DECODE_BYTES
from semblance.orchestrator.grpc_edge.health import LIVENESS, OVERALL
from semblance.orchestrator.grpc_edge.server import SERVICES
from semblance.orchestrator.settings import PREFIX, SECRETS, Settings, SettingsError
from tests import compose
from tests.kubernetes.built import FOLDER, ROOT, Built, Object, label
from tests.kubernetes.namespace import Namespace, Workload

MANUAL = ROOT / "docs" / "kubernetes.md"
COMPOSE = compose.read(compose.FILE.read_text())["services"]
CLUSTER = FOLDER / "overlays" / "kind" / "cluster.yaml"

# Made by an operator of the cluster, and the keys that they have: docs/kubernetes.md tells how.
SECRETS_BY_REFERENCE: Mapping[str, frozenset[str]] = {
    "orchestrator": frozenset({"semblance_metadata_url", "semblance_milvus_token", "aws_credentials"}),
    "orchestrator-tls": frozenset({"tls.crt", "tls.key"}),
    "callers": frozenset({"callers.json"}),
    "milvus": frozenset({"accesskey", "secretkey", "root_password"}),
    "stores": frozenset({"postgresql_password", "milvus_password", "minio_password"}),
}
# Without a namespace.
OF_THE_CLUSTER = {"Namespace", "PersistentVolume"}
# The service that Milvus' operator makes of a `Milvus`, and its port.
MILVUS_PORT = 19530
# What a stopped Triton and orchestrator still do beside ending what is in flight, in seconds.
MARGIN = 5
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def problems(built: Built) -> Iterator[str]:
    """One line for each thing that does not fit together."""
    operated = {
        f"{each['metadata']['name']}-milvus.{each['metadata']['namespace']}": {MILVUS_PORT}
        for _, each in built.objects()
        if each["kind"] == "Milvus"
    }
    for folder, objects in built.folders.items():
        namespace = Namespace(objects, operated)
        for check in CHECKS:
            yield from (f"{folder}: {problem}" for problem in check(namespace))
    yield from node(built.folders["overlays/kind"])


def unique(of: Namespace) -> Iterator[str]:
    seen: set[str] = set()
    for each in of.objects:
        if label(each) in seen:
            yield f"{label(each)} is there twice"
        seen.add(label(each))


def placed(of: Namespace) -> Iterator[str]:
    """In the one namespace, which is among them."""
    [namespace] = of.names("Namespace") or {"none"}
    for each in of.objects:
        found = each["metadata"].get("namespace")
        if each["kind"] not in OF_THE_CLUSTER and found != namespace:
            yield f"{label(each)} is in namespace {found}; expected {namespace}"


def selectors(of: Namespace) -> Iterator[str]:
    """Who is meant by labels has them, and nobody else."""
    for workload in of.workloads:
        wanted = workload.object["spec"].get("selector", {}).get("matchLabels", {})
        if not wanted.items() <= workload.labels.items():
            yield f"{label(workload.object)} selects {wanted}, and its pods have {workload.labels}"
        elif wanted and len(of.selected(wanted)) > 1:
            yield f"{label(workload.object)} selects the pods of {[other.name for other in of.selected(wanted)]}"
        for spread in workload.pod.get("topologySpreadConstraints", ()):
            if not spread["labelSelector"]["matchLabels"].items() <= workload.labels.items():
                yield f"{label(workload.object)} spreads pods that are not its own"
    for each in of.of("PodDisruptionBudget"):
        yield from _one(of, each, each["spec"]["selector"]["matchLabels"])
    for each in of.of("Service"):
        yield from _some(of, each, each["spec"]["selector"])
    for each in of.of("NetworkPolicy"):
        for peer in [{"podSelector": each["spec"]["podSelector"]}, *_peers(each)]:
            if "podSelector" in peer:
                yield from _some(of, each, peer["podSelector"]["matchLabels"])


def _one(of: Namespace, each: Object, labels: Mapping[str, str]) -> Iterator[str]:
    if len(found := of.selected(labels)) != 1:
        yield f"{label(each)} selects {[workload.name for workload in found]}; expected one"


def _some(of: Namespace, each: Object, labels: Mapping[str, str]) -> Iterator[str]:
    if not of.selected(labels):
        yield f"{label(each)} selects {labels}, which no pod has"


def _peers(policy: Object) -> Iterator[Object]:
    for rule in policy["spec"].get("ingress", ()):
        yield from rule.get("from", ())
    for rule in policy["spec"].get("egress", ()):
        yield from rule.get("to", ())


def services(of: Namespace) -> Iterator[str]:
    for each in of.of("Service"):
        for port in each["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            for workload in of.selected(each["spec"]["selector"]):
                if target not in {*workload.ports, *workload.ports.values()}:
                    yield f"{label(each)} sends to port {target}, which {workload.name} does not have"
                elif workload.ports.get(target, target) != port["port"]:
                    yield f"{label(each)} has port {port['port']} for {workload.name}'s {workload.ports[target]}"
    for workload in of.workloads:
        name = workload.object["spec"].get("serviceName")
        if name and name not in of.names("Service"):
            yield f"{label(workload.object)} has the service {name}, which is not there"


def budgets(of: Namespace) -> Iterator[str]:
    """Of what is scaled, and of what may go at once."""
    scaled = {}
    for each in of.of("HorizontalPodAutoscaler"):
        target = each["spec"]["scaleTargetRef"]
        scaled[target["kind"], target["name"]] = each["spec"]
        if target["name"] not in of.names(target["kind"]):
            yield f"{label(each)} scales {target['kind']} {target['name']}, which is not there"
        if each["spec"]["minReplicas"] > each["spec"]["maxReplicas"]:
            yield f"{label(each)} has at least {each['spec']['minReplicas']} and at most {each['spec']['maxReplicas']}"
    guarded = [each["spec"]["selector"]["matchLabels"] for each in of.of("PodDisruptionBudget")]
    for workload in of.components("orchestrator", "triton"):
        key = workload.object["kind"], workload.name
        if key in scaled and "replicas" in workload.object["spec"]:
            yield f"{label(workload.object)} says how many replicas, which is the autoscaler's"
        least = scaled[key]["minReplicas"] if key in scaled else workload.replicas
        if least < 2:
            yield f"{label(workload.object)} may be one alone, so that nothing serves while it is replaced"
        if not any(labels.items() <= workload.labels.items() for labels in guarded):
            yield f"{label(workload.object)} has no PodDisruptionBudget"


def references(of: Namespace) -> Iterator[str]:
    for workload in of.workloads:
        what = label(workload.object)
        account = workload.pod.get("serviceAccountName")
        if account and account not in of.names("ServiceAccount"):
            yield f"{what} has the ServiceAccount {account}, which is not there"
        for source in workload.container.get("envFrom", ()):
            if source["configMapRef"]["name"] not in of.names("ConfigMap"):
                yield f"{what} reads the ConfigMap {source['configMapRef']['name']}, which is not there"
        for name, volume in workload.volumes.items():
            if name not in workload.mounts:
                yield f"{what} has the volume {name}, and does not mount it"
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and claim not in of.names("PersistentVolumeClaim"):
                yield f"{what} mounts the claim {claim}, which is not there"
            if secret := volume.get("secret"):
                yield from (f"{what} {problem}" for problem in _secret(secret))
        for name in workload.mounts:
            if name not in workload.volumes:
                yield f"{what} mounts {name}, which is no volume of it"
    for each in of.of("Milvus"):
        storage = each["spec"]["dependencies"]["storage"]["secretRef"]
        variables = [one["valueFrom"]["secretKeyRef"] for one in each["spec"]["components"]["env"]]
        given = [(storage, "accesskey"), (storage, "secretkey"), *((one["name"], one["key"]) for one in variables)]
        for name, key in given:
            if key not in SECRETS_BY_REFERENCE.get(name, ()):
                yield f"{label(each)} reads {key} of the Secret {name}, which nobody is told to make"


def _secret(secret: Object) -> Iterator[str]:
    keys = SECRETS_BY_REFERENCE.get(secret["secretName"])
    if keys is None:
        yield f"mounts the Secret {secret['secretName']}, which nobody is told to make"
        return
    for item in secret.get("items", ()):
        if item["key"] not in keys:
            yield f"mounts {item['key']} of the Secret {secret['secretName']}, which has {sorted(keys)}"
        elif item["path"] != item["key"]:
            yield f"mounts {item['key']} as {item['path']}"


def files(workload: Workload) -> set[str]:
    """The paths of the secrets that are mounted."""
    return {
        f"{workload.mounts[name]['mountPath']}/{key}"
        for name, volume in workload.volumes.items()
        if "secret" in volume and name in workload.mounts
        for key in (
            [item["path"] for item in volume["secret"].get("items", ())]
            or sorted(SECRETS_BY_REFERENCE.get(volume["secret"]["secretName"], frozenset()))
        )
    }


def environment(of: Namespace, workload: Workload) -> dict[str, str]:
    maps = {each["metadata"]["name"]: each.get("data", {}) for each in of.of("ConfigMap")}
    found: dict[str, str] = {}
    for source in workload.container.get("envFrom", ()):
        found |= maps.get(source["configMapRef"]["name"], {})
    return found | {one["name"]: one.get("value", "") for one in workload.container.get("env", ())}


def settings(of: Namespace) -> Iterator[str]:
    """Variables that no setting reads, values that a setting refuses, and what the objects make of them."""
    for workload in of.components("orchestrator"):
        given = environment(of, workload)
        texts = credentials.contents({})
        read = {path.rpartition("/")[2] for path in files(workload) if path.startswith(f"{SECRETS}/")}
        if unknown := {each for each in read if each.startswith(PREFIX.lower())} - {
            f"{PREFIX}{field}".lower() for field in Settings.model_fields
        }:
            yield f"the secrets {sorted(unknown)} are no settings"
        values: dict[str, Any] = {n.removeprefix(PREFIX).lower(): v for n, v in given.items() if n.startswith(PREFIX)}
        secret = {n.removeprefix(PREFIX.lower()): texts[n] for n in read if n.startswith(PREFIX.lower()) and n in texts}
        try:
            told = Settings(**secret | values)
            told.check()
        except ValidationError as error:
            yield from (f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        except SettingsError as error:
            yield str(error)
        else:
            for check in (ports, reached, stopped, started, room, mounted, paths):
                yield from check(of, workload, told)
            yield from stores(of, given)
    if of.components("triton") and not of.components("orchestrator"):
        yield "there is no orchestrator"


def ports(of: Namespace, workload: Workload, told: Settings) -> Iterator[str]:
    listened = {"grpc": told.listen, "health": told.health_listen, "metrics": told.metrics_listen}
    for name, address in listened.items():
        if workload.ports.get(name) != compose.port(address):
            yield f"the orchestrator listens on {address or 'no port'} for {name}, and its pod says {workload.ports}"
        elif not address.startswith("0.0.0.0:"):
            yield f"{address} of {name} is reached by nobody but the orchestrator's own pod"
    usual = compose.port(Settings.model_fields["listen"].default)
    if compose.port(told.listen) != usual:
        yield f"{PREFIX}LISTEN is {told.listen}, and the usual port is {usual}"


def reached(of: Namespace, workload: Workload, told: Settings) -> Iterator[str]:
    """The Tritons that there are, each by its own name, and Milvus."""
    named = told.triton_url.split(",")
    there = {
        f"{each.name}-{number}.{each.object['spec']['serviceName']}:{each.ports['grpc']}"
        for each in of.components("triton")
        for number in range(each.replicas)
    }
    yield from (f"{PREFIX}TRITON_URL names {each}, which is no replica" for each in named if each not in there)
    yield from (f"{PREFIX}TRITON_URL does not name {each}" for each in sorted(there) if each not in named)
    yield from _address(of, f"{PREFIX}MILVUS_URI", told.milvus_uri)
    if told.transport != "bytes":
        yield f"{PREFIX}TRANSPORT is {told.transport}; between pods there are bytes alone"


def _address(of: Namespace, variable: str, url: str) -> Iterator[str]:
    host, port = urlsplit(url).hostname or "", compose.port(url)
    if host not in of.addresses():
        yield f"{variable} names {host}, which is no service"
    elif port not in of.addresses()[host]:
        yield f"{variable} names port {port}, which {host} does not have"


def stores(of: Namespace, given: Mapping[str, str]) -> Iterator[str]:
    if "AWS_ENDPOINT_URL" in given:
        yield from _address(of, "AWS_ENDPOINT_URL", given["AWS_ENDPOINT_URL"])


def stopped(of: Namespace, workload: Workload, told: Settings) -> Iterator[str]:
    grace, longest = workload.pod.get("terminationGracePeriodSeconds", 30), told.drain_delay + told.drain_grace
    if grace < longest + MARGIN:
        yield f"it is killed {grace} s after it is told to stop, which takes it up to {longest:g}"
    seen = _seconds(workload.container.get("readinessProbe", {}))
    if told.drain_delay < seen:
        yield f"its probe sees within {seen} s that it stops, and it takes calls for {told.drain_delay:g}"


def started(of: Namespace, workload: Workload, told: Settings) -> Iterator[str]:
    patience = _seconds(workload.container.get("startupProbe", {}))
    if patience < told.startup_wait + MARGIN:
        yield f"it is killed {patience} s after its start, for which it may wait {told.startup_wait:g}"


def _seconds(probe: Mapping[str, int]) -> int:
    """Until a probe that fails counts."""
    return probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)


def room(of: Namespace, workload: Workload, told: Settings) -> Iterator[str]:
    """As `semblance doctor` counts what it takes at worst."""
    limit = _bytes(workload.container.get("resources", {}).get("limits", {}).get("memory", "0Mi"))
    worst = told.workers * (told.pixel_threads * told.max_image_pixels * DECODE_BYTES + 2 * told.queue_bytes)
    if limit < worst:
        yield f"it has {limit / 2**30:.1f} GiB, and takes up to {worst / 2**30:.1f}"


def _bytes(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def mounted(of: Namespace, workload: Workload, told: Settings) -> Iterator[str]:
    """One repository of models, which the publisher alone writes."""
    folders = {"orchestrator": told.model_repository}
    for each in of.components("triton"):
        folders["triton"] = _option(each.command, "--model-repository")
    for each in of.components("publisher"):
        folders["publisher"] = (re.findall(r"--repository (\S+)", " ".join(each.command)) or [""])[0]
    for each in of.components(*folders):
        mount = each.mounts.get("models", {})
        if mount.get("mountPath") != folders[each.component]:
            yield f"{each.name} mounts the model repository in {mount.get('mountPath')}, and {folders} name it"
        elif mount.get("readOnly", False) == (each.component == "publisher"):
            yield f"{each.name} may {'not write' if each.component == 'publisher' else 'write'} the model repository"


def paths(of: Namespace, workload: Workload, told: Settings) -> Iterator[str]:
    named = {told.tls_certificate, told.tls_key, told.tls_client_ca, told.callers} - {""}
    credentials_file = environment(of, workload).get("AWS_SHARED_CREDENTIALS_FILE", "")
    for path in sorted(named | {credentials_file}):
        if path not in files(workload):
            yield f"the orchestrator reads {path or 'no AWS_SHARED_CREDENTIALS_FILE'}, which no Secret gives it"
    used = named | {credentials_file} | {path for path in files(workload) if path.startswith(f"{SECRETS}/semblance_")}
    for path in sorted(files(workload) - used):
        yield f"the orchestrator is given {path}, and does not read it"


def probes(of: Namespace) -> Iterator[str]:
    for workload in of.workloads:
        container, ends = workload.container, workload.object["kind"] == "Job"
        kinds = [name for name in ("startupProbe", "livenessProbe", "readinessProbe") if name in container]
        if not ends and "readinessProbe" not in kinds:
            yield f"{workload.name} is asked by nobody whether it is ready"
        for name in kinds:
            yield from (f"{workload.name}: its {name} {each}" for each in _probe(name, container[name], workload))


def _probe(name: str, probe: Object, workload: Workload) -> Iterator[str]:
    image = workload.container["image"].rpartition(":")[0]
    if "grpc" in probe:
        service = probe["grpc"].get("service", "")
        if probe["grpc"]["port"] != workload.ports.get("health"):
            yield f"asks port {probe['grpc']['port']}, and health is on {workload.ports.get('health')}"
        if service not in {LIVENESS, OVERALL, *SERVICES}:
            yield f"asks for {service}, whose health is not told"
        if (service == LIVENESS) != (name != "readinessProbe"):
            yield f"asks for {service or 'the server as a whole'}"
    elif "httpGet" in probe:
        port = probe["httpGet"]["port"]
        if workload.ports.get(port, port) not in compose.PORTS.get(image, ()):
            yield f"asks port {port}, on which {image} does not listen"
    elif probe.get("exec", {}).get("command", [""])[0] not in compose.PROGRAMS.get(image, ()):
        yield f"runs {probe}, which {image} does not have"


def images(of: Namespace) -> Iterator[str]:
    """Ours are of this version, others those of docker-compose.yml."""
    known = [service["image"] for service in COMPOSE.values()]
    named = [(each.name, each.container["image"]) for each in of.workloads]
    named += [(label(each), each["spec"]["components"]["image"]) for each in of.of("Milvus")]
    for who, image in named:
        # Ours stand in any registry.
        if image not in known and image.rpartition("/")[2] not in known:
            yield f"{who} has the image {image}, which docker-compose.yml does not have"


def stores_of_kind(of: Namespace) -> Iterator[str]:
    """They run as those of docker-compose.yml do."""
    for each in of.components("store"):
        there = COMPOSE[each.name]
        command = [part.replace("$$", "$") for part in there.get("command", ())]
        if list(each.command) != command:
            yield f"{each.name} runs {each.command}, and in docker-compose.yml {command}"
        for one in each.container.get("env", ()):
            other = there["environment"].get(one["name"], one["value"])
            if one["value"] != other:
                yield f"{each.name}: {one['name']} is {one['value']}, and in docker-compose.yml {other}"


def confined(of: Namespace) -> Iterator[str]:
    """Ours keep the restricted Pod Security Standard, and more; the stores of kind are for trying."""
    user = str(re.findall(r"\nUSER (\S+)\n", compose.DOCKERFILE)[-1])
    for each in of.components("orchestrator", "triton", "publisher"):
        pod, container = each.pod.get("securityContext", {}), each.container.get("securityContext", {})
        expected = {
            "runAsNonRoot": pod.get("runAsNonRoot") is True,
            f"user {user}": f"{pod.get('runAsUser')}:{pod.get('runAsGroup')}" == user,
            "fsGroup of that user": str(pod.get("fsGroup")) == user.partition(":")[2],
            "seccomp RuntimeDefault": pod.get("seccompProfile") == {"type": "RuntimeDefault"},
            "no privilege escalation": container.get("allowPrivilegeEscalation") is False,
            "a read-only root": container.get("readOnlyRootFilesystem") is True,
            "no capabilities": container.get("capabilities") == {"drop": ["ALL"]},
            "no token of the API": each.pod.get("automountServiceAccountToken") is False,
            "requests of cpu and memory": {"cpu", "memory"} <= set(_resources(each, "requests")),
            "a limit of memory": "memory" in _resources(each, "limits"),
            "/tmp": "/tmp" in {mount["mountPath"] for mount in each.mounts.values()},
        }
        yield from (f"{each.name} lacks {what}" for what, given in expected.items() if not given)
    for each in of.workloads:
        for one in each.container.get("env", ()):
            if re.search(r"(PASSWORD|PASSWD|TOKEN|SECRET|SECRET_KEY)$", one["name"]):
                yield f"{each.name}: {one['name']} is in the environment; secrets come by file"
    yield from (f"{label(secret)} is written down here" for secret in of.of("Secret"))


def _resources(workload: Workload, kind: str) -> Mapping[str, str]:
    found: Mapping[str, str] = workload.container.get("resources", {}).get(kind, {})
    return found


def tritons(of: Namespace) -> Iterator[str]:
    for each in of.components("triton"):
        if _option(each.command, "--model-control-mode") != "explicit":
            yield f"{each.name} loads models by itself, which is the keeper's"
        ending = int(_option(each.command, "--exit-timeout-secs") or 30)
        if each.pod.get("terminationGracePeriodSeconds", 30) < ending + MARGIN:
            yield f"{each.name} is killed before the {ending} s are over that it has to end"
        if not each.object["spec"].get("minReadySeconds"):
            yield f"{each.name}: the next replica is replaced before the last one has its models"
        for one in of.of("Service"):
            headless = one["spec"].get("clusterIP") == "None" and one["spec"].get("publishNotReadyAddresses")
            if one["metadata"]["name"] == each.object["spec"]["serviceName"] and not headless:
                yield f"{label(one)} gives no address to each replica from its start"
        gpus = _resources(each, "limits").get("nvidia.com/gpu")
        tolerated = {one["key"] for one in each.pod.get("tolerations", ())}
        if gpus and not ("nvidia.com/gpu" in tolerated and each.pod.get("nodeSelector")):
            yield f"{each.name} wants a GPU, and may not run where there are GPUs of one kind alone"


def _option(command: Sequence[str], name: str) -> str:
    return next((each.partition("=")[2] for each in command if each.startswith(f"{name}=")), "")


def network(of: Namespace) -> Iterator[str]:
    """Each of ours is asked and asks where it has to, and nowhere else."""
    policies = {each["metadata"]["name"]: each["spec"] for each in of.of("NetworkPolicy")}
    for workload in of.components("orchestrator", "triton", "publisher"):
        spec = policies.get(workload.component)
        if spec is None or set(spec["policyTypes"]) != {"Ingress", "Egress"}:
            yield f"{workload.name}: nothing limits whom it speaks with"
            continue
        opened = {port["port"] for rule in spec.get("ingress", ()) for port in rule["ports"]}
        needed = {workload.ports[name] for name in ("grpc", "metrics") if name in workload.ports}
        if opened != needed:
            yield f"{workload.name} is reached at {sorted(opened)}; expected {sorted(needed)}"
        for rule in spec.get("ingress", ()):
            if not rule.get("from"):
                yield f"{workload.name} is open to everybody at {[port['port'] for port in rule['ports']]}"
        if workload.component == "orchestrator":
            yield from _leaves(of, workload, spec)


def _leaves(of: Namespace, workload: Workload, spec: Object) -> Iterator[str]:
    given = environment(of, workload)
    urls = [f"//{each}" for each in given.get("SEMBLANCE_TRITON_URL", "").split(",")]
    urls += [given.get("SEMBLANCE_MILVUS_URI", ""), given.get("AWS_ENDPOINT_URL", "https://s3:443")]
    needed = {found for url in urls if (found := compose.port(url))} | {53, 5432}
    allowed = {port["port"] for rule in spec.get("egress", ()) for port in rule["ports"]}
    if allowed != needed:
        yield f"the orchestrator may speak to ports {sorted(allowed)}; expected {sorted(needed)}"


def monitored(of: Namespace) -> Iterator[str]:
    """Who has metrics is scraped, under the job that the alerts and the dashboard name."""
    for each in of.of("ServiceMonitor"):
        wanted, spec = each["spec"]["selector"]["matchLabels"], each["spec"]
        scraped: dict[str, int] = {}
        for service in of.of("Service"):
            labels = service["metadata"].get("labels", {})
            names = {port["name"] for port in service["spec"]["ports"]}
            if wanted.items() <= labels.items() and {endpoint["port"] for endpoint in spec["endpoints"]} <= names:
                for workload in of.selected(service["spec"]["selector"]):
                    scraped[workload.name] = scraped.get(workload.name, 0) + 1
                    job = {"orchestrator": "semblance"}.get(workload.component, workload.component)
                    if labels.get(spec.get("jobLabel", "")) != job:
                        yield f"{workload.name} is scraped as {labels.get(spec.get('jobLabel', ''))}; expected {job}"
        for workload in of.components("orchestrator", "triton"):
            if scraped.get(workload.name) != 1:
                yield f"{workload.name} is scraped {scraped.get(workload.name, 0)} times"


def sized(of: Namespace) -> Iterator[str]:
    """docs/sizing.md counts with what a query node and an orchestrator have here."""
    for each in of.of("Milvus"):
        node = each["spec"]["components"]["queryNode"]["resources"]
        counted = {"cpu": f"{sizing.NODE_CORES.value:g}", "memory": f"{sizing.NODE_GIB.value:g}Gi"}
        if node["requests"] != counted or node["limits"] != {"memory": counted["memory"]}:
            yield f"{label(each)} has query nodes of {node}, and sizing counts with {counted}"
    if of.of("ServiceMonitor"):
        for workload in of.components("orchestrator"):
            if _resources(workload, "requests").get("cpu") != f"{sizing.POD_CORES.value:g}":
                yield f"{workload.name} has not the {sizing.POD_CORES.text} cores that sizing counts with"


CHECKS = (
    unique,
    placed,
    selectors,
    services,
    budgets,
    references,
    settings,
    probes,
    images,
    stores_of_kind,
    confined,
    tritons,
    network,
    monitored,
    sized,
)


def node(objects: Sequence[Object]) -> Iterator[str]:
    """The weights get from this repository into kind's node, from there into the volume, and from it to the claim."""
    [mount] = yaml.safe_load(CLUSTER.read_text())["nodes"][0]["extraMounts"]
    claims = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "PersistentVolumeClaim"}
    for each in objects:
        if each["kind"] != "PersistentVolume":
            continue
        if each["spec"]["hostPath"]["path"] != mount["containerPath"]:
            yield f"{label(each)} is {each['spec']['hostPath']['path']}, and the node has {mount['containerPath']}"
        if not any((ROOT / mount["hostPath"]).glob("*/manifest.json")):
            yield f"kind mounts {mount['hostPath']}, in which no exported model lies"
        claim = claims.get(each["spec"]["claimRef"]["name"], {})
        if claim.get("volumeName") != each["metadata"]["name"]:
            yield f"{label(each)} is for the claim {each['spec']['claimRef']['name']}, which does not name it"


def undocumented(built: Built) -> Iterator[str]:
    """What an operator of the cluster has to make before."""
    manual = MANUAL.read_text() if MANUAL.exists() else ""
    for name, keys in SECRETS_BY_REFERENCE.items():
        yield from (
            f"{each} of the Secret {name} is not in {MANUAL.name}" for each in sorted(keys) if each not in manual
        )
        if f"`{name}`" not in manual:
            yield f"the Secret {name} is not in {MANUAL.name}"
