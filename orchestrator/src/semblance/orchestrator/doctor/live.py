"""What the registry says is live, for the parts that are compared with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from semblance.orchestrator.item import CatalogSize
from semblance.orchestrator.release import ModelVersion, Presence, Registered


@dataclass(frozen=True, slots=True)
class Live:
    """`releases` are live; `present` the orchestrators that run. `sizes`, by collection: what it should hold, and how
    many items are not settled there. `problem`: why nothing of it is known."""

    releases: tuple[Registered, ...] = ()
    present: tuple[Presence, ...] = ()
    sizes: Mapping[str, tuple[CatalogSize, int]] = field(default_factory=dict)
    problem: str = ""

    @property
    def models(self) -> list[ModelVersion]:
        """Of all releases, each once."""
        both = [(each.release.detector, each.release.embedder) for each in self.releases]
        return list(dict.fromkeys(model for pair in both for model in pair))
