"""deploy/kubernetes: that a slip in it is caught. No cluster is here that could run it."""

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kubernetes import agreement, schemas
from tests.kubernetes.built import FOLDER, BuildError, Built, Object

PRODUCTION, KIND, MILVUS = "overlays/production", "overlays/kind", "milvus"
Slip = Callable[[Built], None]


@pytest.fixture(scope="module")
def committed() -> Built:
    return Built.of()


@pytest.fixture
def built(committed: Built) -> Built:
    return copy.deepcopy(committed)


def find(built: Built, folder: str, kind: str, name: str) -> Object:
    [found] = [
        each
        for each in built.folders[folder]
        if each["kind"] == kind and re.fullmatch(name, str(each["metadata"]["name"]))
    ]
    return found


def slip(where: str, *keys: str | int, to: object) -> Slip:
    """Something else in the place of what an object has at `keys`; None: nothing. `where`: its kind and name, of the
    overlay for production unless another folder goes before."""

    def make(built: Built) -> None:
        *folder, kind, name = where.split(" ")
        place = find(built, folder[0] if folder else PRODUCTION, kind, name)
        for key in keys[:-1]:
            place = place[key]  # type: ignore[index]
        if to is None:
            del place[keys[-1]]  # type: ignore[arg-type]
        else:
            place[keys[-1]] = to  # type: ignore[index]

    return make


def setting(name: str, to: str | None, folder: str = PRODUCTION) -> Slip:
    return slip(f"{folder} ConfigMap settings-.*", "data", name, to=to)


def without(where: str) -> Slip:
    def make(built: Built) -> None:
        kind, name = where.split(" ")
        built.folders[PRODUCTION].remove(find(built, PRODUCTION, kind, name))

    return make


POD = ("spec", "template", "spec")
CONTAINER = (*POD, "containers", 0)
ORCHESTRATOR, L4, PUBLISHER = "Deployment orchestrator", "StatefulSet triton-l4", "Job publisher"


def test_the_objects_keep_their_schemas_and_agree_with_each_other_and_the_code(committed: Built) -> None:
    assert list(schemas.problems(committed)) == []
    assert list(agreement.problems(committed)) == []
    assert list(agreement.undocumented(committed)) == []


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (slip(ORCHESTRATOR, "spec", "replica", to=2), "'replica' was unexpected"),
        (slip(ORCHESTRATOR, "spec", "selector", to=None), "'selector' is a required property"),
        (slip(ORCHESTRATOR, *POD, "terminationGracePeriodSeconds", to="60s"), "'60s' is not of type"),
        (slip(ORCHESTRATOR, *CONTAINER, "livenessProb", to={}), "'livenessProb' was unexpected"),
        (slip(ORCHESTRATOR, *CONTAINER, "ports", 0, "containerPort", to="grpc"), "'grpc' is not of type"),
        (slip(ORCHESTRATOR, "apiVersion", to="apps/v1beta1"), "has no Deployment in apps/v1beta1"),
        (slip(L4, "spec", "serviceNames", to="triton"), "'serviceNames' was unexpected"),
        (slip(L4, "spec", "volumeClaimTemplates", 0, "spec", "accessMode", to="RWO"), "'accessMode' was unexpected"),
        (slip(PUBLISHER, "spec", "backofLimit", to=1), "'backofLimit' was unexpected"),
        (slip("HorizontalPodAutoscaler orchestrator", "apiVersion", to="autoscaling/v2beta2"), "has no Horizontal"),
        (slip("HorizontalPodAutoscaler orchestrator", "spec", "maxReplicas", to=None), "'maxReplicas' is a required"),
        (slip("PodDisruptionBudget orchestrator", "spec", "maxUnavailble", to=1), "'maxUnavailble' was unexpected"),
        (slip("NetworkPolicy triton", "spec", "podSelector", to=[]), r"\[\] is not of type"),
        (slip("Service semblance", "spec", "ports", 0, "port", to=None), "'port' is a required property"),
        (slip("ServiceMonitor semblance", "spec", "endpoints", 0, "interval", to="15 s"), "'15 s' does not match"),
        (slip("ServiceMonitor semblance", "spec", "endpoint", to=[]), "'endpoint' was unexpected"),
        (slip("PrometheusRule semblance", "spec", "groups", 0, "rules", 0, "expression", to="1"), "'expression' was"),
        (slip("milvus PodMonitor milvus", "spec", "selector", to=None), "'selector' is a required property"),
        (slip("milvus Milvus semblance", "spec", "mode", to="clustered"), "'clustered' is not one of"),
        (slip("milvus Milvus semblance", "spec", "components", "queryNodes", to={}), "'queryNodes' was unexpected"),
        (slip("milvus Milvus semblance", "spec", "dependencies", "storage", "type", to="s3"), "'s3' is not one of"),
        (
            slip(
                "milvus Milvus semblance", "spec", "components", "queryNode", "resources", "limits", "memory", to="64GB"
            ),
            "'64GB' does not match",
        ),
    ],
)
def test_what_the_api_server_would_refuse_is_caught(built: Built, make: Slip, problem: str) -> None:
    make(built)
    assert re.search(problem, "\n".join(schemas.problems(built)))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        # Settings
        (setting("SEMBLANCE_TRANSPROT", "bytes"), "SEMBLANCE_TRANSPROT: Extra inputs"),
        (setting("SEMBLANCE_PIXEL_THREADS", "many"), "SEMBLANCE_PIXEL_THREADS: Input should be"),
        (setting("SEMBLANCE_TRANSPORT", "shared_memory"), "between pods there are bytes alone"),
        (setting("SEMBLANCE_TLS_KEY", ""), "TLS_KEY belong together"),
        (setting("SEMBLANCE_CALLERS", ""), "SEMBLANCE_LISTEN is '0.0.0.0:50051', which other hosts reach"),
        (setting("SEMBLANCE_LISTEN", "0.0.0.0:50053"), "listens on 0.0.0.0:50053 for grpc"),
        (setting("SEMBLANCE_LISTEN", "127.0.0.1:50051"), "reached by nobody but"),
        (setting("SEMBLANCE_METRICS_LISTEN", "0.0.0.0:9465"), "listens on 0.0.0.0:9465 for metrics"),
        (setting("SEMBLANCE_HEALTH_LISTEN", ""), "listens on no port for health"),
        (setting("SEMBLANCE_DRAIN_DELAY", "1"), "its probe sees within 4 s that it stops"),
        (setting("SEMBLANCE_DRAIN_GRACE", "60"), "is killed 60 s after it is told to stop"),
        (slip(ORCHESTRATOR, *POD, "terminationGracePeriodSeconds", to=30), "takes it up to 40"),
        (setting("SEMBLANCE_STARTUP_WAIT", "900"), "is killed 660 s after its start"),
        (slip(ORCHESTRATOR, *CONTAINER, "startupProbe", "failureThreshold", to=30), "for which it may wait 600"),
        (setting("SEMBLANCE_PIXEL_THREADS", "4"), r"it has 4.0 GiB, and takes up to 5.5"),
        (slip(ORCHESTRATOR, *CONTAINER, "resources", "limits", "memory", to="2Gi"), "it has 2.0 GiB"),
        # Addresses
        (setting("SEMBLANCE_TRITON_URL", "triton-l4-0.triton-l4:8001"), "does not name triton-a100-0.triton-a100:8001"),
        (slip(L4, "spec", "replicas", to=3), "does not name triton-l4-2.triton-l4:8001"),
        (slip(L4, "spec", "serviceName", to="triton-a100"), "names triton-l4-0.triton-l4:8001, which is no replica"),
        (setting("SEMBLANCE_MILVUS_URI", "http://semblance-milvus:19530"), "names semblance-milvus, which is no"),
        (setting("SEMBLANCE_MILVUS_URI", "http://semblance-milvus.milvus:19531"), "names port 19531"),
        (
            slip("milvus Milvus semblance", "metadata", "name", to="vectors"),
            "names semblance-milvus.milvus, which is no",
        ),
        (setting("AWS_ENDPOINT_URL", "http://s3:9000", KIND), "AWS_ENDPOINT_URL names s3, which is no service"),
        (
            slip("Service semblance", "spec", "ports", 0, "targetPort", to="rpc"),
            "sends to port rpc, which orchestrator",
        ),
        (slip("Service semblance", "spec", "ports", 0, "port", to=443), "has port 443 for orchestrator's 50051"),
        (without("Service triton-l4"), "has the service triton-l4, which is not there"),
        (slip("Service triton-l4", "spec", "clusterIP", to=None), "gives no address to each replica"),
        (slip("Service triton-l4", "spec", "publishNotReadyAddresses", to=None), "no address to each replica from its"),
        # Labels
        (
            slip(ORCHESTRATOR, "spec", "selector", "matchLabels", "app.kubernetes.io/name", to="x"),
            "orchestrator selects",
        ),
        (slip(L4, "spec", "selector", "matchLabels", "semblance-pool", to=None), "selects the pods of .*triton-a100"),
        (
            slip(ORCHESTRATOR, *POD, "topologySpreadConstraints", 0, "labelSelector", "matchLabels", "a", to="b"),
            "spreads pods that are not its own",
        ),
        (
            slip("PodDisruptionBudget triton-l4", "spec", "selector", "matchLabels", "semblance-pool", to=None),
            "PodDisruptionBudget triton-l4 selects .*expected one",
        ),
        (slip("Service semblance", "spec", "selector", "app.kubernetes.io/name", to="x"), "Service semblance selects"),
        (
            slip("NetworkPolicy triton", "spec", "podSelector", "matchLabels", "app.kubernetes.io/component", to="t"),
            "NetworkPolicy triton selects",
        ),
        (
            slip(
                "NetworkPolicy triton",
                *("spec", "ingress", 0, "from", 0, "podSelector", "matchLabels", "app.kubernetes.io/component"),
                to="o",
            ),
            "NetworkPolicy triton selects",
        ),
        (slip(ORCHESTRATOR, "metadata", "namespace", to="default"), "is in namespace default; expected semblance"),
        (slip("Service orchestrators", "metadata", "name", to="semblance"), "Service semblance is there twice"),
        # Scaling and disruptions
        (
            slip("HorizontalPodAutoscaler orchestrator", "spec", "scaleTargetRef", "name", to="semblance"),
            "scales Deployment semblance, which is not there",
        ),
        (slip("HorizontalPodAutoscaler orchestrator", "spec", "maxReplicas", to=2), "at least 3 and at most 2"),
        (slip(ORCHESTRATOR, "spec", "replicas", to=3), "which is the autoscaler's"),
        (slip("HorizontalPodAutoscaler orchestrator", "spec", "minReplicas", to=1), "may be one alone"),
        (slip(L4, "spec", "replicas", to=1), "triton-l4 may be one alone"),
        (without("PodDisruptionBudget orchestrator"), "orchestrator has no PodDisruptionBudget"),
        (without("PodDisruptionBudget triton-a100"), "triton-a100 has no PodDisruptionBudget"),
        # Probes
        (
            slip(ORCHESTRATOR, *CONTAINER, "readinessProbe", "grpc", "port", to=50051),
            "asks port 50051, and health is on",
        ),
        (
            slip(ORCHESTRATOR, *CONTAINER, "readinessProbe", "grpc", "service", to="semblance.v1.Search"),
            "asks for semblance.v1.Search, whose health is not told",
        ),
        (
            slip(ORCHESTRATOR, *CONTAINER, "readinessProbe", "grpc", "service", to="liveness"),
            "readinessProbe asks for live",
        ),
        (
            slip(ORCHESTRATOR, *CONTAINER, "livenessProbe", "grpc", "service", to="semblance.v1.SearchService"),
            "livenessProbe asks for semblance.v1.SearchService",
        ),
        (slip(ORCHESTRATOR, *CONTAINER, "readinessProbe", to=None), "orchestrator is asked by nobody"),
        (slip(L4, *CONTAINER, "readinessProbe", "httpGet", "port", to=8080), "asks port 8080, on which nvcr.io"),
        (
            slip(f"{KIND} StatefulSet postgresql", *CONTAINER, "readinessProbe", "exec", "command", 0, to="pg_ready"),
            "runs .*pg_ready.*, which postgres does not have",
        ),
        # Images
        (
            slip(ORCHESTRATOR, *CONTAINER, "image", to="semblance-orchestrator:0.0.9"),
            "has the image semblance-orchestrator",
        ),
        (slip(L4, *CONTAINER, "image", to="nvcr.io/nvidia/tritonserver:latest"), "has the image nvcr.io/nvidia/triton"),
        (slip("milvus Milvus semblance", "spec", "components", "image", to="milvusdb/milvus:v2.5.0"), "v2.5.0"),
        (slip(f"{KIND} StatefulSet milvus", *CONTAINER, "env", 0, "value", to="CLUSTER"), "DEPLOY_MODE is CLUSTER"),
        (
            slip(f"{KIND} StatefulSet etcd", *CONTAINER, "command", 1, to="--data-dir=/data"),
            "etcd runs .*data-dir=/data",
        ),
        # Secrets, volumes, references
        (
            slip(ORCHESTRATOR, *POD, "volumes", 1, "secret", "secretName", to="semblance"),
            "Secret semblance, which nobody",
        ),
        (slip(ORCHESTRATOR, *POD, "volumes", 1, "secret", "items", 0, "key", to="url"), "mounts url of the Secret"),
        (
            slip(ORCHESTRATOR, *POD, "volumes", 1, "secret", "items", 0, "path", to="semblance_database"),
            r"secrets \['semblance_database'\] are no settings",
        ),
        (
            slip(ORCHESTRATOR, *POD, "volumes", 1, "secret", "items", 2, to=None),
            "reads /run/secrets/aws_credentials, which no",
        ),
        (setting("AWS_SHARED_CREDENTIALS_FILE", None), "no AWS_SHARED_CREDENTIALS_FILE"),
        (
            setting("SEMBLANCE_TLS_CERTIFICATE", "/etc/semblance/tls/server.pem"),
            "reads /etc/semblance/tls/server.pem, which",
        ),
        (
            setting("SEMBLANCE_TLS_KEY", "/etc/semblance/tls/tls.crt"),
            "is given /etc/semblance/tls/tls.key, and does not",
        ),
        (slip(ORCHESTRATOR, *CONTAINER, "volumeMounts", 1, "mountPath", to="/secrets"), "does not read it"),
        (slip(ORCHESTRATOR, *CONTAINER, "volumeMounts", 0, "name", to="model"), "mounts model, which is no volume"),
        (slip(ORCHESTRATOR, *CONTAINER, "volumeMounts", 4, to=None), "has the volume tmp, and does not mount it"),
        (slip(ORCHESTRATOR, *POD, "volumes", 0, "persistentVolumeClaim", "claimName", to="m"), "claim m, which is not"),
        (
            slip(ORCHESTRATOR, *POD, "serviceAccountName", to="semblance"),
            "ServiceAccount semblance, which is not there",
        ),
        (
            slip(ORCHESTRATOR, *CONTAINER, "envFrom", 0, "configMapRef", "name", to="settings"),
            "ConfigMap settings, which",
        ),
        (
            slip("milvus Milvus semblance", "spec", "dependencies", "storage", "secretRef", to="s3"),
            "the Secret s3, which",
        ),
        (
            slip(
                "milvus Milvus semblance",
                *("spec", "components", "env", 0, "valueFrom", "secretKeyRef", "key"),
                to="password",
            ),
            "reads password of the Secret milvus",
        ),
        (
            slip(ORCHESTRATOR, *CONTAINER, "env", to=[{"name": "PGPASSWORD", "value": "x"}]),
            "PGPASSWORD is in the environment",
        ),
        (slip("ConfigMap semblance-dashboard", "kind", to="Secret"), "Secret semblance-dashboard is written down here"),
        # The model repository
        (setting("SEMBLANCE_MODEL_REPOSITORY", "/repository"), "mounts the model repository in /models"),
        (slip(L4, *CONTAINER, "command", 1, to="--model-repository=/repository"), "mounts the model repository in"),
        (slip(L4, *CONTAINER, "volumeMounts", 1, "readOnly", to=None), "triton-l4 may write the model repository"),
        (slip(PUBLISHER, *CONTAINER, "volumeMounts", 0, "readOnly", to=True), "publisher may not write the model"),
        (slip(PUBLISHER, *CONTAINER, "args", 0, to="semblance publish --repository /m /exports/*"), "in /models, and"),
        # Triton
        (slip(L4, *CONTAINER, "command", 2, to="--model-control-mode=poll"), "loads models by itself"),
        (slip(L4, *CONTAINER, "command", 4, to="--exit-timeout-secs=60"), "is killed before the 60 s are over"),
        (slip(L4, "spec", "minReadySeconds", to=None), "replaced before the last one has its models"),
        (slip(L4, *POD, "tolerations", to=None), "triton-l4 wants a GPU"),
        (slip(L4, *POD, "nodeSelector", to=None), "triton-l4 wants a GPU"),
        # Rights
        *[
            (slip(L4, *POD, "securityContext", key, to=value), f"triton-l4 lacks {lacks}")
            for key, value, lacks in (
                ("runAsNonRoot", None, "runAsNonRoot"),
                ("runAsUser", 0, "user 10001:10001"),
                ("fsGroup", None, "fsGroup"),
                ("seccompProfile", {"type": "Unconfined"}, "seccomp"),
            )
        ],
        *[
            (slip(ORCHESTRATOR, *CONTAINER, "securityContext", key, to=value), f"orchestrator lacks {lacks}")
            for key, value, lacks in (
                ("allowPrivilegeEscalation", True, "no privilege"),
                ("readOnlyRootFilesystem", None, "a read-only root"),
                ("capabilities", {"drop": ["ALL"], "add": ["SYS_PTRACE"]}, "no capabilities"),
            )
        ],
        (slip(PUBLISHER, *POD, "automountServiceAccountToken", to=None), "publisher lacks no token of the API"),
        (slip(PUBLISHER, *CONTAINER, "resources", "requests", "cpu", to=None), "publisher lacks requests"),
        (slip(L4, *CONTAINER, "resources", "limits", "memory", to=None), "triton-l4 lacks a limit of memory"),
        # The network
        (without("NetworkPolicy publisher"), "publisher: nothing limits whom it speaks with"),
        (slip("NetworkPolicy triton", "spec", "policyTypes", to=["Ingress"]), "triton-l4: nothing limits"),
        (slip("NetworkPolicy triton", "spec", "ingress", 0, "ports", 0, "port", to=8000), r"reached at \[8000, 8002\]"),
        (slip("NetworkPolicy orchestrator", "spec", "ingress", 0, "from", to=None), r"open to everybody at \[50051\]"),
        (slip("NetworkPolicy orchestrator", "spec", "egress", 2, to=None), "may speak to ports .*; expected .*19530"),
        (slip("NetworkPolicy orchestrator", "spec", "egress", 1, to=None), "may speak to ports .*; expected .*53"),
        # What is scraped
        (
            slip("Service orchestrators", "metadata", "labels", "app.kubernetes.io/part-of", to="x"),
            "is scraped 0 times",
        ),
        (slip("Service orchestrators", "spec", "ports", 1, "name", to="prometheus"), "orchestrator is scraped 0 times"),
        (slip("ServiceMonitor semblance", "spec", "jobLabel", to="app"), "is scraped as None; expected semblance"),
        # What sizing counts with
        (
            slip(
                "milvus Milvus semblance",
                *("spec", "components", "queryNode", "resources", "requests", "memory"),
                to="64Gi",
            ),
            "and sizing counts with",
        ),
        (slip(ORCHESTRATOR, *CONTAINER, "resources", "requests", "cpu", to="4"), "not the 2 cores that sizing"),
        # kind's node
        (slip(f"{KIND} PersistentVolume demo-weights", "spec", "hostPath", "path", to="/weights"), "and the node has"),
        (slip(f"{KIND} PersistentVolumeClaim exports", "spec", "volumeName", to="x"), "which does not name it"),
    ],
)
def test_what_does_not_go_together_is_caught(built: Built, make: Slip, problem: str) -> None:
    make(built)
    assert re.search(problem, "\n".join(agreement.problems(built)))


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("base/kustomization.yaml", "  - scaling.yaml", "  - scale.yaml", "scale.yaml"),
        ("base/kustomization.yaml", "resources:", "resource:", 'unknown field "resource"'),
        ("triton/triton.yaml", "labels: *labels", "labels: *label", "unknown anchor"),
        ("overlays/production/kustomization.yaml", "behavior: merge", "behavior: create", "can not use behavior"),
        ("overlays/production/kustomization.yaml", "path: /spec/egress/-", "path: /spec/egres/-", "egres"),
        ("overlays/kind/smaller.yaml", "name: triton", "name: tritons", "no matches for Id"),
    ],
)
def test_what_kustomize_does_not_take_is_said(tmp_path: Path, file: str, old: str, new: str, problem: str) -> None:
    deploy = Path(shutil.copytree(FOLDER.parent, tmp_path / "deploy"))
    broken = deploy / "kubernetes" / file
    assert old in broken.read_text()
    broken.write_text(broken.read_text().replace(old, new, 1))
    with pytest.raises(BuildError, match=problem):
        Built.of(deploy / "kubernetes")


def test_a_secret_that_the_manual_does_not_tell_of_is_said(
    committed: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manual = tmp_path / "kubernetes.md"
    manual.write_text(agreement.MANUAL.read_text().replace("callers.json", "callers.yaml"))
    monkeypatch.setattr(agreement, "MANUAL", manual)
    assert list(agreement.undocumented(committed)) == ["callers.json of the Secret callers is not in kubernetes.md"]


def test_changed_settings_roll_the_orchestrator(committed: Built) -> None:
    """By another name of their ConfigMap, in the pods' template."""
    [settings] = [each for each in committed.folders[PRODUCTION] if each["metadata"]["name"].startswith("settings")]
    pods = json.dumps(find(committed, PRODUCTION, "Deployment", "orchestrator"))
    assert re.fullmatch(r"settings-\w{10}", settings["metadata"]["name"])
    assert f'"name": "{settings["metadata"]["name"]}"' in pods
