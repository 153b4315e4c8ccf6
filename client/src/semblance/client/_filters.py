"""Conditions on an item's attributes: `(field("price") < 20) & ~field("colour").in_("red", "green")`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

Attribute = str | int | float | bool
"""A value of an item's attribute; whole numbers have 64 bits."""


class Operator(StrEnum):
    """How a comparison compares."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    IN = "in"


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition. Combine them with `&`, `|` and `~`.

    A comparison with an attribute that an item does not have is false, so `~` of it is true.
    """

    def __and__(self, other: Filter) -> All:
        return All((*_operands(self, All), *_operands(other, All)))

    def __or__(self, other: Filter) -> Any:
        return Any((*_operands(self, Any), *_operands(other, Any)))

    def __invert__(self) -> Not:
        return Not(self)

    def __bool__(self) -> NoReturn:
        # `a and b`, `not a` and `1 < field("x") < 2` would silently drop a part of what was meant.
        raise TypeError("a filter is neither true nor false: combine filters with &, | and ~, in parentheses")


@dataclass(frozen=True, slots=True)
class Comparison(Filter):
    """A field, an operator, and one value; one or more for `IN`."""

    field: str
    operator: Operator
    values: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class All(Filter):
    """Every one of the filters."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Any(Filter):
    """At least one of the filters."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """Not the filter."""

    filter: Filter


class Field:
    """An attribute's name, waiting for an operator."""

    __slots__ = ("_name",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self._name = name

    def __eq__(self, value: Attribute) -> Comparison:  # type: ignore[override]
        return Comparison(self._name, Operator.EQUAL, (value,))

    def __ne__(self, value: Attribute) -> Comparison:  # type: ignore[override]
        return Comparison(self._name, Operator.NOT_EQUAL, (value,))

    def __lt__(self, value: Attribute) -> Comparison:
        return Comparison(self._name, Operator.LESS, (value,))

    def __le__(self, value: Attribute) -> Comparison:
        return Comparison(self._name, Operator.LESS_OR_EQUAL, (value,))

    def __gt__(self, value: Attribute) -> Comparison:
        return Comparison(self._name, Operator.GREATER, (value,))

    def __ge__(self, value: Attribute) -> Comparison:
        return Comparison(self._name, Operator.GREATER_OR_EQUAL, (value,))

    def in_(self, *values: Attribute) -> Comparison:
        """Equal to one of the values."""
        return Comparison(self._name, Operator.IN, values)


def field(name: str) -> Field:
    """An attribute to compare, or the item's own `item_id`."""
    return Field(name)


def _operands(operand: Filter, kind: type[All] | type[Any]) -> tuple[Filter, ...]:
    """`a & b & c` is one list of three rather than a list in a list."""
    return operand.filters if isinstance(operand, kind) else (operand,)
