"""What the checks have to say about an export."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters.

    An error refuses the import, unless what it is about may be left out; a warning should be looked at; a note says
    what was done.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        kind: the same words for all findings of a kind, such as "image missing".
        where: task and field, or file.
    """

    severity: Severity
    kind: str
    where: str
    problem: str
