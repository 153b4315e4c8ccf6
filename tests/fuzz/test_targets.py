"""A short run of every target within this process; `make test-fuzz` runs them for longer, guided by coverage."""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from semblance.orchestrator.decode import decode
from tests.fuzz import structured
from tests.fuzz.changes import changed
from tests.fuzz.corpus.generate import png
from tests.fuzz.targets import CORPUS, LIMITS, TARGETS

# pytest undoes what the decoder says about Pillow's.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ROUNDS = {"image": 1200}
# Bytes that a decoded photo may take at the worst moment of its decoding, for each of its pixels.
BYTES_A_PIXEL = 24
# What the libraries take for themselves.
LIBRARIES_BYTES = 64 * 2**20

# Prints by how many bytes the process grew at most while it decoded, within the product's own limits.
MEASURED = """
import resource, sys
from pathlib import Path
from semblance.orchestrator.decode import ImageLimits, decode
from semblance.orchestrator.errors import InvalidImage
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(Path(sys.argv[1]).read_bytes(), ImageLimits(16 * 2**20, 50_000_000))
except InvalidImage:
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_and_what_comes_of_it(name: str) -> None:
    target, random = TARGETS[name], Random(0)
    seeds = [path.read_bytes() for path in target.seeds()]
    assert seeds
    for seed in seeds:
        target.check(seed)
    for _ in range(ROUNDS.get(name, 300)):
        target.check(changed(random, random.choice(seeds), seeds))


@pytest.mark.parametrize("name", structured.PROPERTIES)
def test_messages_that_mean_something(name: str) -> None:
    structured.explore(name, 300, 0)


@pytest.mark.parametrize(
    "name",
    [
        "alpha.webp",
        "animation.png",
        "animation.webp",
        "cmyk.jpg",
        "depth-16-colour-6.png",
        "exif-loop.jpg",
        "palette.png",
        "progressive.jpg",
        "several-pictures.jpg",
        "then-jpeg.png",
        "thumbnail-first.jpg",
        "transparent-colour.png",
        "ycck.jpg",
    ],
)
def test_what_is_odd_and_right_is_a_photo(name: str) -> None:
    photo = decode((CORPUS / "images" / name).read_bytes(), LIMITS)
    assert photo.width * photo.height > 1


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("bomb-5000x9999.png", 50_000_000),
        ("7000x7000.png", 49_000_000),
        ("65500x763.jpg", 50_000_000),
        ("50000x50000.png", 0),
        ("canvas-huge.webp", 0),
        ("16384x16384.webp", 0),
        ("profile-bomb.png", 0),
        ("text-bombs.png", 0),
    ],
)
def test_memory_is_bounded_by_the_pixels_that_are_accepted(name: str, pixels: int) -> None:
    """Whatever a header or a compressed profile claims."""
    assert memory_to_decode(CORPUS / "images" / name) < BYTES_A_PIXEL * pixels + LIBRARIES_BYTES


def test_what_is_laid_on_white_takes_the_most_memory(tmp_path: Path) -> None:
    file = tmp_path / "alpha.png"
    file.write_bytes(png(3000, 3000, 8, 6))
    assert memory_to_decode(file) < BYTES_A_PIXEL * 3000 * 3000 + LIBRARIES_BYTES


def memory_to_decode(file: Path) -> int:
    """By how many bytes a process grows at most."""
    command = [sys.executable, "-c", MEASURED, str(file)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
