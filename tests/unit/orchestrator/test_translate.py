"""What is refused on sight, and what becomes of the rest."""

import math
import re

import pytest

from semblance.orchestrator.errors import InvalidArgument, InvalidFilter
from semblance.orchestrator.filter import All, Comparison, Not, Operator
from semblance.orchestrator.grpc_edge import translate
from semblance.orchestrator.pipeline import Objects
from semblance.v1 import measure_pb2
from semblance.v1.catalog_pb2 import ListRequest, PutRequest
from semblance.v1.item_pb2 import Box, Filter, FilterList, Item, ItemImage, Value
from semblance.v1.item_pb2 import Comparison as ComparisonMessage
from semblance.v1.search_pb2 import SearchOptions

NAN = math.nan
IMAGES = [ItemImage(data=b"x")]


def equals(field: str, *values: Value) -> Filter:
    return Filter(comparison=ComparisonMessage(field=field, operator=ComparisonMessage.EQUAL, values=values))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SearchOptions(top_k=0), "top_k is 0, and must be 1 to 1000"),
        (SearchOptions(top_k=1001), "top_k is 1001"),
        (SearchOptions(min_detection_score=-0.1), "min_detection_score is -0.1, and must be 0 to 1"),
        (SearchOptions(min_detection_score=NAN), "min_detection_score is nan"),
        (SearchOptions(min_similarity=1.5), "min_similarity is 1.5, and must be -1 to 1"),
        (
            SearchOptions(min_similarity=-0.5, measure=measure_pb2.MANHATTAN),
            "min_similarity is -0.5, and must be a similarity by manhattan, 0 to 1",
        ),
        (SearchOptions(min_similarity=-0.5, measure=measure_pb2.L2), "by l2, 0 to 1"),
        (SearchOptions(min_similarity=-1.5, measure=measure_pb2.INNER_PRODUCT), "by inner_product, -1 to 1"),
        (
            SearchOptions.FromString(b"\x50\x09"),
            "there is no measure 9; use one of COSINE, INNER_PRODUCT, L2, ",
        ),
        (SearchOptions(release="R 2"), "'R 2' can't be a release's id"),
        (SearchOptions(min_similarity=NAN), "min_similarity is nan"),
        (SearchOptions.FromString(b"\x18\x09"), "objects is 9, and must be ALL, LARGEST or WHOLE_IMAGE"),
        (SearchOptions(objects=SearchOptions.LARGEST, boxes=[Box(x2=1, y2=1)]), "exclude each other"),
        (SearchOptions(boxes=[Box(x2=1, y2=1)] * 101), "101 boxes are given, and at most 100"),
    ],
)
def test_refuses_options(options: SearchOptions, message: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        translate.query(b"x", options)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (Filter(), "one is empty"),
        (Filter(all=FilterList(filters=[Filter()])), "one is empty"),
        (Filter(comparison=ComparisonMessage(field="a", values=[Value(int_value=1)])), "'a' has no operator"),
        (Filter(comparison=ComparisonMessage.FromString(b"\x0a\x01a\x10\x63")), "'a' has no operator"),
        (equals("a", Value()), "a value compared with 'a' is empty"),
        (equals("a", Value(double_value=NAN)), "is nan, and must be a finite number"),
        (equals("a", Value(string_value="x\0")), "no NUL"),
        (equals("a", Value(string_value="x" * 4097)), "at most 4096 characters"),
    ],
)
def test_refuses_filters(where: Filter, message: str) -> None:
    with pytest.raises(InvalidFilter, match=re.escape(message)):
        translate.query(b"x", SearchOptions(filter=where))


def test_defaults_of_a_query() -> None:
    query = translate.query(b"x", SearchOptions())
    assert (query.top_k, query.where, query.include_attributes) == (10, None, False)
    assert query.min_similarity == -math.inf
    assert (query.selection.objects, query.selection.boxes, query.selection.min_score) == (Objects.ALL, (), 0.25)


def test_every_operator_has_its_counterpart() -> None:
    for name, number in ComparisonMessage.Operator.items():
        if number:
            message = Filter(comparison=ComparisonMessage(field="a", operator=number, values=[Value(bool_value=True)]))
            where = translate.query(b"", SearchOptions(filter=message)).where
            assert where == Comparison("a", Operator[name], (True,))


def test_a_filter_keeps_its_shape() -> None:
    inverse = Filter()
    getattr(inverse, "not").CopyFrom(equals("b", Value(string_value="x")))
    message = Filter(all=FilterList(filters=[equals("a", Value(int_value=1)), inverse]))
    where = translate.query(b"", SearchOptions(filter=message)).where
    assert where == All((Comparison("a", Operator.EQUAL, (1,)), Not(Comparison("b", Operator.EQUAL, ("x",)))))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Item(item_id="", images=IMAGES), "1 to 256 characters, and this one has 0"),
        (Item(item_id="x" * 257, images=IMAGES), "this one has 257"),
        (Item(item_id="a\nb", images=IMAGES), "control characters"),
        (Item(item_id="a"), "1 to 64 images, and this one has 0"),
        (Item(item_id="a", images=IMAGES * 65), "this one has 65"),
        (
            Item(item_id="a", images=IMAGES, attributes={"1st": Value(int_value=1)}),
            "'1st' can't be an attribute's name",
        ),
        (Item(item_id="a", images=IMAGES, attributes={"item_id": Value(int_value=1)}), "'item_id' can't be"),
        (Item(item_id="a", images=IMAGES, attributes={"x" * 65: Value(int_value=1)}), "can't be an attribute's name"),
        (Item(item_id="a", images=IMAGES, attributes={"p": Value()}), "attribute p is empty"),
        (Item(item_id="a", images=IMAGES, attributes={"p": Value(double_value=math.inf)}), "attribute p is inf"),
        (Item(item_id="a", images=IMAGES, attributes={"p": Value(string_value="a\0b")}), "attribute p must have"),
        (
            Item(item_id="a", images=IMAGES, attributes={f"a{n}": Value(int_value=n) for n in range(65)}),
            "64 attributes, and this one has 65",
        ),
        (
            Item(item_id="a", images=IMAGES, attributes={f"a{n}": Value(string_value="ü" * 4000) for n in range(10)}),
            "bytes as JSON",
        ),
    ],
)
def test_refuses_items(item: Item, message: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        translate.draft(PutRequest(item=item))


def test_values_keep_their_types() -> None:
    attributes = {
        "s": Value(string_value=""),
        "i": Value(int_value=-(2**63)),
        "d": Value(double_value=1.0),
        "b": Value(bool_value=False),
    }
    draft = translate.draft(PutRequest(item=Item(item_id="日本 \U0001f0cf", images=IMAGES, attributes=attributes)))
    assert draft.item_id == "日本 \U0001f0cf"
    assert {name: (type(value), value) for name, value in draft.attributes.items()} == {
        "s": (str, ""),
        "i": (int, -(2**63)),
        "d": (float, 1.0),
        "b": (bool, False),
    }


@pytest.mark.parametrize("size", [0, 1001])
def test_refuses_page_sizes(size: int) -> None:
    with pytest.raises(InvalidArgument, match=f"page_size is {size}, and must be 1 to 1000"):
        translate.page_size(ListRequest(page_size=size))
    assert translate.page_size(ListRequest()) == 100
