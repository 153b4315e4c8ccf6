"""Conditions as they are typed: `price<20`, `colour=red`, `sku="0012"`."""

from __future__ import annotations

import re

import click

from semblance.client._filters import Attribute, Comparison, Filter, Operator

_COMPARISON = re.compile(
    r"""\s*(?P<field>[^\s<>=!"]+)\s*
        (?P<operator><=|>=|==|!=|<|>|=)\s*
        (?P<value>"[^"]*"|[^\s<>=!"](?:[^<>="]*[^\s<>="])?)\s*""",
    re.VERBOSE,
)
_INTEGER = re.compile(r"-?(0|[1-9]\d*)")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
INT64 = range(-(2**63), 2**63)


def parse_value(text: str) -> Attribute:
    """A number or a boolean where the text is written as one, otherwise the text.

    Codes such as 0012 and +49 stay text: as a number they would lose what tells them apart.

    >>> parse_value("12"), parse_value("0012"), parse_value("1.5"), parse_value("True"), parse_value("red")
    (12, '0012', 1.5, True, 'red')
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text) and int(text) in INT64:
        return int(text)
    if _NUMBER.fullmatch(text) and abs(float(text)) != float("inf"):
        return float(text)
    return text


def parse_comparison(text: str) -> Comparison:
    """The filter that a comparison means; text in double quotes is always a string. Raises ValueError.

    >>> parse_comparison("price <= 20")
    Comparison(field='price', operator=<Operator.LESS_OR_EQUAL: '<='>, values=(20,))
    """
    match = _COMPARISON.fullmatch(text)
    if match is None:
        raise ValueError(f'{text!r} is not a comparison such as price<20, colour=red or sku="0012"')
    value, operator = match["value"], match["operator"]
    literal = value[1:-1] if value.startswith('"') else parse_value(value)
    return Comparison(match["field"], Operator("==" if operator == "=" else operator), (literal,))


class ComparisonType(click.ParamType[Filter]):
    """An option's value that is a comparison."""

    name = "comparison"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Filter:
        try:
            return parse_comparison(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
