"""What is applied into one namespace, and the pods that it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tests.kubernetes.built import Object

WORKLOADS = {"Deployment", "StatefulSet", "Job"}


@dataclass(frozen=True)
class Workload:
    """Something that runs pods."""

    object: Object

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def labels(self) -> Mapping[str, str]:
        """Of its pods."""
        found: Mapping[str, str] = self.object["spec"]["template"]["metadata"].get("labels", {})
        return found

    @property
    def pod(self) -> Object:
        return dict(self.object["spec"]["template"]["spec"])

    @property
    def container(self) -> Object:
        """Each has one."""
        [container] = self.pod["containers"]
        return dict(container)

    @property
    def component(self) -> str:
        return self.labels.get("app.kubernetes.io/component", "")

    @property
    def ports(self) -> Mapping[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container.get("ports", ())}

    @property
    def replicas(self) -> int:
        return int(self.object["spec"].get("replicas", 1))

    @property
    def mounts(self) -> Mapping[str, Object]:
        """By the volume that is mounted."""
        return {mount["name"]: mount for mount in self.container.get("volumeMounts", ())}

    @property
    def volumes(self) -> Mapping[str, Object]:
        own = {volume["name"]: volume for volume in self.pod.get("volumes", ())}
        claimed = {each["metadata"]["name"]: each for each in self.object["spec"].get("volumeClaimTemplates", ())}
        return own | claimed

    @property
    def command(self) -> Sequence[str]:
        return [*self.container.get("command", ()), *self.container.get("args", ())]


@dataclass(frozen=True)
class Namespace:
    """The objects of a folder that is applied, which go into one namespace."""

    objects: Sequence[Object]
    # The addresses of what is in another one.
    elsewhere: Mapping[str, set[int]]

    @cached_property
    def workloads(self) -> Sequence[Workload]:
        return [Workload(each) for each in self.of(*WORKLOADS)]

    def of(self, *kinds: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] in kinds]

    def names(self, kind: str) -> set[str]:
        return {each["metadata"]["name"] for each in self.of(kind)}

    def selected(self, labels: Mapping[str, str]) -> list[Workload]:
        return [each for each in self.workloads if labels.items() <= each.labels.items()]

    def components(self, *names: str) -> list[Workload]:
        return [each for each in self.workloads if each.component in names]

    def addresses(self) -> Mapping[str, set[int]]:
        """host: ports, of services and of each replica by the name that a headless one gives it."""
        found: dict[str, set[int]] = dict(self.elsewhere)
        for service in self.of("Service"):
            name, spec = service["metadata"]["name"], service["spec"]
            found[name] = {port["port"] for port in spec["ports"]}
            for each in self.selected(spec["selector"]):
                if spec.get("clusterIP") == "None" and each.object["spec"].get("serviceName") == name:
                    found |= {f"{each.name}-{number}.{name}": found[name] for number in range(each.replicas)}
        return found
