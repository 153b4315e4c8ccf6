"""What the service needs from outside, each part guarded by a breaker with a probe of its own."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from semblance.orchestrator.dependency import Dependency, Probe, guarded
from semblance.orchestrator.ports import InferenceServer, MetadataStore, Ports, VectorIndex
from semblance.orchestrator.release import ModelVersion, Release
from semblance.orchestrator.replicas import Replica, Replicas


class Needs:
    """`models`, `index` and `metadata` are the ports to work with; `vectors` and `truth` tell of the last
    two, and `dependencies` of everything.

    A probe asks what the active release needs: both models as it names them, its collection, loaded, and its metadata
    store.
    A canary or shadow that is broken is to fail alone.
    Where models have failed they are to compute, too: a Triton may answer all questions while they can't.
    """

    def __init__(self, ports: Ports, releases: Callable[[], Sequence[Release]], on_change: Callable[[], None]) -> None:
        """`releases` are those that are served with, the active one first. `on_change` is told when a part becomes
        available or unavailable."""
        self._releases = releases
        replicas = [
            Replica(server, Dependency(name, self._probe_of_models(server), on_change))
            for name, server in ports.models.items()
        ]
        self.models = Replicas(replicas, self._counts_model)
        self.vectors = Dependency("Milvus", self._probe_of_index(ports.index), on_change)
        self.truth = Dependency("the metadata store", lambda *_: ports.metadata.attribute_types(), on_change)
        self.index: VectorIndex = guarded(ports.index, self.vectors, self._counts_collection)
        self.metadata: MetadataStore = guarded(ports.metadata, self.truth)
        self.dependencies = [*(replica.dependency for replica in replicas), self.vectors, self.truth]

    def check_search(self) -> None:
        """Raises DependencyUnavailable where a search would fail at one of its steps, before anything is computed."""
        self.models.check_available()
        self.vectors.check()

    def watches(self) -> list[Coroutine[Any, Any, None]]:
        """To be run for ever once there is a release."""
        return [dependency.watch() for dependency in self.dependencies]

    def _counts_model(self, model: ModelVersion) -> bool:
        return all(model in (active.detector, active.embedder) for active in self._releases()[:1])

    def _counts_collection(self, of: Release | str, *_: object) -> bool:
        collection = of if isinstance(of, str) else of.collection
        return all(collection == active.collection for active in self._releases()[:1])

    def _probe_of_models(self, server: InferenceServer) -> Probe:
        async def probe(timeout: float, failed: bool) -> None:
            for release in self._releases()[:1]:
                for model in (release.detector, release.embedder):
                    await server.check(model, timeout)
                    if failed:
                        with server.batch(model, rows=1) as batch:
                            batch.pixels[:] = model.pad_value
                            await batch.infer(timeout)

        return probe

    def _probe_of_index(self, index: VectorIndex) -> Probe:
        async def probe(timeout: float, failed: bool) -> None:
            for release in self._releases()[:1]:
                await index.check(release, timeout)

        return probe
