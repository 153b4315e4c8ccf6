"""A number about a release, and what it says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` is None where there is nothing to tell from."""

    name: str
    value: float | None
    meaning: str
