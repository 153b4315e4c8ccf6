"""How many passes over the picture a JPEG asks of its decoder.

A scan of twenty bytes can stand for the whole picture. A file with many of them, far below the limits of bytes and
pixels, would keep a decoder busy for hours; encoders write about ten.
"""

import re

MAX_SCANS = 100
# Of the largest picture that is accepted; a smaller one may have as many more as it has fewer pixels.
SCANS_OF_LARGEST = 20

# Of ITU-T T.81, table B.1; those without a segment behind them, which are stuffing, TEM and restarts, are left out.
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
PROGRESSIVE_FRAMES = (0xC2, 0xC6, 0xCA, 0xCE)


def scans(data: bytes, components: int) -> int:
    """Of a JPEG whose picture has so many components.

    The common kind, whose one scan holds all of them, is known by its header, and nothing more is read: as with
    decoders, which take the first scan's word for whether there are more.
    """
    count, position, progressive = 0, 2, False
    while found := MARKER.search(data, position):
        marker, segment = data[found.end() - 1], found.end()
        if marker == END_OF_IMAGE:
            break
        if marker == START_OF_SCAN:
            count += 1
            if count == 1 and not progressive and data[segment + 2 : segment + 3] == bytes([components]):
                break
        progressive |= marker in PROGRESSIVE_FRAMES
        position = segment + int.from_bytes(data[segment : segment + 2])
    return count


def most_scans(pixels: int, max_pixels: int) -> int:
    """That a picture of so many pixels may come in, where so many are accepted."""
    return min(MAX_SCANS, SCANS_OF_LARGEST * max_pixels // max(1, pixels))
