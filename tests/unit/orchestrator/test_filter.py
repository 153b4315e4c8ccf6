"""Which filters are refused before the index sees them."""

import re

import pytest

from semblance.orchestrator.errors import InvalidFilter
from semblance.orchestrator.filter import All, Any, Comparison, Filter, Not, Operator, check_filter
from semblance.orchestrator.item import AttributeType, Value

TYPES = {
    "colour": AttributeType.STRING,
    "price": AttributeType.DOUBLE,
    "stock": AttributeType.INTEGER,
    "rare": AttributeType.BOOLEAN,
}


def comparison(field: str, operator: Operator, *values: Value) -> Comparison:
    return Comparison(field, operator, values)


def nested(depth: int) -> Filter:
    node: Filter = comparison("stock", Operator.EQUAL, 1)
    for _ in range(depth - 1):
        node = Not(node)
    return node


@pytest.mark.parametrize(
    "where",
    [
        comparison("colour", Operator.EQUAL, "red"),
        comparison("item_id", Operator.IN, "a", "b"),
        comparison("price", Operator.LESS, 3),
        comparison("stock", Operator.GREATER, 2.5),
        comparison("rare", Operator.NOT_EQUAL, True),
        All((comparison("stock", Operator.EQUAL, 1), Not(Any((comparison("price", Operator.LESS, 1.0),))))),
        nested(16),
    ],
)
def test_accepts(where: Filter) -> None:
    check_filter(where, TYPES)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (comparison("size", Operator.EQUAL, 1), "unknown filter field 'size'; the catalogue has colour, item_id"),
        (comparison("stock", Operator.EQUAL, "1"), "stock is a integer, and is compared with the string '1'"),
        (comparison("colour", Operator.EQUAL, 1), "colour is a string"),
        (comparison("stock", Operator.EQUAL, True), "compared with the boolean True"),
        (comparison("rare", Operator.EQUAL, 1), "rare is a boolean"),
        (comparison("rare", Operator.LESS, True), "compare it with == or !="),
        (comparison("item_id", Operator.EQUAL, 1), "item_id is a string"),
        (comparison("stock", Operator.EQUAL), "exactly one value, and got 0"),
        (comparison("stock", Operator.EQUAL, 1, 2), "exactly one value, and got 2"),
        (comparison("stock", Operator.IN), "one or more values, and got 0"),
        (comparison("stock", Operator.IN, *range(1001)), "at most 1000 values"),
        (All(()), "at least one filter"),
        (Any(()), "at least one filter"),
        (nested(17), "too large"),
        (Any((comparison("stock", Operator.EQUAL, 1),) * 256), "too large"),
        (Any((comparison("item_id", Operator.IN, *["x" * 256] * 1000),) * 2), "at most 262,144 characters together"),
        (Any((comparison("stock", Operator.IN, *range(1000)),) * 17), "at most 262,144 characters together"),
    ],
)
def test_refuses(where: Filter, message: str) -> None:
    with pytest.raises(InvalidFilter, match=re.escape(message)):
        check_filter(where, TYPES)
