"""Inputs of several callers that go to a real Triton as one request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from semblance.orchestrator.adapters.ring import Slot
from semblance.orchestrator.adapters.transport import Mode, Way
from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.errors import DeadlineExceeded, InvalidImage
from tests.inference import infer
from tests.integration.test_transport import PATIENCE, PATIENT_MODEL, regions, right, until
from tests.integration.test_triton_adapter import batch

SLOTS = 4

Answer = asyncio.Task[np.ndarray]


@pytest.fixture(params=[Mode.BYTES, Mode.SHARED_MEMORY])
async def models(tiny_triton: str, request: pytest.FixtureRequest) -> AsyncIterator[TritonServer]:
    server = TritonServer(tiny_triton, request.param, SLOTS)
    await server.transport.judged(PATIENCE)
    if request.param is Mode.SHARED_MEMORY:
        await until(lambda: len(server.transport) == SLOTS)
    yield server
    await server.close()


async def asked(models: TritonServer, rows: int, timeout: float = 10.0) -> Answer:
    """Of a model that waits a second for company, in Triton."""
    answer = asyncio.create_task(infer(models, PATIENT_MODEL, batch(rows), timeout))
    await asyncio.sleep(0)
    return answer


async def busy(models: TritonServer) -> list[Answer]:
    """As many requests as may be under way."""
    return [await asked(models, 1), await asked(models, 2)]


async def requests(models: TritonServer, name: str = PATIENT_MODEL.name) -> tuple[int, int]:
    """What Triton has answered of that model: requests, and their rows."""
    answer = await models._stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name=name))
    [stats] = answer.model_stats
    return stats.inference_stats.success.count, stats.inference_count


async def counted(models: TritonServer, before: tuple[int, int], rows: int, name: str = PATIENT_MODEL.name) -> int:
    """In how many requests so many rows were computed since then. Triton counts what it has answered already."""
    async with asyncio.timeout(PATIENCE):
        while (now := await requests(models, name))[1] - before[1] < rows:
            await asyncio.sleep(0.01)
    assert now[1] - before[1] == rows
    return now[0] - before[0]


def way(models: TritonServer) -> Way:
    return Way.SHARED_MEMORY if len(models.transport) else Way.BYTES


async def test_inputs_that_wait_are_one_request_and_are_answered_apart(models: TritonServer) -> None:
    before = await requests(models)
    first = await busy(models)
    waiting = [await asked(models, rows) for rows in (1, 4, 3)]
    for answer, rows in zip([*first, *waiting], (1, 2, 1, 4, 3), strict=True):
        assert right(await answer, batch(rows))
    assert await counted(models, before, rows=11) == 3
    assert models.transport.inputs == {way(models): 5}


async def test_no_more_rows_go_together_than_the_model_takes(models: TritonServer) -> None:
    before = await requests(models)
    await busy(models)
    waiting = [await asked(models, rows) for rows in (5, 4, 4)]
    for answer, rows in zip(waiting, (5, 4, 4), strict=True):
        assert right(await answer, batch(rows))
    assert await counted(models, before, rows=16) == 4


@pytest.mark.parametrize("leaving", [0, 1, 2])
async def test_who_leaves_while_it_waits_costs_no_compute_and_spoils_nobodys_answer(
    models: TritonServer, leaving: int
) -> None:
    before = await requests(models)
    first = await busy(models)
    waiting = [await asked(models, rows) for rows in (1, 2, 3)]
    waiting.pop(leaving).cancel()
    staying = [rows for rows in (1, 2, 3) if rows != leaving + 1]
    for answer, rows in zip(waiting, staying, strict=True):
        assert right(await answer, batch(rows))
    await asyncio.gather(*first)
    await counted(models, before, rows=3 + sum(staying))
    if way(models) is Way.SHARED_MEMORY:
        # Behind the last row nothing is missed; rows with a gap between them are copied.
        together = {Way.SHARED_MEMORY: 4} if leaving == 2 else {Way.SHARED_MEMORY: 2, Way.PARTIAL: 2}
        assert models.transport.inputs == together
        assert len(models.transport) == SLOTS


async def test_each_has_a_deadline_of_its_own(models: TritonServer) -> None:
    first = await busy(models)
    hasty, patient = await asked(models, 1, 0.3), await asked(models, 2, 10.0)
    with pytest.raises(DeadlineExceeded, match=r"did not answer for patient version 1 within 0\.3 s"):
        await hasty
    assert not patient.done()
    assert right(await patient, batch(2))
    await asyncio.gather(*first)


async def test_cancellation_ends_the_wait_and_not_the_call(models: TritonServer) -> None:
    """Triton may crash where a call is cancelled; see `OVERDUE_SECONDS`."""
    before = await requests(models)
    waiting = await asked(models, 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await counted(models, before, rows=1) == 1


async def test_a_failure_to_fill_holds_up_nobody(models: TritonServer) -> None:
    with suppress(InvalidImage), models.batch(PATIENT_MODEL, 1) as lent:
        lent.pixels[:] = 0
        waiting = await asked(models, 2)
        raise InvalidImage("not a photo")
    assert right(await waiting, batch(2))
    assert len(models.transport) == (0 if way(models) is Way.BYTES else SLOTS)


async def test_a_slot_that_may_still_be_written_to_is_replaced_after_the_answer(tiny_triton: str) -> None:
    models = TritonServer(tiny_triton, Mode.SHARED_MEMORY, slots=1)
    await models.transport.judged(PATIENCE)
    [before] = await regions(models)
    with suppress(asyncio.CancelledError), models.batch(PATIENT_MODEL, 1) as lent:
        lent.pixels[:] = 0
        waiting = await asked(models, 2)
        raise asyncio.CancelledError
    lent.pixels[:] = 7
    assert right(await waiting, batch(2))
    await until(lambda: len(models.transport) == 1)
    assert await regions(models) != {before}
    await models.close()


async def test_what_a_thread_fills_after_its_caller_has_gone_is_nobodys(models: TritonServer) -> None:
    with suppress(asyncio.CancelledError), models.batch(PATIENT_MODEL, 2) as late:
        raise asyncio.CancelledError
    waiting = await asked(models, 2)
    late.pixels[:] = 7
    assert right(await waiting, batch(2))


async def test_rows_that_are_copied_into_the_message_are_lent_to_nobody_meanwhile(
    tiny_triton: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = TritonServer(tiny_triton, Mode.SHARED_MEMORY, SLOTS)
    await until(lambda: len(models.transport) == SLOTS)
    await busy(models)
    leaving, staying = await asked(models, 1), await asked(models, 2)
    leaving.cancel()

    def lend_all(way: Way, inputs: int = 1) -> None:
        """What threads may do at any moment."""
        lent = []
        while isinstance(slot := models.transport.lease(1), Slot):
            slot.memory[:] = 7
            lent.append(slot)
        for slot in lent:
            models.transport.give_back(slot)

    monkeypatch.setattr(models.transport, "count", lend_all)
    assert right(await staying, batch(2))
    await models.close()


async def test_as_many_are_under_way_as_there_are_instances_and_one_more(models: TritonServer) -> None:
    pair = replace(PATIENT_MODEL, name="pair")
    await models.check(pair, PATIENCE)
    before = await requests(models, "pair")
    answers = await asyncio.gather(*(infer(models, pair, batch(1), 10.0) for _ in range(5)))
    assert all(right(each, batch(1)) for each in answers)
    assert await counted(models, before, 5, "pair") == 4
