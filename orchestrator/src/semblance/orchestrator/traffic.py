"""Which release serves what."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable, NotFound, WrongState
from semblance.orchestrator.release import Canary, Release, ReleaseState

# Callers fall into so many parts: a percentage has two decimals.
PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """What requests are served with.

    Attributes:
        ready: releases beside these that serve whoever names one.
        others: the states of those that serve nobody, by id; a ready one among them was not checked here yet.
        refusals: why requests of a release are refused, by its id: a model or its collection is not what it says.
    """

    active: Release
    canary: tuple[Release, Canary] | None = None
    shadow: tuple[Release, float] | None = None
    ready: tuple[Release, ...] = ()
    others: Mapping[str, ReleaseState] = field(default_factory=dict)
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

    def for_search(self, caller: str, named: str = "") -> Release:
        """The release that is named, else the one that the caller's searches are for.

        Raises ContractMismatch where it is refused; where the one that is named serves nobody, NotFound, WrongState or
        DependencyUnavailable.
        """
        release = self._named(named) if named else self.chosen(caller)
        self.check(release)
        return release

    def _named(self, release_id: str) -> Release:
        serving = {each.release_id: each for each in (*self.ready, *self.releases)}
        if release_id in serving:
            return serving[release_id]
        state = self.others.get(release_id)
        if state is None:
            raise NotFound(f"there is no release {release_id!r}; {', '.join(sorted(serving))} can be searched")
        if state is ReleaseState.READY:
            raise DependencyUnavailable(f"release {release_id} is ready, and not checked here yet; try again")
        raise WrongState(
            f"release {release_id} is {state}, and only one that is ready or active can be searched; "
            f"{', '.join(sorted(serving))} can"
        )

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
