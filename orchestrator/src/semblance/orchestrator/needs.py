"""What the service needs from outside, each part guarded by a breaker with a probe of its own."""

from collections.abc import Callable, Coroutine
from typing import Any

from semblance.orchestrator.dependency import Dependency, Probe, guarded
from semblance.orchestrator.ports import InferenceServer, MetadataStore, Ports, VectorIndex
from semblance.orchestrator.release import Release
from semblance.orchestrator.replicas import Replica, Replicas


class Needs:
    """`models`, `index` and `metadata` are the ports to work with; `vectors` and `truth` tell of the last two.

    A probe asks what the release needs: both models as it names them, its collection, loaded, and its metadata store.
    Where models have failed they are to compute, too: a Triton may answer all questions while they can't.
    """

    def __init__(self, ports: Ports, release: Callable[[], Release | None], on_change: Callable[[], None]) -> None:
        """`on_change` is told when a part becomes available or unavailable."""
        self._release = release
        replicas = [
            Replica(server, Dependency(name, self._probe_of_models(server), on_change))
            for name, server in ports.models.items()
        ]
        self.models = Replicas(replicas)
        self.vectors = Dependency("Milvus", self._probe_of_index(ports.index), on_change)
        self.truth = Dependency("the metadata store", lambda *_: ports.metadata.attribute_types(), on_change)
        self.index: VectorIndex = guarded(ports.index, self.vectors)
        self.metadata: MetadataStore = guarded(ports.metadata, self.truth)
        self._dependencies = [*(replica.dependency for replica in replicas), self.vectors, self.truth]

    def check_search(self) -> None:
        """Raises DependencyUnavailable where a search would fail at one of its steps, before anything is computed."""
        self.models.check_available()
        self.vectors.check()

    def watches(self) -> list[Coroutine[Any, Any, None]]:
        """To be run for ever once there is a release."""
        return [dependency.watch() for dependency in self._dependencies]

    def _probe_of_models(self, server: InferenceServer) -> Probe:
        async def probe(timeout: float, failed: bool) -> None:
            if release := self._release():
                for model in (release.detector, release.embedder):
                    await server.check(model, timeout)
                    if failed:
                        with server.batch(model, rows=1) as batch:
                            batch.pixels[:] = model.pad_value
                            await batch.infer(timeout)

        return probe

    def _probe_of_index(self, index: VectorIndex) -> Probe:
        async def probe(timeout: float, failed: bool) -> None:
            if release := self._release():
                await index.check(release, timeout)

        return probe
