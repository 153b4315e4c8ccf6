"""What a worker of an engine does with its block."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from semblance.client import Client, InvalidImageError, NewItem, Outcome, OverloadedError, UnavailableError
from semblance.client.commands import block as blocks
from semblance.client.commands import upload
from semblance.client.commands.connection import Connect
from semblance.client.commands.entry import Entry
from semblance.client.commands.upload import StoredItem, put_block, stored_items
from semblance.client.testing import FakeSemblance

Picture = Callable[[int], bytes]
Block = list[tuple[Entry, StoredItem | None]]
PHOTOS = 4


@pytest.fixture
def block(tmp_path: Path, picture: Picture) -> Block:
    entries = []
    for number in range(PHOTOS):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(picture(number))
        entries.append(Entry(str(path), str(number), (path,)))
    return [(entry, None) for entry in entries]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were slept, which take no time."""
    slept: list[float] = []
    for module in (blocks, upload):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=slept.append))
    return slept


def connect(fake: FakeSemblance) -> Connect:
    return Connect(fake.target, None, None, None)


def test_outcomes_stand_in_the_order_of_the_entries(fake: FakeSemblance, client: Client, block: Block) -> None:
    client.put_item(NewItem("1", [block[1][0].images[0]]))
    block[1] = (block[1][0], stored_items(client)["1"])
    block[2][0].images[0].unlink()
    sent = fake.received["Put"]
    created, unchanged, failed, other = put_block(connect(fake), block)
    assert (created, unchanged, other) == (Outcome.CREATED, Outcome.UNCHANGED, Outcome.CREATED)
    assert isinstance(failed, InvalidImageError)
    assert fake.received["Put"] == sent + 2


def test_a_service_that_refuses_all_of_a_block_for_a_while_is_outlasted(
    fake: FakeSemblance, block: Block, pauses: list[float]
) -> None:
    fake.fail(OverloadedError("busy", 0.5), times=2 * PHOTOS, method="Put")
    assert put_block(connect(fake), block) == [Outcome.CREATED] * PHOTOS
    assert [pause for pause in pauses if pause in blocks.PAUSES] == list(blocks.PAUSES[:2])


def test_a_service_that_refuses_for_longer_is_given_up(fake: FakeSemblance, block: Block, pauses: list[float]) -> None:
    fake.fail(OverloadedError("busy", 0.5), times=1000, method="Put")
    outcomes = put_block(connect(fake), block)
    assert all(isinstance(outcome, OverloadedError) for outcome in outcomes)
    assert [pause for pause in pauses if pause in blocks.PAUSES] == list(blocks.PAUSES)


def test_a_service_that_is_away_for_longer_ends_it(block: Block, pauses: list[float]) -> None:
    with FakeSemblance() as fake:
        pass
    with pytest.raises(UnavailableError, match="cannot reach"):
        put_block(connect(fake), block)
    assert pauses == list(blocks.PAUSES)


def test_a_stream_that_breaks_is_taken_up_again(block: Block, pauses: list[float]) -> None:
    with FakeSemblance() as gone:
        pass
    with FakeSemblance() as back:
        targets = iter([gone, gone, back])
        assert put_block(lambda: Client(next(targets).target), block) == [Outcome.CREATED] * PHOTOS
    assert [pause for pause in pauses if pause] == list(blocks.PAUSES[:2])


def test_a_connection_reaches_a_worker_with_its_token_and_tells_it_to_nobody() -> None:
    secret = "semblance.shop.secret"
    made = Connect("127.0.0.1:1", 5.0, None, secret)
    assert secret not in repr(made) + str(made)
    with pickle.loads(pickle.dumps(made))() as client:
        assert secret in str(client._call["metadata"])
