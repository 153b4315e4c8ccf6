"""Conditions on an item's attributes, as a tree of frozen nodes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from semblance.orchestrator.errors import InvalidFilter
from semblance.orchestrator.item import AttributeType, Value

ITEM_ID = "item_id"
ATTRIBUTE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

# Deeper trees and longer lists are refused: an index turns each node into a step of its own.
MAX_DEPTH = 16
MAX_NODES = 256
MAX_VALUES = 1000
# Characters of all values together, a number counting as NUMBER_SIZE.
MAX_SIZE = 2**18
NUMBER_SIZE = 16


class Operator(StrEnum):
    EQUAL = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    IN = "in"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field` against one value, or several for IN. False for an item without the attribute."""

    field: str
    operator: Operator
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class All:
    filters: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Any:
    filters: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    filter: "Filter"


Filter = Comparison | All | Any | Not


def check_filter(root: Filter, types: Mapping[str, AttributeType]) -> None:
    """Raises InvalidFilter where the tree is too large, or compares what can't be compared.

    `types` are the catalogue's attributes; `item_id` is a string beside them.
    """
    nodes = size = 0
    stack = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        nodes += 1
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise InvalidFilter(f"the filter is too large: at most {MAX_NODES} nodes, {MAX_DEPTH} deep")
        match node:
            case Comparison():
                _check_comparison(node, types)
                size += sum(len(value) if isinstance(value, str) else NUMBER_SIZE for value in node.values)
                if size > MAX_SIZE:
                    raise InvalidFilter(
                        f"the values of the filter are too large: at most {MAX_SIZE:,} characters together, a number "
                        f"counting as {NUMBER_SIZE}"
                    )
            case All(filters) | Any(filters):
                if not filters:
                    raise InvalidFilter("`all` and `any` need at least one filter")
                stack.extend((child, depth + 1) for child in filters)
            case Not(child):
                stack.append((child, depth + 1))


def _check_comparison(comparison: Comparison, types: Mapping[str, AttributeType]) -> None:
    field, operator, values = comparison.field, comparison.operator, comparison.values
    expected = AttributeType.STRING if field == ITEM_ID else types.get(field)
    if expected is None:
        known = ", ".join(sorted([*types, ITEM_ID]))
        raise InvalidFilter(f"unknown filter field {field!r}; the catalogue has {known}")
    if not values or (operator is not Operator.IN and len(values) != 1):
        wanted = "one or more values" if operator is Operator.IN else "exactly one value"
        raise InvalidFilter(f"{field} {operator} takes {wanted}, and got {len(values)}")
    if len(values) > MAX_VALUES:
        raise InvalidFilter(f"{field} {operator} takes at most {MAX_VALUES} values, and got {len(values)}")
    if expected is AttributeType.BOOLEAN and operator not in (Operator.EQUAL, Operator.NOT_EQUAL):
        raise InvalidFilter(f"{field} is a boolean: compare it with == or !=, not {operator}")
    for value in values:
        given = AttributeType.of(value)
        if given is not expected and {given, expected} != {AttributeType.INTEGER, AttributeType.DOUBLE}:
            raise InvalidFilter(f"{field} is a {expected}, and is compared with the {given} {value!r}")
