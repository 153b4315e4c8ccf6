"""Filters as expressions of Milvus' boolean language, with every value an escaped literal.

Milvus Lite has no expression templates, so values can't travel beside the expression. The three-valued logic of a
missing key differs between the servers, hence the `exists` before each comparison: with it a comparison is true or
false, never unknown. Everything is in brackets, because the servers give `exists` and `not` different precedence.
"""

import re
from collections.abc import Callable, Sequence

from semblance.orchestrator.errors import InvalidFilter
from semblance.orchestrator.filter import ITEM_ID, All, Any, Comparison, Filter, Not, Operator
from semblance.orchestrator.item import Value

INT64_MIN = -(2**63)

# The escapes that Milvus' parser (Go's strconv.Unquote) and Milvus Lite's both know; all else stands for itself.
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})

_FORBIDDEN = re.compile("[\0\ud800-\udfff]")

Membership = Callable[[str, Sequence[Value]], str]


def literal(value: Value) -> str:
    """A value as both servers parse it back.

    Raises InvalidFilter for what no stored attribute can be equal to: NUL, lone surrogates, integers beyond 64 bits,
    infinities and NaN.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            if not INT64_MIN <= value < 2**63:
                raise InvalidFilter(f"{value} is beyond 64-bit signed integers")
            # Milvus parses the sign apart from the digits, which overflow.
            return str(value) if value > INT64_MIN else f"({INT64_MIN + 1} - 1)"
        case float():
            if value - value != 0.0:
                raise InvalidFilter(f"{value} is not a finite number")
            # Milvus compares an integer with an integer exactly, with a double in double precision.
            return literal(int(value)) if _whole(value) else repr(value)
        case str():
            return text(value)


def text(value: str) -> str:
    """A string literal, in double quotes."""
    if _FORBIDDEN.search(value):
        raise InvalidFilter("text must not contain NUL or lone surrogates")
    return f'"{value.translate(_ESCAPES)}"'


def text_list(values: Sequence[str]) -> str:
    return f"[{', '.join(map(text, values))}]"


def one_of(path: str, values: Sequence[Value]) -> str:
    """Milvus' `in`, which takes values of one type only."""
    fractions = [literal(value) for value in values if isinstance(value, float) and not _whole(value)]
    others = [literal(value) for value in values if not isinstance(value, float) or _whole(value)]
    return " or ".join(f"({path} in [{', '.join(each)}])" for each in (others, fractions) if each)


def equal_to_one_of(path: str, values: Sequence[Value]) -> str:
    """The same for Milvus Lite, whose `in` does not take a path into a JSON field."""
    return " or ".join(f"({path} == {literal(value)})" for value in values)


def expression(root: Filter, membership: Membership) -> str:
    """`root` in Milvus' language; `membership` is how the server at hand says that an attribute is one of several."""
    match root:
        case Comparison():
            return _comparison(root, membership)
        case All(filters):
            return f"({' and '.join(expression(each, membership) for each in filters)})"
        case Any(filters):
            return f"({' or '.join(expression(each, membership) for each in filters)})"
        case Not(child):
            return f"(not {expression(child, membership)})"


def _comparison(comparison: Comparison, membership: Membership) -> str:
    field, operator, values = comparison.field, comparison.operator, comparison.values
    if field == ITEM_ID:
        if operator is Operator.IN:
            return f"({ITEM_ID} in {text_list([str(value) for value in values])})"
        return f"({ITEM_ID} {operator} {literal(values[0])})"
    path = f"attributes[{text(field)}]"
    if operator is Operator.IN:
        return f"((exists {path}) and ({membership(path, values)}))"
    return f"((exists {path}) and ({path} {operator} {literal(values[0])}))"


def _whole(value: float) -> bool:
    return value.is_integer() and abs(value) < 2**63
