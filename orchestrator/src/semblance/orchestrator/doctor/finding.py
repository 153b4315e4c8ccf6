"""What a check found."""

from dataclasses import dataclass, replace
from enum import StrEnum


class Outcome(StrEnum):
    OK = "ok"
    # The service runs, and slower, or not for long.
    WARNING = "warning"
    # The service does not run, or fails.
    FAILURE = "failure"
    # It could not be looked at, for want of something that has a finding of its own.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """`why` it matters and how to `mend` it are empty where nothing is wrong."""

    part: str
    check: str
    outcome: Outcome
    found: str
    why: str = ""
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """What is looked at, of which part, and `why` it matters."""

    part: str
    noun: str
    why: str

    def of(self, part: str) -> "Check":
        return replace(self, part=part)

    def ok(self, found: str) -> Finding:
        return Finding(self.part, self.noun, Outcome.OK, found)

    def unknown(self, found: str) -> Finding:
        return Finding(self.part, self.noun, Outcome.UNKNOWN, found)

    def warning(self, found: str, mend: str) -> Finding:
        return Finding(self.part, self.noun, Outcome.WARNING, found, self.why, mend)

    def failure(self, found: str, mend: str) -> Finding:
        return Finding(self.part, self.noun, Outcome.FAILURE, found, self.why, mend)


def amount(size: float) -> str:
    """Of bytes."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.0f} MiB"
