"""The services that keep the contract, and pictures that a real one tells apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from random import Random
from uuid import uuid4

import pytest
from PIL import Image, ImageDraw, ImageFilter

from semblance.client import Client
from semblance.client.testing import FakeSemblance
from tests.stack import started

Picture = Callable[..., bytes]


@pytest.fixture(scope="session", params=["fake", "real"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of a running service. Tests share it and name their items apart."""
    if request.param == "fake":
        with FakeSemblance() as fake:
            yield fake.target
        return
    inference, repository = request.getfixturevalue("inference"), request.getfixturevalue("repository")
    with started(inference, repository, tmp_path_factory.mktemp("contract")) as real:
        yield real.address


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
