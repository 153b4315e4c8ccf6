"""What was measured of a release on labelled queries, by whom the service does not know: it keeps the figures."""

import math
import re
import reprlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.figure import Figure

# What its figures' names begin with in a report and in requirements.
PREFIX = "evaluation."
NAME = re.compile(r"[a-z][a-z0-9_@.]{0,63}")
MAX_FIGURES = 500
MAX_MEANING = 256


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`against`: the release that it was compared with, empty where it was measured alone."""

    against: str
    figures: tuple[Figure, ...]
    recorded_at: datetime

    def __post_init__(self) -> None:
        """Raises InvalidArgument."""
        _check(self.figures)

    def reported(self) -> tuple[Figure, ...]:
        """As a report names them."""
        return tuple(Figure(PREFIX + each.name, each.value, each.meaning) for each in self.figures)


def _check(figures: Sequence[Figure]) -> None:
    if not 1 <= len(figures) <= MAX_FIGURES:
        raise InvalidArgument(f"an evaluation must have 1 to {MAX_FIGURES} figures, and this one has {len(figures)}")
    names: set[str] = set()
    for each in figures:
        if not NAME.fullmatch(each.name):
            raise InvalidArgument(
                f"{reprlib.repr(each.name)} can't be a figure's name: use up to 64 lower-case letters, digits, and "
                "_ @ . signs, a letter first, such as recall@1_difference_low"
            )
        if each.name in names:
            raise InvalidArgument(f"{each.name} is there twice; a figure has one value")
        names.add(each.name)
        if each.value is None or not math.isfinite(each.value):
            raise InvalidArgument(f"{each.name} must have a finite number; leave out what was not measured")
        if len(each.meaning) > MAX_MEANING or any(unicodedata.category(sign) == "Cc" for sign in each.meaning):
            raise InvalidArgument(
                f"the meaning of {each.name} must have at most {MAX_MEANING} characters, no control characters among "
                "them"
            )
