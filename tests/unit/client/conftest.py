"""A fake service, and small pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
from PIL import Image

from semblance.client import Client
from semblance.client.testing import FakeSemblance


@pytest.fixture
def fake() -> Iterator[FakeSemblance]:
    with FakeSemblance() as service:
        yield service


@pytest.fixture
def client(fake: FakeSemblance) -> Iterator[Client]:
    with Client(fake.target) as connected:
        yield connected


@pytest.fixture(scope="session")
def picture() -> Callable[[int], bytes]:
    """A plain 64 × 48 JPEG, another one for each number."""

    def make(number: int) -> bytes:
        file = BytesIO()
        Image.new("RGB", (64, 48), (number % 256, number // 256, 99)).save(file, "JPEG")
        return file.getvalue()

    return make
