"""What every vector index promises: Milvus Lite, the real Milvus standalone, and the fake.

A filter means what `semblance.orchestrator.testing.meets` says.
"""

import asyncio
import itertools
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from milvus_lite.search.filter import parse_expr  # type: ignore[import-untyped]
from milvus_lite.search.filter.ast import CmpOp, StringLit  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pymilvus import MilvusClient

from semblance.orchestrator.adapters import turns as milvus_lite_turns
from semblance.orchestrator.adapters.expression import literal, text
from semblance.orchestrator.adapters.milvus import MilvusIndex
from semblance.orchestrator.box import Box
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import (
    ContractMismatch,
    DeadlineExceeded,
    DependencyUnavailable,
    InvalidFilter,
)
from semblance.orchestrator.filter import ITEM_ID, All, Any, Comparison, Filter, Not, Operator
from semblance.orchestrator.item import Attributes, Value
from semblance.orchestrator.measure import METRICS, Measure, similarities
from semblance.orchestrator.ports import IndexEntry, IndexRow, VectorIndex
from semblance.orchestrator.release import IndexParameters, Release
from semblance.orchestrator.search import search
from semblance.orchestrator.testing import MemoryVectorIndex, example_release, meets
from semblance.orchestrator.threads import Threads
from semblance.serving import milvus, ports

DIMENSION = 32
TIMEOUT = 30.0
IMAGE = "0123456789abcdef" * 4

SERVERS = ["memory", "milvus_lite", pytest.param("milvus_standalone", marks=pytest.mark.standalone)]
REAL = SERVERS[1:]


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    """float32 [count, DIMENSION], of length 1, in every direction."""
    made = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def row(
    key: str, vector: NDArray[np.float32], item_id: str | None = None, attributes: Attributes | None = None
) -> IndexRow:
    return IndexRow(key, item_id or f"item-{key}", IMAGE, Box(1.5, 2.25, 30.0, 40.125), attributes or {}, vector)


def new_release(dimension: int = DIMENSION) -> Release:
    return example_release(dimension, collection=f"test_{uuid4().hex}")


@pytest.fixture
async def index(request: pytest.FixtureRequest, server: str) -> AsyncIterator[VectorIndex]:
    """Connected to a server that other tests share."""
    if server == "memory":
        yield MemoryVectorIndex()
        return
    milvus_index = MilvusIndex(request.getfixturevalue(server))
    yield milvus_index
    await milvus_index.close()


@pytest.fixture
async def release(index: VectorIndex) -> Release:
    """With a collection of its own, empty."""
    made = new_release()
    await index.create(made, TIMEOUT)
    return made


async def found(
    index: VectorIndex,
    release: Release,
    vector: NDArray[np.float32],
    where: Filter | None = None,
    limit: int = 100,
) -> list[str]:
    ((*neighbours,),) = await index.search(release, vector[None], limit, where, False, TIMEOUT)
    return [neighbour.item_id for neighbour in neighbours]


@pytest.mark.parametrize("server", SERVERS)
async def test_an_empty_collection_answers_with_nothing(index: VectorIndex, release: Release) -> None:
    await index.check(release, TIMEOUT)
    assert [list(each) for each in await index.search(release, vectors(3), 10, None, True, TIMEOUT)] == [[], [], []]
    assert await index.search(release, vectors(0), 10, None, True, TIMEOUT) == []


@pytest.mark.parametrize("server", SERVERS)
async def test_creating_again_keeps_the_rows(index: VectorIndex, release: Release) -> None:
    await index.upsert(release, [row("a", vectors(1)[0])], TIMEOUT)
    await index.create(release, TIMEOUT)
    assert await found(index, release, vectors(1)[0]) == ["item-a"]


@pytest.mark.parametrize("server", SERVERS)
async def test_several_may_create_at_once(index: VectorIndex) -> None:
    release = new_release()
    await asyncio.gather(*(index.create(release, TIMEOUT) for _ in range(3)))
    await index.check(release, TIMEOUT)


@pytest.mark.parametrize("server", SERVERS)
async def test_nearest_first_by_cosine(index: VectorIndex, release: Release) -> None:
    stored, queries = vectors(200), vectors(5, seed=1)
    # Lengths other than 1 do not matter.
    await index.upsert(release, [row(str(n), vector * (n % 3 + 1)) for n, vector in enumerate(stored)], TIMEOUT)
    answers = await index.search(release, queries, 10, None, False, TIMEOUT)
    for query, answer in zip(queries, answers, strict=True):
        cosines = stored @ query
        nearest = np.argsort(-cosines)[:10]
        assert [neighbour.item_id for neighbour in answer] == [f"item-{n}" for n in nearest]
        assert [neighbour.similarity for neighbour in answer] == pytest.approx(cosines[nearest], abs=1e-5)
        assert {(neighbour.image_id, neighbour.box) for neighbour in answer} == {(IMAGE, Box(1.5, 2.25, 30, 40.125))}
    opposite = await index.search(release, -stored[:1], 200, None, False, TIMEOUT)
    assert opposite[0].similarities[-1] == pytest.approx(-1, abs=1e-5)


async def stored_by(index: VectorIndex, metric: Measure, stored: NDArray[np.float32]) -> Release:
    """With the vectors as the rows of items that have three each."""
    release = replace(new_release(), index=IndexParameters(metric=metric))
    await index.create(release, TIMEOUT)
    await index.check(release, TIMEOUT)
    rows = [row(f"{number:03}", vector, f"item-{number // 3}") for number, vector in enumerate(stored)]
    await index.upsert(release, rows, TIMEOUT)
    return release


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("metric", METRICS)
async def test_nearest_first_by_each_metric(index: VectorIndex, metric: Measure) -> None:
    stored, queries = vectors(210), vectors(5, seed=1)
    release = await stored_by(index, metric, stored)
    try:
        answers = await index.search(release, queries, 30, None, False, TIMEOUT)
        for query, answer in zip(queries, answers, strict=True):
            expected = similarities(metric, query, stored)
            nearest = np.argsort(-expected)[:30]
            assert list(answer.item_ids) == [f"item-{number // 3}" for number in nearest]
            assert list(answer.similarities) == pytest.approx(expected[nearest], abs=1e-5)
            assert [each.similarity for each in answer] == list(answer.similarities)
            assert answer.vectors is None
        (same,) = await index.search(release, stored[:1], 210, None, False, TIMEOUT)
        # The square root of what is left of a distance of 0.
        assert same.similarities[0] == pytest.approx(1, abs=1e-3)
    finally:
        await index.drop(release.collection, TIMEOUT)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("metric", METRICS)
async def test_vectors_come_where_they_are_asked_for(index: VectorIndex, metric: Measure) -> None:
    stored, queries = vectors(60), vectors(3, seed=1)
    release = await stored_by(index, metric, stored)
    try:
        for answer in await index.search(release, queries, 20, None, True, TIMEOUT, include_vectors=True):
            assert answer.vectors is not None
            assert answer.vectors.shape == (20, DIMENSION)
            for found, vector in zip(answer, answer.vectors, strict=True):
                (number,) = np.flatnonzero(np.abs(stored - vector).max(axis=1) < 1e-6)
                assert found.item_id == f"item-{number // 3}"
        nobody = Comparison(ITEM_ID, Operator.EQUAL, ("nobody",))
        for answer in await index.search(release, queries, 20, nobody, False, TIMEOUT, include_vectors=True):
            assert answer.vectors is not None
            assert answer.vectors.shape == (0, DIMENSION)
    finally:
        await index.drop(release.collection, TIMEOUT)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("measure", Measure)
async def test_items_by_each_measure_are_those_of_a_look_at_every_row(index: VectorIndex, measure: Measure) -> None:
    """All rows are candidates here: what is left to get wrong is the order, the scale and the grouping."""
    stored, queries = vectors(90), vectors(4, seed=1)
    release = await stored_by(index, Measure.COSINE, stored)
    threads = Threads(1)
    try:
        answers = await search(
            queries, 10, -math.inf, None, False, measure, release, index, threads, Deadline.after(TIMEOUT)
        )
        for query, hits in zip(queries, answers, strict=True):
            best = similarities(measure, query, stored).reshape(-1, 3).max(axis=1)
            assert [hit.similarity for hit in hits] == pytest.approx(np.sort(best)[::-1][:10], abs=1e-5)
            assert [best[int(hit.item_id.removeprefix("item-"))] for hit in hits] == pytest.approx(
                [hit.similarity for hit in hits], abs=1e-5
            )
            assert len({hit.item_id for hit in hits}) == 10
    finally:
        threads.close()
        await index.drop(release.collection, TIMEOUT)


@pytest.mark.parametrize("server", SERVERS)
async def test_an_acknowledged_write_is_searchable_at_once(index: VectorIndex, release: Release) -> None:
    for number, vector in enumerate(vectors(20)):
        await index.upsert(release, [row(str(number), vector)], TIMEOUT)
        assert (await found(index, release, vector))[0] == f"item-{number}"


@pytest.mark.parametrize("server", SERVERS)
async def test_the_same_key_replaces(index: VectorIndex, release: Release) -> None:
    first, second = vectors(2)
    for _ in range(2):
        await index.upsert(release, [row("a", first, "i", {"n": 1}), row("b", first, "i")], TIMEOUT)
    assert await found(index, release, first) == ["i", "i"]
    await index.upsert(release, [row("a", second, "j", {"n": 2})], TIMEOUT)
    (answer,) = await index.search(release, second[None], 10, None, True, TIMEOUT)
    assert [(neighbour.item_id, neighbour.attributes) for neighbour in answer] == [("j", {"n": 2}), ("i", {})]


@pytest.mark.parametrize("server", SERVERS)
async def test_deletes_an_items_rows_but_those_kept(index: VectorIndex, release: Release) -> None:
    (vector,) = vectors(1)
    strange = 'it\'s "q" \\ é 😀'
    await index.upsert(release, [row(key, vector, strange) for key in "abc"] + [row("d", vector, "other")], TIMEOUT)
    await index.delete(release, strange, {"a", "d", "missing"}, TIMEOUT)
    assert sorted(await found(index, release, vector)) == sorted([strange, "other"])
    await index.delete(release, strange, (), TIMEOUT)
    await index.delete(release, strange, (), TIMEOUT)
    assert await found(index, release, vector) == ["other"]
    await index.upsert(release, [row("a", vector, strange)], TIMEOUT)
    assert sorted(await found(index, release, vector)) == sorted([strange, "other"])


@pytest.mark.parametrize("server", SERVERS)
async def test_gives_attributes_where_asked_for(index: VectorIndex, release: Release) -> None:
    (vector,) = vectors(1)
    attributes: dict[str, Value] = {"s": 'a"b\\\n', "i": 2**53 + 1, "d": 2.0, "b": False, "item_id": "x", "key": "y"}
    await index.upsert(release, [row("a", vector, "i", attributes)], TIMEOUT)
    ((asked,),) = await index.search(release, vector[None], 1, None, True, TIMEOUT)
    ((unasked,),) = await index.search(release, vector[None], 1, None, False, TIMEOUT)
    assert asked.attributes == attributes
    assert {name: type(value) for name, value in asked.attributes.items()} == {
        name: type(value) for name, value in attributes.items()
    }
    assert unasked.attributes == {}


@pytest.mark.parametrize("server", SERVERS)
async def test_answers_with_thousands_of_rows(index: VectorIndex, release: Release) -> None:
    many = 900
    await index.upsert(release, [row(str(n), vector) for n, vector in enumerate(vectors(many))], TIMEOUT)
    for limit in (many, 16_384):
        assert len(set(await found(index, release, vectors(1)[0], limit=limit))) == many


@pytest.mark.parametrize("server", SERVERS)
async def test_lists_what_rows_say_by_ranges_of_item_ids(index: VectorIndex, release: Release) -> None:
    ids = ["", " ", "A", "B", "a", 'a"\\', "é", "\uffff", "😀"]
    stored = [
        row(f"{key}{number}", vectors(1)[0], item_id, {"n": number, "d": 2.0, "s": item_id})
        for number, item_id in enumerate(ids)
        for key in "kl"
    ]
    await index.upsert(release, stored, TIMEOUT)
    for after, until in itertools.combinations([*ids, None], 2):
        assert after is not None
        expected = [each for each in stored if after < each.item_id and (until is None or each.item_id <= until)]
        found = await index.entries(release, after, until, 100, TIMEOUT)
        assert sorted(found, key=lambda each: each.key) == sorted(
            (IndexEntry(each.key, each.item_id, each.image_id, each.box, each.attributes) for each in expected),
            key=lambda each: each.key,
        )
    assert len(await index.entries(release, "", None, 3, TIMEOUT)) == 3


@pytest.mark.parametrize("server", SERVERS)
async def test_counts_the_rows_with_all_writes_before(index: VectorIndex, release: Release) -> None:
    assert await index.count(release, TIMEOUT) == 0
    stored = vectors(20)
    await index.upsert(release, [row(str(n), vector, f"i{n % 4}") for n, vector in enumerate(stored)], TIMEOUT)
    assert await index.count(release, TIMEOUT) == 20
    await index.upsert(release, [row("0", stored[1], "i0"), row("20", stored[0], "i0")], TIMEOUT)
    assert await index.count(release, TIMEOUT) == 21
    await index.delete(release, "i1", {"1"}, TIMEOUT)
    assert await index.count(release, TIMEOUT) == 17


@pytest.mark.parametrize("server", SERVERS)
async def test_a_dropped_collection_is_gone(index: VectorIndex, release: Release) -> None:
    await index.upsert(release, [row("a", vectors(1)[0])], TIMEOUT)
    await index.drop(release.collection, TIMEOUT)
    await index.drop(release.collection, TIMEOUT)
    with pytest.raises(ContractMismatch):
        await index.check(release, TIMEOUT)


# Filters.

# Values that end a literal, start another one, or mean something to a parser.
ATTACKS = [
    '"',
    "'",
    "\\",
    '\\"',
    '" or "" == "',
    '" or item_id != "',
    "' or '' == '",
    '"] or item_id in ["x',
    '\\" or true or \\"',
    "\\\\",
    "\\n",
    "\n",
    "\r\n",
    "\t",
    "\x01\x1b\x7f",
    "\x85\u2028\u2029\ufeff",
    "{name}",
    "{{}}",
    "%",
    "_",
    "$meta",
    "\\u0041",
    "\\x41",
    "\\101",
    "é",
    "e\u0301",
    "😀",
    "𝒳",
    "true",
    "1",
    "null",
    "-- comment",
    "/* */",
    "a" * 900,
]

ITEMS: list[Attributes] = [
    {},
    *[{"s": attack} for attack in ATTACKS],
    *[{"s": value} for value in ("", "a", "b", "B", "ab", "x")],
    *[{"i": value} for value in (0, 1, -1, 2, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63))],
    *[{"d": value} for value in (0.0, 1.0, -1.0, 0.5, -2.25, 1e300, -1e300, 5e-324, 0.1, 3.0)],
    {"b": True},
    {"b": False},
    {"s": "a", "i": 1, "d": 1.0, "b": True},
    {"s": "b", "i": 2, "d": 0.5, "b": False},
    {"s": "exists", "i": 0, "b": True},
]
CATALOGUE = {f"{number}-{attributes.get('s', '')}": attributes for number, attributes in enumerate(ITEMS)}
IDS = list(CATALOGUE)


def compare(name: str, operator: str, *values: Value) -> Comparison:
    return Comparison(name, Operator(operator), values)


FILTERS: Mapping[str, Filter] = {
    "equal": compare("i", "==", 1),
    "unequal": compare("i", "!=", 1),
    "not equal": Not(compare("i", "==", 1)),
    "not unequal": Not(compare("i", "!=", 1)),
    "not not": Not(Not(compare("s", "==", "a"))),
    "among": compare("s", "in", "a", "b", "nowhere"),
    "not among": Not(compare("s", "in", "a", "b")),
    "among numbers of both types": compare("d", "in", 1, 0.5, -2.25),
    "among integers, by doubles": compare("i", "in", 1.0, 0.5, 2),
    "among extremes": compare("i", "in", -(2**63), 2**63 - 1),
    "smallest": compare("i", "==", -(2**63)),
    "at least the smallest": compare("i", ">=", -(2**63)),
    "exactly": compare("i", "==", 2**53 + 1),
    "above a double": compare("i", ">", float(2**53)),
    "integer against doubles": compare("d", "<", 1),
    "double against integers": compare("i", "<=", 1.5),
    "infinitely small": compare("d", ">", 0),
    "true": compare("b", "==", True),
    "not true": Not(compare("b", "==", True)),
    "other than false": compare("b", "!=", False),
    "text order": compare("s", ">=", "a"),
    "empty text": compare("s", "==", ""),
    "an attribute nobody has": compare("zz", "!=", 1),
    "not an attribute nobody has": Not(compare("zz", "!=", 1)),
    "all": All((compare("i", ">", 0), compare("b", "==", True))),
    "any": Any((compare("i", ">", 1), compare("s", "==", "x"), compare("zz", "==", "x"))),
    "not any": Not(Any((compare("i", ">", 1), compare("s", "!=", "x")))),
    "item": compare(ITEM_ID, "==", IDS[3]),
    "other items": compare(ITEM_ID, "!=", IDS[3]),
    "items": compare(ITEM_ID, "in", IDS[3], IDS[5], "nowhere"),
    "items but some": All((compare(ITEM_ID, "in", *IDS), Not(compare(ITEM_ID, "in", *IDS[5:])))),
    "deep": Not(All((Any((compare("i", "==", 1), Not(compare("d", "<", 0.0)))), compare("b", "!=", True)))),
}


@pytest.fixture(scope="session")
def filled() -> dict[str, Release]:
    """The collection of each server that holds `CATALOGUE`."""
    return {}


@pytest.fixture
async def catalogue(index: VectorIndex, server: str, filled: dict[str, Release]) -> Release:
    """A collection that holds `CATALOGUE`, shared by those who only search."""
    if server not in filled or server == "memory":
        filled[server] = new_release()
        await index.create(filled[server], TIMEOUT)
        rows = [
            row(str(number), vector, item_id, CATALOGUE[item_id])
            for number, (item_id, vector) in enumerate(zip(IDS, vectors(len(IDS)), strict=True))
        ]
        await index.upsert(filled[server], rows, TIMEOUT)
    return filled[server]


async def agrees(index: VectorIndex, release: Release, where: Filter) -> None:
    expected = [item_id for item_id, attributes in CATALOGUE.items() if meets(where, item_id, attributes)]
    assert sorted(await found(index, release, vectors(1)[0], where)) == sorted(expected)


@pytest.mark.parametrize("server", REAL)
async def test_filters_mean_what_the_reference_says(index: VectorIndex, catalogue: Release) -> None:
    for name, where in FILTERS.items():
        try:
            await agrees(index, catalogue, where)
        except Exception as error:
            raise AssertionError(name) from error


def test_the_reference_says_what_is_meant() -> None:
    def matching(where: Filter) -> set[str]:
        return {name for name, attributes in people.items() if meets(where, name, attributes)}

    people: dict[str, Attributes] = {"ann": {"age": 30, "tall": True}, "bob": {"age": 31.5}, "cy": {}}
    assert matching(compare("age", "==", 30)) == {"ann"}
    assert matching(compare("age", "!=", 30)) == {"bob"}
    assert matching(Not(compare("age", "==", 30))) == {"bob", "cy"}
    assert matching(compare("age", ">=", 30)) == {"ann", "bob"}
    assert matching(compare("age", "<", 31.5)) == {"ann"}
    assert matching(compare("age", "in", 30, 31.5, 32)) == {"ann", "bob"}
    assert matching(compare(ITEM_ID, ">", "ann")) == {"bob", "cy"}
    assert matching(All((compare("age", ">", 0), Not(compare("tall", "==", True))))) == {"bob"}
    assert matching(Any((compare("tall", "!=", False), compare(ITEM_ID, "in", "cy")))) == {"ann", "cy"}


strings = st.one_of(
    st.sampled_from([*ATTACKS, "", "a", "b", "x"]), st.text(st.characters(codec="utf-8", exclude_characters="\0"))
)
doubles = st.one_of(st.sampled_from([0.0, 1.0, -2.25, 0.1, 1e300]), st.floats(allow_nan=False, allow_infinity=False))
# Beyond 2^53 an integer is not exactly comparable with a double.
exact = st.integers(-(2**53), 2**53)
integers = st.one_of(st.sampled_from([0, 1, 2, 2**53 + 1, 2**63 - 1, -(2**63)]), st.integers(-(2**63), 2**63 - 1))


def comparisons(name: str, values: st.SearchStrategy[Value], ordered: bool = True) -> st.SearchStrategy[Filter]:
    operators = [Operator.EQUAL, Operator.NOT_EQUAL]
    if ordered:
        operators += [Operator.LESS, Operator.LESS_OR_EQUAL, Operator.GREATER, Operator.GREATER_OR_EQUAL]
    single = st.builds(Comparison, st.just(name), st.sampled_from(operators), st.tuples(values))
    if not ordered:
        return single
    several = st.lists(values, min_size=1, max_size=4).map(tuple)
    return single | st.builds(Comparison, st.just(name), st.just(Operator.IN), several)


filters = st.recursive(
    st.one_of(
        comparisons("s", strings),
        comparisons("i", st.one_of(integers, exact.map(float), st.just(0.5))),
        comparisons("d", st.one_of(doubles, exact)),
        comparisons("b", st.booleans(), ordered=False),
        comparisons("zz", strings),
        comparisons(ITEM_ID, st.one_of(st.sampled_from(IDS), strings)),
    ),
    lambda children: st.one_of(
        st.builds(Not, children),
        st.builds(All, st.lists(children, min_size=1, max_size=3).map(tuple)),
        st.builds(Any, st.lists(children, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("server", REAL)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(where=filters)
async def test_any_filter_means_what_the_reference_says(index: VectorIndex, catalogue: Release, where: Filter) -> None:
    await agrees(index, catalogue, where)


@pytest.mark.parametrize("server", REAL)
async def test_an_attack_finds_what_it_spells_and_nothing_else(index: VectorIndex, catalogue: Release) -> None:
    for attack in ATTACKS:
        for where in (
            compare("s", "==", attack),
            compare("s", "in", attack, "nowhere"),
            compare(ITEM_ID, "==", attack),
            compare(ITEM_ID, "in", attack, IDS[1]),
            Not(compare("s", "==", attack)),
        ):
            try:
                await agrees(index, catalogue, where)
            except Exception as error:
                raise AssertionError(f"{where}") from error


@settings(max_examples=300, deadline=None)
@given(strings)
def test_a_literal_is_one_token_that_says_the_same(value: str) -> None:
    parsed = parse_expr(f"item_id == {text(value)}")
    assert isinstance(parsed, CmpOp)
    assert isinstance(parsed.right, StringLit)
    assert parsed.right.value == value
    assert not any(character in text(value) for character in "\n\r")


@pytest.mark.parametrize("value", ["a\0b", "\ud800", float("nan"), float("-inf"), 2**63, -(2**63) - 1])
def test_a_literal_that_no_attribute_can_equal_is_refused(value: Value) -> None:
    with pytest.raises(InvalidFilter):
        literal(value)


# Failures.


@pytest.mark.parametrize("server", SERVERS)
async def test_a_missing_collection_is_a_mismatch(index: VectorIndex) -> None:
    release = new_release()
    for work in (
        index.check(release, TIMEOUT),
        index.upsert(release, [row("a", vectors(1)[0])], TIMEOUT),
        index.delete(release, "i", (), TIMEOUT),
        index.search(release, vectors(1), 1, None, False, TIMEOUT),
        index.count(release, TIMEOUT),
    ):
        with pytest.raises(ContractMismatch, match=release.collection):
            await work


@pytest.mark.parametrize("server", SERVERS)
async def test_another_dimension_is_a_mismatch(index: VectorIndex, release: Release) -> None:
    await index.upsert(release, [row("a", vectors(1)[0])], TIMEOUT)
    wider = replace(new_release(DIMENSION + 1), collection=release.collection)
    vector = np.ones((1, DIMENSION + 1), np.float32)
    for work in (
        index.check(wider, TIMEOUT),
        index.upsert(wider, [row("a", vector[0])], TIMEOUT),
        index.search(wider, vector, 1, None, False, TIMEOUT),
    ):
        with pytest.raises(ContractMismatch, match=f"{release.collection} .*{DIMENSION + 1}"):
            await work


@pytest.mark.parametrize("server", SERVERS)
async def test_a_collection_of_another_embedder_is_a_mismatch(index: VectorIndex, release: Release) -> None:
    other = replace(release, embedder=replace(release.embedder, sha256="f" * 64))
    with pytest.raises(ContractMismatch, match=f"{release.collection} was made for .*{release.embedder.sha256}"):
        await index.check(other, TIMEOUT)


@pytest.mark.parametrize("server", REAL)
async def test_a_collection_that_is_not_loaded_is_loaded(
    index: VectorIndex, release: Release, server: str, request: pytest.FixtureRequest
) -> None:
    await index.upsert(release, [row("a", vectors(1)[0])], TIMEOUT)
    client = MilvusClient(request.getfixturevalue(server))
    client.release_collection(release.collection, timeout=TIMEOUT)
    with pytest.raises(DependencyUnavailable, match="not loaded"):
        await found(index, release, vectors(1)[0])
    assert await found(index, release, vectors(1)[0]) == ["item-a"]
    client.release_collection(release.collection, timeout=TIMEOUT)
    client.close()
    await index.check(release, TIMEOUT)
    assert await found(index, release, vectors(1)[0]) == ["item-a"]


async def test_an_unreachable_milvus_is_unavailable_at_once() -> None:
    index, release = MilvusIndex(f"http://127.0.0.1:{ports.free(1)[0]}"), new_release()
    started = time.monotonic()
    for work in (
        index.create(release, TIMEOUT),
        index.check(release, TIMEOUT),
        index.upsert(release, [row("a", vectors(1)[0])], TIMEOUT),
        index.delete(release, "i", (), TIMEOUT),
        index.search(release, vectors(1), 1, None, False, TIMEOUT),
        index.count(release, TIMEOUT),
        index.drop(release.collection, TIMEOUT),
    ):
        with pytest.raises(DependencyUnavailable, match="does not answer"):
            await work
    assert time.monotonic() - started < TIMEOUT / 2
    await index.close()


async def test_a_silent_milvus_exceeds_the_deadline() -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1") as silent:
        index = MilvusIndex(f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}")
        with pytest.raises(DeadlineExceeded, match=r"within 0.3 seconds"):
            await index.search(new_release(), vectors(1), 1, None, False, 0.3)
        await index.close()


async def test_a_frozen_milvus_exceeds_the_deadline_and_is_used_again_after(tmp_path: Path) -> None:
    with milvus.lite(tmp_path) as server:
        index, release = MilvusIndex(server.uri), new_release()
        await index.create(release, TIMEOUT)
        frozen = psutil.Process(server.pid)
        frozen.suspend()
        await until(lambda: frozen.status() == psutil.STATUS_STOPPED)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"within 0.5 seconds"):
            await index.search(release, vectors(1), 1, None, False, 0.5)
        assert time.monotonic() - started < 2
        frozen.resume()
        assert await found(index, release, vectors(1)[0]) == []
        await index.close()


async def test_acknowledged_rows_survive_a_kill_of_milvus_lite(tmp_path: Path) -> None:
    port = ports.free(1)[0]
    index, release, stored = MilvusIndex(f"http://127.0.0.1:{port}"), new_release(), vectors(50)
    rows = [row(str(number), vector) for number, vector in enumerate(stored)]
    with milvus.lite(tmp_path, port=port) as server:
        await index.create(release, TIMEOUT)
        for each in rows[:25]:
            await index.upsert(release, [each], TIMEOUT)
        # What is on disk in the form that is searched fast, and what is not yet.
        await until(lambda: any(tmp_path.rglob("data_*.parquet")))
        for each in rows[25:]:
            await index.upsert(release, [each], TIMEOUT)
        for item_id in ("item-7", "item-40"):
            await index.delete(release, item_id, (), TIMEOUT)
        os.kill(server.pid, signal.SIGKILL)
        server.process.guard.wait(TIMEOUT)
        with pytest.raises(DependencyUnavailable, match="does not answer"):
            await found(index, release, stored[0])
    with milvus.lite(tmp_path, port=port):
        await index.check(release, TIMEOUT)
        expected: Sequence[str] = [f"item-{number}" for number in range(50) if number not in (7, 40)]
        assert sorted(await found(index, release, stored[0])) == sorted(expected)
        # It waits for its connections to end.
        await index.close()


async def until(true: Callable[[], bool], limit: float = 10.0) -> None:
    """Returns when a condition holds; fails where it does not within `limit` seconds."""
    async with asyncio.timeout(limit):
        while not true():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("server", ["memory", "milvus_lite"])
async def test_writes_at_the_same_time_are_all_kept(
    index: VectorIndex, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Milvus Lite loses what is written, and hides what was, while it flushes.
    monkeypatch.setattr(milvus_lite_turns, "FLUSH_DELAY", 0.05)
    rounds, items, turns = 2, 50, asyncio.Semaphore(8)
    stored = vectors(2 * items)

    async def put(number: int) -> None:
        async with turns:
            for turn in range(rounds):
                rows = [
                    row(f"{number}-{each}-{turn}", stored[2 * number + each], f"item-{number}") for each in range(2)
                ]
                await index.upsert(release, rows, TIMEOUT)
                await index.delete(release, f"item-{number}", {each.key for each in rows}, TIMEOUT)

    await asyncio.gather(*map(put, range(items)))
    expected = sorted(f"item-{number}" for number in range(items) for _ in range(2))
    assert sorted(await found(index, release, stored[0], limit=1000)) == expected


async def test_milvus_lite_refuses_to_be_shared_by_several_processes(milvus_lite: str) -> None:
    index = MilvusIndex(milvus_lite, alone=False)
    with pytest.raises(ContractMismatch, match=r"serves one process.*SEMBLANCE_WORKERS"):
        await index.check(new_release(), TIMEOUT)
    await index.close()
