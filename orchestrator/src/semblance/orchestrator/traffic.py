"""Which release serves what."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from semblance.orchestrator.errors import ContractMismatch
from semblance.orchestrator.release import Canary, Release

# Callers fall into so many parts: a percentage has two decimals.
PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """`refusals`: why requests of a release are refused, by its id: a model or its collection is not what it says."""

    active: Release
    canary: tuple[Release, Canary] | None = None
    shadow: tuple[Release, float] | None = None
    refusals: Mapping[str, ContractMismatch] = field(default_factory=dict)

    @property
    def releases(self) -> Sequence[Release]:
        """The active one first."""
        others = [each[0] for each in (self.canary, self.shadow) if each is not None]
        return list(dict.fromkeys([self.active, *others]))

    def chosen(self, caller: str) -> Release:
        """The one that a caller's searches are for, refused or not."""
        if self.canary is not None and _is_chosen(caller, *self.canary):
            return self.canary[0]
        return self.active

    def for_search(self, caller: str) -> Release:
        """Raises ContractMismatch where its release is refused."""
        release = self.chosen(caller)
        self.check(release)
        return release

    def for_change(self) -> Release:
        """That of puts and of the catalogue. Raises as `for_search` does."""
        self.check(self.active)
        return self.active

    def check(self, release: Release) -> None:
        """Raises ContractMismatch, each time another one, where the release is refused."""
        if mismatch := self.refusals.get(release.release_id):
            raise ContractMismatch(str(mismatch))


def _is_chosen(caller: str, release: Release, canary: Canary) -> bool:
    """Whether a canary serves a caller: always the same, and still when its percentage grows."""
    if caller in canary.callers:
        return True
    digest = hashlib.sha256(f"{release.release_id}\0{caller}".encode()).digest()
    return int.from_bytes(digest[:8]) % PARTS < canary.percent * PARTS / 100
