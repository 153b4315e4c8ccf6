"""What a release's figures have to be for it to be activated, such as `overlap@10>=0.8, evaluation.recall@1>0.9`."""

import operator
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.evaluation import NAME, PREFIX, Evaluation
from semblance.orchestrator.figure import Figure
from semblance.orchestrator.observations import FIGURES

_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*([a-z0-9_@.]+)\s*(>=|<=|>|<)\s*([+-]?[0-9]+(?:\.[0-9]+)?)\s*")


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
    if match is None or not _is_figure(match[1]):
        raise InvalidArgument(
            f"{reprlib.repr(text.strip())} is no requirement; expected a figure, one of {' '.join(_SIGNS)}, and a "
            f"number, such as overlap@10>=0.8. The figures are {', '.join(FIGURES)}; and those of an evaluation, such "
            f"as {PREFIX}recall@1"
        )
    return Requirement(match[1], match[2], float(match[3]))


def _is_figure(name: str) -> bool:
    """An evaluation may have any figures."""
    if name.startswith(PREFIX):
        return NAME.fullmatch(name.removeprefix(PREFIX)) is not None
    return name in FIGURES


def failing(
    requirements: Sequence[Requirement], figures: Sequence[Figure], active: str, evaluation: Evaluation | None
) -> list[str]:
    """Those that do not hold, in words. What was evaluated against another release than the `active` one does not: it
    does not say what is gained or lost now."""
    values = {figure.name: figure.value for figure in figures}
    failed = []
    for each in requirements:
        value, evaluated = values.get(each.figure), each.figure.startswith(PREFIX)
        if value is None:
            seen = "recorded" if evaluated else "observed"
            failed.append(f"nothing was {seen} of {each.figure} yet, and {each.sign} {each.bound:g} is required")
        elif evaluated and evaluation and evaluation.against not in ("", active):
            failed.append(
                f"{each.figure} was measured against {evaluation.against}, and {active} is active; evaluate again"
            )
        elif not _SIGNS[each.sign](value, each.bound):
            failed.append(f"{each.figure} is {value:.4g}, and {each.sign} {each.bound:g} is required")
    return failed
