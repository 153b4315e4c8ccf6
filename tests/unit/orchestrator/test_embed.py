"""Several requests of one image's crops."""

import asyncio

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.embed import embed
from semblance.orchestrator.errors import Overloaded


class Crops:
    """A batch whose answer is `value`; where that is None it never comes."""

    def __init__(self, value: float | Exception | None) -> None:
        self.pixels = np.zeros((1, 2, 2, 3), np.uint8)
        self.ended = False
        self._value = value

    async def infer(self, timeout: float) -> NDArray[np.float32]:
        try:
            await asyncio.sleep(0 if self._value is not None else timeout)
            if isinstance(self._value, Exception):
                raise self._value
            return np.full((1, 1), self._value, np.float32)
        finally:
            self.ended = True


async def test_answers_keep_their_order() -> None:
    vectors = await embed([Crops(1.0), Crops(2.0), Crops(3.0)], Deadline.after(10))
    assert vectors.tolist() == [[1.0], [2.0], [3.0]]


async def test_where_one_fails_the_others_end_before_the_error_is_told() -> None:
    slow = Crops(None)
    with pytest.raises(Overloaded, match="full"):
        await embed([slow, Crops(Overloaded("full"))], Deadline.after(10))
    assert slow.ended
