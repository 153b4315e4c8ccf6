"""The services that keep the contract, and pictures that a real one tells apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from random import Random
from uuid import uuid4

import pytest
from PIL import Image, ImageDraw, ImageFilter

from semblance.client import Client
from semblance.client.testing import FakeSemblance

Picture = Callable[..., bytes]


@contextmanager
def fake() -> Iterator[str]:
    with FakeSemblance() as service:
        yield service.target


SERVICES: dict[str, Callable[[], AbstractContextManager[str]]] = {"fake": fake}
"""Each yields host and port of a running service. Tests share it and name their items apart."""


@pytest.fixture(scope="session", params=SERVICES)
def service(request: pytest.FixtureRequest) -> Iterator[str]:
    with SERVICES[request.param]() as target:
        yield target


@pytest.fixture
def client(service: str) -> Iterator[Client]:
    with Client(service, timeout=60) as connected:
        yield connected


@pytest.fixture
def prefix() -> str:
    """Begins item ids, and names of attributes, that no other test uses."""
    return f"t{uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def picture() -> Picture:
    """Makes a picture that is unlike those of other seeds, as a file."""

    def make(seed: object, size: tuple[int, int] = (320, 240), file_format: str = "JPEG", **options: object) -> bytes:
        random = Random(str(seed))

        def colour() -> tuple[int, int, int]:
            return random.randrange(256), random.randrange(256), random.randrange(256)

        image = Image.new("RGB", size, colour())
        draw = ImageDraw.Draw(image)
        for _ in range(12):
            x, y, radius = random.randrange(size[0]), random.randrange(size[1]), random.randrange(10, 90)
            shape = random.choice((draw.ellipse, draw.rectangle))
            shape((x - radius, y - radius, x + radius, y + radius), fill=colour(), outline=colour(), width=5)
        file = BytesIO()
        image.filter(ImageFilter.SMOOTH).save(file, file_format, **options)
        return file.getvalue()

    return make
