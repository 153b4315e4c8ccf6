"""Filters, and how they go over the wire."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format

from semblance.client import Filter, field
from semblance.client._translate import filter_message, value_message
from semblance.v1 import item_pb2


def parsed(text: str) -> item_pb2.Filter:
    return text_format.Parse(text, item_pb2.Filter())


price = field("price")


@pytest.mark.parametrize(
    ("condition", "operator"),
    [
        (price == 1, "EQUAL"),
        (price != 1, "NOT_EQUAL"),
        (price < 1, "LESS"),
        (price <= 1, "LESS_OR_EQUAL"),
        (price > 1, "GREATER"),
        (price >= 1, "GREATER_OR_EQUAL"),
        (price.in_(1), "IN"),
    ],
)
def test_operators(condition: Filter, operator: str) -> None:
    expected = f'comparison {{ field: "price" operator: {operator} values {{ int_value: 1 }} }}'
    assert filter_message(condition) == parsed(expected)


def test_values_keep_their_type() -> None:
    assert value_message(True).WhichOneof("kind") == "bool_value"
    assert value_message(1).WhichOneof("kind") == "int_value"
    assert value_message(1.0).WhichOneof("kind") == "double_value"
    assert value_message("1").WhichOneof("kind") == "string_value"
    with pytest.raises(TypeError, match="list"):
        value_message([1])  # type: ignore[arg-type]


def test_combinations_are_flat_lists_and_nest_where_they_must() -> None:
    a, b, c = price == 1, price == 2, price == 3
    one, two, three = (str(filter_message(condition)) for condition in (a, b, c))
    all_three = f"all {{ filters {{ {one} }} filters {{ {two} }} filters {{ {three} }} }}"
    assert filter_message(a & b & c) == filter_message(a & (b & c)) == parsed(all_three)
    assert filter_message(a | b | c) == parsed(all_three.replace("all {", "any {", 1))
    nested = f"any {{ filters {{ all {{ filters {{ {one} }} filters {{ {two} }} }} }} filters {{ {three} }} }}"
    assert filter_message(a & b | c) == parsed(nested)
    assert filter_message(~(a & b)) == parsed(f"not {{ all {{ filters {{ {one} }} filters {{ {two} }} }} }}")


@pytest.mark.parametrize(
    "mistake",
    [lambda: (price > 1) and (price < 2), lambda: not (price > 1), lambda: 1 < price < 2, lambda: bool(price == 1)],
)
def test_words_that_python_would_evaluate_are_refused(mistake: Any) -> None:
    with pytest.raises(TypeError, match="&"):
        mistake()
