"""Conditions as they are typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semblance.client import Filter, field
from semblance.client.commands.expression import parse_comparison, parse_value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("price<20", field("price") < 20),
        ("price <= 20.5", field("price") <= 20.5),
        (" price > -1 ", field("price") > -1),
        ("price>=1e3", field("price") >= 1000.0),
        ("colour=red", field("colour") == "red"),
        ("colour==dark red", field("colour") == "dark red"),
        ("colour!=red", field("colour") != "red"),
        ("limited=true", field("limited") == True),  # noqa: E712
        ('sku="0012"', field("sku") == "0012"),
        ('sku="12"', field("sku") == "12"),
        ("sku=0012", field("sku") == "0012"),
        ('name=""', field("name") == ""),
        ('name="a<b"', field("name") == "a<b"),
    ],
)
def test_comparisons(text: str, expected: Filter) -> None:
    parsed = parse_comparison(text)
    # repr tells 1, 1.0 and True apart, which are equal.
    assert repr(parsed) == repr(expected)


@pytest.mark.parametrize("text", ["", "price", "price<", "<20", "price=<20", "price<20<30", 'a="b', "a b=c"])
def test_what_is_no_comparison_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="price<20"):
        parse_comparison(text)


@pytest.mark.parametrize("text", ["0012", "+49", "1_000", "nan", "inf", "1e999", "9223372036854775808x", "0x10", "١٢"])
def test_texts_that_only_look_like_numbers_stay_texts(text: str) -> None:
    assert parse_value(text) == text


@given(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_values_are_read_as_they_are_written(value: float) -> None:
    parsed = parse_value(str(value))
    assert (type(parsed), parsed) == (type(value), value)


@given(st.text())
def test_any_text_is_a_comparison_or_a_value_error(text: str) -> None:
    try:
        parse_comparison(text)
    except ValueError:
        return
    assert any(sign in text for sign in "<>=")
