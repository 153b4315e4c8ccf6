"""Seeded changes of files and messages, for the targets that no coverage guides."""

from collections.abc import Sequence
from random import Random

# Lengths, counts and sizes at their limits, as one, two and four bytes.
EDGES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0", b"\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")


def changed(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """`data` with one to six bytes, runs or edges overwritten, put in, cut out, repeated, or taken from `others`."""
    result = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 6))):
        at, length = random.randint(0, len(result)), min(random.randint(1, 16), len(result))
        match random.randrange(7):
            case 0:
                result[at : at + 1] = random.randbytes(1)
            case 1:
                edge = random.choice(EDGES)
                result[at : at + len(edge)] = edge
            case 2:
                result[at:at] = random.randbytes(length)
            case 3:
                del result[at : at + length]
            case 4:
                result[at:at] = result[at : at + length] * random.randint(1, 20)
            case 5:
                other = random.choice(others)
                start = random.randint(0, len(other))
                result[at : at + length] = other[start : start + length]
            case 6:
                del result[at:]
    return bytes(result)
