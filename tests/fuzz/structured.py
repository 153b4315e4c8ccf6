"""Messages that are well formed and mean something, drawn by hypothesis: what random bytes seldom are."""

from collections.abc import Callable

from google.protobuf.message import Message
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from semblance.v1.catalog_pb2 import PutRequest
from semblance.v1.item_pb2 import Comparison, Filter, FilterList, Item, ItemImage, Value
from semblance.v1.search_pb2 import SearchOptions, SearchRequest
from tests.fuzz import targets

INT64 = st.integers(-(2**63), 2**63 - 1)
# What must not get out of a string literal, and text of any kind.
TEXTS = st.one_of(
    st.text(max_size=40),
    st.text('"\\\n\r\t\0 =()[]aAnd', max_size=40),
    st.sampled_from(['" or true or "', "\\", '\\"', "\u2028", "${x}", "{x}", "%s", "x" * 5000]),
)
VALUES = st.one_of(
    st.builds(Value, string_value=TEXTS),
    st.builds(Value, int_value=INT64),
    st.builds(Value, double_value=st.floats()),
    st.builds(Value, bool_value=st.booleans()),
    st.builds(Value),
)
FIELDS = st.one_of(st.sampled_from([*targets.TYPES, "item_id"]), TEXTS)
COMPARISONS = st.builds(
    lambda field, operator, values: Filter(comparison=Comparison(field=field, operator=operator, values=values)),
    FIELDS,
    st.sampled_from(Comparison.Operator.values()),
    st.lists(VALUES, max_size=4),
)


def _of_type(field: str) -> st.SearchStrategy[Filter]:
    """A comparison that is accepted: the field with values of its own type."""
    values = {
        "price": st.builds(Value, double_value=st.floats(allow_nan=False, allow_infinity=False)),
        "stock": st.one_of(st.builds(Value, int_value=INT64), st.builds(Value, double_value=st.floats(-1e300, 1e300))),
    }.get(field, st.builds(Value, string_value=TEXTS))
    return st.builds(
        lambda value, more, operator: Filter(
            comparison=Comparison(
                field=field, operator=operator, values=[value, *more] if operator == Comparison.IN else [value]
            )
        ),
        values,
        st.lists(values, max_size=3),
        st.sampled_from(Comparison.Operator.values()[1:]),
    )


def _not(child: Filter) -> Filter:
    message = Filter()
    getattr(message, "not").CopyFrom(child)
    return message


FILTERS = st.recursive(
    st.one_of(COMPARISONS, *map(_of_type, ("colour", "item_id", "price", "stock"))),
    lambda children: st.one_of(
        st.builds(lambda each: Filter(all=FilterList(filters=each)), st.lists(children, max_size=3)),
        st.builds(lambda each: Filter(any=FilterList(filters=each)), st.lists(children, max_size=3)),
        st.builds(_not, children),
    ),
    max_leaves=12,
)
SEARCHES = st.builds(lambda where: SearchRequest(image=b"x", options=SearchOptions(filter=where)), FILTERS)
PUTS = st.builds(
    lambda item_id, attributes, images: PutRequest(
        item=Item(item_id=item_id, attributes=attributes, images=[ItemImage(data=data) for data in images])
    ),
    TEXTS,
    st.dictionaries(FIELDS, VALUES, max_size=6),
    st.lists(st.binary(max_size=8), max_size=3),
)

PROPERTIES: dict[str, tuple[st.SearchStrategy[Message], Callable[[bytes], None]]] = {
    "filters": (SEARCHES, targets.search),
    "items": (PUTS, targets.put),
}


def explore(name: str, inputs: int, number: int) -> None:
    """Tries `inputs` messages, the same ones for the same `number`. Raises what the smallest bad one raises."""
    strategy, check = PROPERTIES[name]

    @seed(number)
    @settings(max_examples=inputs, deadline=None, database=None, print_blob=True, suppress_health_check=[*HealthCheck])
    @given(strategy)
    def run(message: Message) -> None:
        check(message.SerializeToString())

    run()
