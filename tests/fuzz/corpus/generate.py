"""Writes the nasty images and messages beside this file: `python -m tests.fuzz.corpus.generate`.

Images are `images/<what>.<format>`, messages `messages/<service>.<method>-<what>.bin` as they are sent, and
`options/<what>.json` the JSON within some of them.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from PIL import Image
from tritonclient.grpc import service_pb2

from semblance.v1 import measure_pb2
from semblance.v1.catalog_pb2 import GetRequest, ListRequest, PutRequest
from semblance.v1.feedback_pb2 import (
    AddReferenceRequest,
    DeleteFeedbackRequest,
    ExportFeedbackRequest,
    FeedbackChoice,
    FeedbackKind,
    FeedbackReportRequest,
    GiveFeedbackRequest,
    ListFeedbackRequest,
    Verdict,
)
from semblance.v1.item_pb2 import Box, Comparison, Filter, FilterList, Item, ItemImage, Value
from semblance.v1.release_pb2 import (
    ActivateReleaseRequest,
    BuildEngine,
    BuildItemsRequest,
    CanaryRequest,
    CanaryShare,
    CreateReleaseRequest,
    Figure,
    GetReleaseRequest,
    IndexParameters,
    ListPendingRequest,
    RecordEvaluationRequest,
    ShadowRequest,
)
from semblance.v1.search_pb2 import Hit, ObjectHits, SearchOptions, SearchRequest

HERE = Path(__file__).parent
IMAGES = HERE / "images"
MESSAGES = HERE / "messages"
OPTIONS = HERE / "options"

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SOF_BASELINE, SOF_EXTENDED, SOF_PROGRESSIVE, SOF_ARITHMETIC = 0xC0, 0xC1, 0xC2, 0xC9
DHT, SOS, DQT, APP1, APP2, APP14, COM = 0xC4, 0xDA, 0xDB, 0xE1, 0xE2, 0xEE, 0xFE
PNG = b"\x89PNG\r\n\x1a\n"


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def segment(marker: int, body: bytes = b"") -> bytes:
    """Of a JPEG: ITU-T T.81, B.1.1.4."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def jpeg_header(frame: int, width: int, height: int, precision: int = 8, components: int = 1) -> bytes:
    """Up to the tables. In them code 0 is a DC difference of 0, and 16,384 blocks or more without AC."""
    sampling = b"".join(bytes((number + 1, 0x11, 0)) for number in range(components))
    return (
        SOI
        + segment(DQT, b"\x00" + bytes([1] * 64))
        + segment(frame, struct.pack(">BHHB", precision, height, width, components) + sampling)
        + segment(DHT, b"\x00" + bytes([1] + [0] * 15) + b"\x00")
        + segment(DHT, b"\x10" + bytes([1] + [0] * 15) + b"\xe0")
    )


def scan(first: int, last: int, data: bytes) -> bytes:
    return segment(SOS, bytes((1, 1, 0, first, last, 0))) + data


def many_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG each of whose scans but the first visits every block for next to no bytes."""
    blocks = -(-width // 8) * -(-height // 8)
    nothing = bytes(blocks // 16384 * 15 // 8 + 4)
    return (
        jpeg_header(SOF_PROGRESSIVE, width, height)
        + scan(0, 0, bytes(blocks // 8 + 1))
        + scan(1, 63, nothing) * scans
        + EOI
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, *more: bytes) -> bytes:
    """All black, with `more` chunks before the pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    packer = zlib.compressobj(9)
    row = bytes(1 + -(-width * depth * channels // 8))
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return PNG + header + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size, and has next to no pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return PNG + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas(width: int, height: int, flags: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """The extended format: its canvas may be larger than any picture in it."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff((b"VP8X", bytes((flags, 0, 0, 0)) + size), *chunks)


def exif(*entries: tuple[int, int, int, int], following: int = 0, order: str = "<") -> bytes:
    """TIFF 6.0: entries are tag, type, count, value or offset; `following` is where the next directory is."""
    mark = b"II" if order == "<" else b"MM"
    body = mark + struct.pack(f"{order}HIH", 42, 8, len(entries))
    return (
        body + b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries) + struct.pack(f"{order}I", following)
    )


def jpeg_with(*segments: bytes) -> bytes:
    return SOI + b"".join(segments) + saved(picture(), "JPEG")[2:]


def exif_images() -> Iterator[tuple[str, bytes]]:
    orientation, sub_directory, gps = 0x0112, 0x8769, 0x8825
    tables = {
        "loop": exif((orientation, 3, 1, 6), (sub_directory, 4, 1, 8), (gps, 4, 1, 8), following=8),
        "orientation-0": exif((orientation, 3, 1, 0)),
        "orientation-9": exif((orientation, 3, 1, 9)),
        "orientation-many": exif((orientation, 3, 2**31, 8)),
        "orientation-text": exif((orientation, 2, 4, 0x36363636)),
        "orientation-fraction": exif((orientation, 5, 1, 8)),
        "offset-outside": exif((orientation, 12, 4, 2**32 - 8)),
        "count-huge": exif(*[(tag, 4, 2**32 - 1, 8) for tag in range(256, 300)]),
        "entries-missing": exif((orientation, 3, 1, 6))[:14],
        "big-endian": exif((orientation, 3, 1, 8 << 16), order=">"),
        "empty": b"",
    }
    for name, table in tables.items():
        yield f"exif-{name}.jpg", jpeg_with(segment(APP1, b"Exif\0\0" + table))
    yield "exif-loop.png", png(8, 8, 8, 2, chunk(b"eXIf", tables["loop"]))
    yield "exif-loop.webp", saved(picture(), "WEBP", exif=b"Exif\0\0" + tables["loop"])


def jpegs() -> Iterator[tuple[str, bytes]]:
    whole = saved(picture(), "JPEG", quality=90)
    progressive = saved(picture(), "JPEG", progressive=True)
    cmyk = saved(picture().convert("CMYK"), "JPEG")
    yield "baseline.jpg", whole
    yield "progressive.jpg", progressive
    for share in (30, 60, 90):
        yield f"progressive-truncated-{share}.jpg", progressive[: len(progressive) * share // 100]
    yield "no-end.jpg", whole[:-2]
    yield "cmyk.jpg", cmyk
    # Without Adobe's segment the four components are CMYK, with transform 2 YCCK.
    yield "cmyk-without-adobe.jpg", cmyk.replace(b"Adobe", b"adobe")
    yield "ycck.jpg", cmyk.replace(b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2")
    yield "grey.jpg", saved(picture().convert("L"), "JPEG")
    yield "arithmetic.jpg", jpeg_header(SOF_ARITHMETIC, 64, 64) + scan(0, 63, bytes(range(250))) + EOI
    yield "12-bit.jpg", jpeg_header(SOF_EXTENDED, 64, 64, precision=12) + scan(0, 63, bytes(64)) + EOI
    yield "lossless.jpg", jpeg_header(0xC3, 64, 64) + scan(1, 0, bytes(64)) + EOI
    yield "two-components.jpg", jpeg_header(SOF_BASELINE, 16, 16, components=2) + scan(0, 63, bytes(64)) + EOI
    yield "no-components.jpg", jpeg_header(SOF_BASELINE, 16, 16, components=0) + scan(0, 63, bytes(64)) + EOI
    for width, height in ((0, 0), (16, 0), (0, 16), (1, 65535), (65535, 1), (65535, 65535), (65500, 763)):
        yield f"{width}x{height}.jpg", jpeg_header(SOF_BASELINE, width, height) + scan(0, 63, bytes(64)) + EOI
    yield "many-scans.jpg", many_scans(512, 512, 5000)
    # Two frames: which of them is the picture's size?
    small, large = (jpeg_header(SOF_BASELINE, side, side) for side in (8, 20000))
    yield "two-frames.jpg", large + small[2:] + scan(0, 63, bytes(64)) + EOI
    yield "hierarchical.jpg", jpeg_header(0xDE, 8, 8) + large[2:] + scan(0, 63, bytes(64)) + EOI
    yield "thumbnail-first.jpg", jpeg_with(segment(APP1, b"Exif\0\0" + saved(picture(), "JPEG")))
    yield "segment-too-long.jpg", SOI + bytes((0xFF, COM, 0xFF, 0xFF)) + whole[2:]
    yield "segment-too-short.jpg", SOI + bytes((0xFF, APP1, 0, 0)) + whole[2:]
    yield (
        "profile-bomb.jpg",
        jpeg_with(*(segment(APP2, b"ICC_PROFILE\0" + bytes((number, 255)) + bytes(500)) for number in range(1, 60))),
    )
    yield "profile-numbers.jpg", jpeg_with(segment(APP2, b"ICC_PROFILE\0\xff\x00junk"), segment(APP2, b"ICC_PROFILE\0"))
    yield "several-pictures.jpg", jpeg_with(segment(APP2, b"MPF\0" + exif((0xB001, 4, 1, 2**31), (0xB002, 7, 16, 8))))
    yield "several-pictures-loop.jpg", jpeg_with(segment(APP2, b"MPF\0" + exif((0xB001, 4, 1, 2), following=8)))
    yield "adobe-short.jpg", jpeg_with(segment(APP14, b"Adobe"))


def pngs() -> Iterator[tuple[str, bytes]]:
    for depth, colour in ((1, 0), (16, 0), (8, 2), (16, 2), (8, 4), (16, 4), (8, 6), (16, 6)):
        yield f"depth-{depth}-colour-{colour}.png", png(9, 7, depth, colour)
    yield "palette.png", png(9, 7, 4, 3, chunk(b"PLTE", bytes(48)), chunk(b"tRNS", b"\0\x80"))
    yield "palette-missing.png", png(9, 7, 8, 3)
    yield "palette-short.png", png(9, 7, 8, 3, chunk(b"PLTE", b"\1\2\3"), chunk(b"tRNS", bytes(256)))
    yield "transparent-grey.png", png(9, 7, 16, 0, chunk(b"tRNS", b"\0\0"))
    yield "transparent-colour.png", png(9, 7, 16, 2, chunk(b"tRNS", bytes(6)))
    yield "interlaced.png", png(9, 7, 8, 2)[:28] + b"\1" + png(9, 7, 8, 2)[29:]
    yield "bomb-5000x9999.png", png(5000, 9999, 1, 0)
    for width, height in ((0, 0), (0, 9), (1, 65535), (65535, 1), (7000, 7000), (50000, 50000), (2**31 - 1, 2**31 - 1)):
        yield f"{width}x{height}.png", png_header(width, height)
    megabytes = zlib.compress(bytes(2**25), 9)
    yield "profile-bomb.png", png(9, 7, 8, 2, chunk(b"iCCP", b"x\0\0" + megabytes))
    yield "text-bomb.png", png(9, 7, 8, 2, chunk(b"zTXt", b"x\0\0" + megabytes))
    yield "text-bombs.png", png(9, 7, 8, 2, *[chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(2**20), 9))] * 70)
    animation = saved(picture(), "PNG", save_all=True, append_images=[picture().rotate(180)] * 3)
    yield "animation.png", animation
    yield "animation-cut.png", animation[: len(animation) // 3]
    yield "animation-frames.png", png(9, 7, 8, 2, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)))
    frame = struct.pack(">IIIIIHHBB", 0, 2**30, 2**30, 2**30, 2**30, 1, 1, 0, 0)
    yield "animation-outside.png", png(9, 7, 8, 2, chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fcTL", frame))
    yield "chunk-too-long.png", png(9, 7, 8, 2)[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT" + bytes(20)
    yield "checksum.png", png(9, 7, 8, 2)[:-20] + bytes(20)
    yield "then-jpeg.png", png(9, 7, 8, 2) + saved(picture(), "JPEG")


def webps() -> Iterator[tuple[str, bytes]]:
    lossy, lossless = saved(picture(), "WEBP"), saved(picture(), "WEBP", lossless=True)
    animation = saved(picture(), "WEBP", save_all=True, append_images=[picture().rotate(90)] * 3)
    yield "lossy.webp", lossy
    yield "lossless.webp", lossless
    yield "alpha.webp", saved(picture().convert("RGBA"), "WEBP", lossless=True)
    yield "animation.webp", animation
    yield "animation-cut.webp", animation[: len(animation) // 2]
    yield "cut.webp", lossy[: len(lossy) // 2]
    yield "canvas-larger.webp", webp_canvas(16000, 16000, 0, (b"VP8 ", lossy[20:]))
    yield "canvas-smaller.webp", webp_canvas(4, 4, 0, (b"VP8 ", lossy[20:]))
    yield "canvas-huge.webp", webp_canvas(2**24, 255, 2, (b"ANIM", bytes(6)), *_frames(animation))
    yield "canvas-huge-still.webp", webp_canvas(2**24, 2**24, 0, (b"VP8 ", lossy[20:]))
    yield "no-picture.webp", webp_canvas(64, 64, 0)
    # 14 bits each of width and height, minus one.
    yield "16384x16384.webp", riff((b"VP8L", b"\x2f" + (2**28 - 1).to_bytes(4, "little") + bytes(8)))
    yield "sizes-disagree.webp", lossy[:4] + struct.pack("<I", 2**32 - 10) + lossy[8:]


def _frames(animation: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at < len(animation):
        name, size = animation[at : at + 4], int.from_bytes(animation[at + 4 : at + 8], "little")
        if name == b"ANMF":
            yield name, animation[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def others() -> Iterator[tuple[str, bytes]]:
    """Formats that are not accepted, and files that are several at once."""
    for kind in ("GIF", "BMP", "TIFF", "PPM", "ICO", "TGA", "PCX", "DDS"):
        yield f"other.{kind.lower()}", saved(picture(), kind)
    jpeg = saved(picture(), "JPEG")
    yield "gif-then-jpeg.gif", saved(picture(), "GIF") + jpeg
    yield "zip-in-comment.jpg", jpeg_with(segment(COM, b"PK\3\4" + bytes(30)))
    yield "html-in-comment.jpg", jpeg_with(segment(COM, b"*/=alert(1)/*<script>"))
    yield "jpeg-in-riff.webp", b"RIFF" + struct.pack("<I", len(jpeg)) + b"WEBP" + jpeg
    yield "svg.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "postscript.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n"


def nested(depth: int) -> Filter:
    node = Filter(comparison=Comparison(field="item_id", operator=Comparison.EQUAL, values=[Value(string_value="a")]))
    for _ in range(depth):
        outer = Filter()
        getattr(outer, "not").CopyFrom(node)
        node = outer
    return node


def nested_bytes(depth: int) -> bytes:
    """Deeper than the library builds messages: field 4 of `Filter`, `not`, around nothing."""
    data = b""
    for _ in range(depth):
        data = b"\x22" + varint(len(data)) + data
    return data


def varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def compare(field: str, *values: Value, operator: int = Comparison.EQUAL) -> Filter:
    return Filter(comparison=Comparison(field=field, operator=Comparison.Operator.ValueType(operator), values=values))


def search_messages() -> Iterator[tuple[str, bytes]]:
    image = saved(picture(), "PNG")
    escape = 'a" or item_id != "'
    filters = {
        "plain": nested(0),
        "depth-15": nested(15),
        "depth-40": nested(40),
        "escape": compare("item_id", Value(string_value=escape)),
        "escape-field": compare('colour"] or attributes["', Value(string_value="x")),
        "backslash": compare("item_id", Value(string_value='\\" or true or "\\')),
        "template": compare("item_id", Value(string_value="{x} $1 %s ${jndi:ldap://x}")),
        "field-long": compare("x" * 70_000, Value(int_value=1)),
        "value-wide": compare("price", Value(string_value="\U0001f0cf" * 4096)),
        "value-strange": compare("item_id", Value(string_value="\u2028\u202e\ufeff\x1b[31m\x85")),
        "values-1001": compare("item_id", *[Value(string_value="a")] * 1001, operator=Comparison.IN),
        "values-none": compare("item_id", operator=Comparison.IN),
        "nan": compare("item_id", Value(double_value=float("nan")), Value(int_value=-(2**63)), operator=Comparison.IN),
        "wide": Filter(any=FilterList(filters=[compare("item_id", Value(string_value="a"))] * 300)),
        "all-empty": Filter(all=FilterList()),
    }  # fmt: skip
    for name, where in filters.items():
        yield f"filter-{name}", _message(SearchRequest(image=image, options=SearchOptions(filter=where)))
    filled = SearchRequest(request_id="r", image=image, options=SearchOptions(top_k=3, include_embeddings=True))
    yield "filled", _message(filled)
    deep = b"\x12" + varint(len(deep_filter := nested_bytes(120))) + deep_filter
    yield "depth-120", b"\x1a" + varint(len(deep)) + deep
    yield "group", b"\x1b" * 200
    yield "utf-8", b"\x0a\x04\xed\xa0\x80\xff"
    yield "length-beyond", b"\x12\xff\xff\xff\xff\x07abc"
    yield "varint-long", b"\x0a" + b"\xff" * 11
    yield "id-long", _message(SearchRequest(request_id="i" * 100_000, image=image))
    nan, huge = float("nan"), 3e38
    boxes = [Box(x1=nan, y1=nan, x2=nan, y2=nan), Box(x1=-huge, x2=huge, y2=huge), Box(x2=1e-45, y2=1e-45)]
    for name, box in zip(("nan", "huge", "tiny"), boxes, strict=True):
        yield f"box-{name}", _message(SearchRequest(image=image, options=SearchOptions(boxes=[box])))
    for name, options in (
        ("measure", SearchOptions(measure=measure_pb2.MANHATTAN, min_similarity=0.5)),
        ("measure-below", SearchOptions(measure=measure_pb2.HAMMING, min_similarity=-0.5)),
        # 2**31 - 1, which a later version may know.
        ("measure-unknown", SearchOptions.FromString(b"\x50\xff\xff\xff\xff\x07")),
        ("release", SearchOptions(release="r2")),
        ("release-path", SearchOptions(release="../../r1")),
        ("release-long", SearchOptions(release="r" * 9000)),
    ):
        yield f"option-{name}", _message(SearchRequest(image=image, options=options))
    late = SearchRequest(image=image)
    late.timeout.seconds, late.timeout.nanos = 2**62, -(2**31)
    yield "timeout-huge", _message(late)
    late.timeout.seconds, late.timeout.nanos = -1, 2**31 - 1
    yield "timeout-mixed", _message(late)


def catalog_messages() -> Iterator[tuple[str, bytes]]:
    image = ItemImage(data=saved(picture(), "PNG"))
    attributes = {f"a{number}": Value(string_value="ü" * 400) for number in range(64)}
    yield "Put-filled", _message(PutRequest(item=Item(item_id="a", images=[image], attributes=attributes)))
    yield "Put-images", _message(PutRequest(item=Item(item_id="a", images=[image] * 65)))
    yield "Put-name-long", _message(PutRequest(item=Item(item_id="a" * 60_000, images=[image])))
    strange = {"a b": Value(), "x" * 9000: Value(int_value=1), 'a"]': Value(bool_value=True)}
    yield (
        "Put-attributes",
        _message(PutRequest(item=Item(item_id="\u202e\U000e0001", images=[image], attributes=strange))),
    )
    yield "Get-long", _message(GetRequest(item_id="\U0001f0cf" * 256, include_image_data=True))
    yield "Delete-control", _message(GetRequest(item_id="a\0b\n"))
    for name, token in (
        ("not-ours", "x"),
        ("path", "../../etc"),
        ("base64", "eyJhIjogMX0="),
        ("long", "after:" * 9000),
    ):
        yield f"List-token-{name}", _message(ListRequest(page_token=token))
    yield "Count-unknown", b"\xfa\x01\x03abc"


def release_messages() -> Iterator[tuple[str, bytes]]:
    index = IndexParameters(m=2048, ef_construction=2**31 - 1, ef=32_768)
    whole = CreateReleaseRequest(release_id="night_2026", detector=2**32 - 1, embedder=1, index=index, keep_index=True)
    yield "Create-whole", _message(whole)
    for metric in (measure_pb2.L2, measure_pb2.HAMMING):
        # Of a version that nobody published: one that could be built would be, behind all that follows.
        measured = CreateReleaseRequest(detector=2**32 - 1, index=IndexParameters(metric=metric))
        yield f"Create-metric-{metric}", _message(measured)
    yield "Create-index", _message(CreateReleaseRequest(index=IndexParameters(m=1, ef_construction=2**31, ef=32_769)))
    for name, release_id in (
        ("path", "../../r1"),
        ("collection", "r1; drop"),
        ("control", "r\0\n"),
        ("long", "r" * 9000),
    ):
        yield f"Create-id-{name}", _message(CreateReleaseRequest(release_id=release_id))
        yield f"Get-id-{name}", _message(GetReleaseRequest(release_id=release_id))
    for name, percent in (("nan", math.nan), ("infinite", -math.inf), ("tiny", 5e-324), ("over", 100.0000001)):
        yield f"Canary-{name}", _message(CanaryRequest(release_id="r1", share=CanaryShare(percent=percent)))
        yield f"Shadow-{name}", _message(ShadowRequest(release_id="r1", percent=percent))
    for name, release_id in (("active", "r1"), ("unknown", "r9"), ("path", "../../r1"), ("long", "r" * 9000)):
        yield f"ListPending-{name}", _message(ListPendingRequest(release_id=release_id, page_size=1000))
        yield f"BuildItems-{name}", _message(BuildItemsRequest(release_id=release_id, item_id="item-1"))
    for name, page_size in (("none", 0), ("many", 2**32 - 1)):
        yield f"ListPending-page-{name}", _message(ListPendingRequest(release_id="r1", page_size=page_size))
    yield "ListPending-token", _message(ListPendingRequest(release_id="r1", page_token="eyJhIjogMX0="))
    for name, item_id in (("empty", ""), ("control", "a\0\n"), ("long", "i" * 9000)):
        yield f"BuildItems-item-{name}", _message(BuildItemsRequest(release_id="r1", item_id=item_id))
    for name, timeout in (("negative", Duration(seconds=-1)), ("endless", Duration(seconds=2**62, nanos=-(2**31)))):
        yield (
            f"BuildItems-timeout-{name}",
            _message(BuildItemsRequest(release_id="r1", item_id="item-1", timeout=timeout)),
        )
    engine = CreateReleaseRequest(detector=2**32 - 1, engine=BuildEngine.OUTSIDE)
    yield "Create-engine", _message(engine)
    callers = [f"caller-{number}" for number in range(101)]
    yield "Canary-callers", _message(CanaryRequest(release_id="r1", share=CanaryShare(callers=callers)))
    yield "Canary-strange", _message(CanaryRequest(release_id="r1", share=CanaryShare(callers=["", "a\0", "\u202e"])))
    for name, requirement in (
        ("plain", "overlap@10>=0.8, p99_ratio<=1.3"),
        ("unknown", "overlap@10>=0.8; import os"),
        ("digits", "overlap@10>=" + "9" * 5000),
        ("commas", "," * 30_000),
        ("evaluation", "evaluation.recall@1_difference_low>0, evaluation.map50.card>=0.5"),
        ("evaluation-name", "evaluation.../..>0"),
    ):
        yield f"Activate-{name}", _message(ActivateReleaseRequest(release_id="r2", require=[requirement]))
    for name, figures in (
        ("plain", [Figure(name="recall@1_difference_low", value=0.01, meaning="least difference at 95 %")]),
        ("nan", [Figure(name="recall@1", value=math.nan)]),
        ("infinite", [Figure(name="recall@1", value=math.inf)]),
        ("unset", [Figure(name="recall@1")]),
        ("twice", [Figure(name="recall@1", value=1)] * 2),
        ("name", [Figure(name="Recall@1; drop", value=1)]),
        ("meaning", [Figure(name="recall@1", value=1, meaning="\u202e\x1b[2J" * 100)]),
        ("many", [Figure(name=f"f{number}", value=1) for number in range(501)]),
    ):
        yield (
            f"RecordEvaluation-{name}",
            _message(RecordEvaluationRequest(release_id="r2", against="r1", figures=figures)),
        )


def feedback_messages() -> Iterator[tuple[str, bytes]]:
    image, nan = saved(picture(), "PNG"), float("nan")
    box = Box(x1=1, y1=2, x2=20, y2=18)
    hits = [Hit(item_id="filled", similarity=0.9), Hit(item_id="other", similarity=0.8)]
    found = ObjectHits(source=ObjectHits.DETECTED, box=box, score=0.9, class_name="mug", hits=hits)
    about: dict[str, Any] = {"release": "r1", "image": image, "object": found}

    def give(kind: FeedbackKind.ValueType, **verdict: Any) -> GiveFeedbackRequest:
        return GiveFeedbackRequest(**about, verdict=Verdict(kind=kind, **verdict))

    missed = GiveFeedbackRequest(release="r1", image=image, verdict=Verdict(kind=FeedbackKind.MISSED, box=box))
    for name, request in (
        ("right", give(FeedbackKind.RIGHT, item_id="filled")),
        ("wrong", give(FeedbackKind.WRONG, item_id="other")),
        ("item", give(FeedbackKind.ITEM, item_id="\u202e\U000e0001")),
        ("box", give(FeedbackKind.BOX, box=box)),
        ("box-nan", give(FeedbackKind.BOX, box=Box(x1=nan, y1=nan, x2=nan, y2=nan))),
        ("box-huge", give(FeedbackKind.BOX, box=Box(x1=-3e38, x2=3e38, y2=1e-45))),
        ("missed", missed),
        ("suspicion", give(FeedbackKind.NARROW_MARGIN)),
        ("unknown-kind", give(99, item_id="filled")),  # type: ignore[arg-type]
    ):
        yield f"Give-{name}", _message(request)
    by_id = GiveFeedbackRequest(**{**about, "image": b""}, image_id="../../etc/passwd")
    yield "Give-path", _message(by_id)
    many = ObjectHits(source=ObjectHits.GIVEN, box=box, hits=[Hit(item_id="a", similarity=nan)] * 1001)
    item, wrong_box = Verdict(kind=FeedbackKind.ITEM, item_id="a"), Verdict(kind=FeedbackKind.BOX)
    yield "Give-hits", _message(GiveFeedbackRequest(**{**about, "object": many}, verdict=item))
    strange = ObjectHits(source=ObjectHits.DETECTED, box=box, score=nan, class_name="\0" * 9000)
    yield "Give-class", _message(GiveFeedbackRequest(**{**about, "object": strange}, verdict=wrong_box))
    yield "Give-id", _message(GiveFeedbackRequest(**about, feedback_id="a\0b", verdict=wrong_box))
    kinds: list[Any] = [FeedbackKind.RIGHT, FeedbackKind.LOW_SIMILARITY, 99]
    choice = FeedbackChoice(kinds=kinds, release="r1", caller="\u202e")
    yield "List-kinds", _message(ListFeedbackRequest(choice=choice, page_size=5))
    yield "List-token", _message(ListFeedbackRequest(page_token="eyJhIjogMX0="))
    yield "Export-all", _message(ExportFeedbackRequest())
    yield "Report-release", _message(FeedbackReportRequest(choice=FeedbackChoice(release="r1; drop")))
    yield "Delete-ids", _message(DeleteFeedbackRequest(feedback_ids=["a"] * 1001))
    yield "Delete-both", _message(DeleteFeedbackRequest(feedback_ids=["a"], caller="b"))
    yield "AddReference-control", _message(AddReferenceRequest(feedback_id="a\0b\n"))


def options() -> dict[str, bytes]:
    """KServe's JSON."""
    return {
        "plain": b'{"top_k": 3}',
        "list-deep": b"[" * 30_000,
        "filter-deep": b'{"filter":' + b'{"not":' * 2000 + b"}" * 2001,
        "infinite": b'{"top_k": 1e400}',
        "digits": b'{"min_similarity": ' + b"9" * 5000 + b"}",
        "surrogate": b'{"filter": {"comparison": {"field": "\\ud800"}}}',
        "name-long": b'{"' + b"x" * 30_000 + b'": 1}',
        "null": b"null",
        "utf-16": '{"top_k": 3}'.encode("utf-16"),
        "filter": b'{"filter": {"all": {"filters": [{"comparison": {"field": "price", "operator": "LESS", "values": '
        b'[{"double_value": 2.5}]}}, {"not": {"comparison": {"field": "colour", "operator": 7, "values": '
        b'[{"stringValue": "red"}, {"string_value": "a\\"b"}]}}}]}}, "objects": "LARGEST", "minSimilarity": -0.5}',
        "measure": b'{"measure": "HAMMING", "release": "r1", "minSimilarity": 0.5}',
        "measure-unknown": b'{"measure": "CHEBYSHEV"}',
        "boxes": b'{"boxes": [{"x1": 1, "y1": 2.5, "x2": "Infinity", "y2": 9e9}], "includeTimings": false}',
    }


def infer_messages() -> Iterator[tuple[str, bytes]]:
    image = saved(picture(), "PNG")
    for name, text in options().items():
        yield f"options-{name}", _message(_infer(image=image, options=text))
    short = _infer(image=image)
    short.raw_input_contents[0] = b"\xff\xff\xff\xff"
    yield "length-beyond", _message(short)
    shaped = _infer(image=image)
    shaped.inputs[0].shape[:] = [2**62, 2**62]
    yield "shape-huge", _message(shaped)
    shared = _infer(image=image)
    shared.inputs[0].parameters["shared_memory_region"].string_param = "../../etc/passwd"
    yield "shared-memory", _message(shared)
    versioned = _infer(image=image)
    versioned.model_version = "9" * 20_000
    yield "version-long", _message(versioned)


def _infer(**inputs: bytes) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name="search")
    for name, content in inputs.items():
        request.inputs.add(name=name, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(len(content).to_bytes(4, "little") + content)
    return request


def _message(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def main() -> None:
    images = [*exif_images(), *jpegs(), *pngs(), *webps(), *others()]
    write(IMAGES, {"empty.jpg": b"", "signature-only.jpg": SOI, "signature-only.png": PNG, **dict(images)})
    messages = {f"SearchService.Search-{name}.bin": data for name, data in search_messages()}
    messages |= {f"CatalogService.{name}.bin": data for name, data in catalog_messages()}
    messages |= {f"FeedbackService.{name}.bin": data for name, data in feedback_messages()}
    messages |= {f"ReleaseService.{name}.bin": data for name, data in release_messages()}
    messages |= {f"GRPCInferenceService.ModelInfer-{name}.bin": data for name, data in infer_messages()}
    write(MESSAGES, messages)
    write(OPTIONS, {f"{name}.json": text for name, text in options().items()})
    print(f"{len(images) + 3} images, {len(messages)} messages")


if __name__ == "__main__":
    main()
