"""What a release's figures have to be for it to be activated, such as `overlap@10>=0.8, p99_ratio<=1.3`."""

import operator
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.observations import FIGURES, Figure

_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*([a-z0-9_@]+)\s*(>=|<=|>|<)\s*([+-]?[0-9]+(?:\.[0-9]+)?)\s*")


@dataclass(frozen=True, slots=True)
class Requirement:
    figure: str
    sign: str
    bound: float


def parse_requirements(texts: Sequence[str]) -> tuple[Requirement, ...]:
    """Each text may hold several, separated by commas. Raises InvalidArgument."""
    return tuple(_parsed(part) for text in texts for part in text.split(","))


def _parsed(text: str) -> Requirement:
    match = _FORM.fullmatch(text)
    if match is None or match[1] not in FIGURES:
        raise InvalidArgument(
            f"{reprlib.repr(text.strip())} is no requirement; expected a figure, one of {' '.join(_SIGNS)}, and a "
            f"number, such as overlap@10>=0.8. The figures are {', '.join(FIGURES)}"
        )
    return Requirement(match[1], match[2], float(match[3]))


def failing(requirements: Sequence[Requirement], figures: Sequence[Figure]) -> list[str]:
    """Those that do not hold, in words."""
    values = {figure.name: figure.value for figure in figures}
    failed = []
    for each in requirements:
        value = values[each.figure]
        if value is None:
            failed.append(f"nothing was observed of {each.figure} yet, and {each.sign} {each.bound:g} is required")
        elif not _SIGNS[each.sign](value, each.bound):
            failed.append(f"{each.figure} is {value:.4g}, and {each.sign} {each.bound:g} is required")
    return failed
