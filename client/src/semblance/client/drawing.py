"""Pictures of search results: the photo with its boxes, and beside it each object with the items that resemble it.

rows = [Row(Box(40, 60, 200, 220), "mug 0.93", [Thumbnail(mug, "mug-7", 0.97)])]
draw_search(open_upright("kitchen.jpg"), rows).save("result.png")
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont, ImageOps

from semblance.client._client import Client
from semblance.client._errors import NotFoundError
from semblance.client._types import Box, Hit, ObjectHits, SearchResult

Colour = tuple[int, int, int]

MAX_ROWS = 12
"""Objects that a picture has room for."""

PAGE: Colour = (246, 247, 249)
CARD: Colour = (255, 255, 255)
LINE: Colour = (224, 228, 234)
INK: Colour = (28, 33, 43)
FAINT: Colour = (112, 121, 136)

# Told apart by hue and by lightness; white text is readable on each.
PALETTE: tuple[Colour, ...] = (
    (214, 57, 66),
    (33, 112, 202),
    (38, 138, 84),
    (206, 108, 12),
    (124, 72, 200),
    (0, 128, 146),
    (198, 52, 128),
    (126, 98, 52),
    (78, 92, 116),
    (112, 126, 18),
)

MARGIN = 48
GAP = 16
PHOTO_WIDTH = 1240
PHOTO_HEIGHT = 1240
TILE = 148
CAPTION = 58
PADDING = 16
ROW_HEIGHT = TILE + CAPTION + 2 * PADDING
ARROW = 56
SMOOTHING = 4
"""How much larger a mask is drawn than it is used: Pillow's shapes have hard edges."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An item beside an object: its picture, its name and its similarity, -1 to 1."""

    picture: Image.Image
    label: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Row:
    """An object of the photo: its box in pixels of the photo, what it is called, and what resembles it."""

    box: Box
    label: str
    thumbnails: Sequence[Thumbnail]


def draw_result(photo: bytes, result: SearchResult, client: Client, top_k: int = 5) -> Image.Image:
    """The result of searching with `photo`, with the pictures of each object's `top_k` best items.

    `client` fetches the pictures. Of more than `MAX_ROWS` objects the first are drawn.
    """
    drawn = result.objects[:MAX_ROWS]
    files = _files(client, [hit for found in drawn for hit in found.hits[:top_k]])
    rows = [
        Row(found.box, caption(found), [_thumbnail(files.get(hit.image_id), hit) for hit in found.hits[:top_k]])
        for found in drawn
    ]
    return draw_rows(open_upright(photo), rows)


def draw_rows(photo: Image.Image, rows: Sequence[Row]) -> Image.Image:
    """The photo with its numbered boxes on the left, on the right a card for each row."""
    panel = _photo_panel(photo, rows)
    thumbnails = max((len(row.thumbnails) for row in rows), default=0)
    width = 2 * PADDING + TILE + ARROW + max(2 * TILE, thumbnails * (TILE + GAP) - GAP)
    cards_height = len(rows) * (ROW_HEIGHT + GAP) - GAP
    height = max(panel.height, cards_height)
    page = Image.new("RGB", (panel.width + width + 3 * MARGIN, height + 2 * MARGIN), PAGE)
    page.paste(panel, (MARGIN, MARGIN + (height - panel.height) // 2), _rounded_mask(panel.size, 18))
    left, top = panel.width + 2 * MARGIN, MARGIN + (height - cards_height) // 2
    for index, row in enumerate(rows):
        card = _row_card(crop(photo, row.box), row, index, width)
        page.paste(card, (left, top + index * (ROW_HEIGHT + GAP)), _rounded_mask(card.size, 18))
    return page


def montage(pictures: Sequence[Image.Image], columns: int = 1) -> Image.Image:
    """Pictures in rows of `columns`, each as wide as the widest."""
    width = max(picture.width for picture in pictures)
    scaled = [ImageOps.contain(picture, (width, picture.height * width // picture.width)) for picture in pictures]
    lines = [scaled[start : start + columns] for start in range(0, len(scaled), columns)]
    heights = [max(picture.height for picture in line) for line in lines]
    page = Image.new("RGB", (width * min(columns, len(scaled)), sum(heights)), PAGE)
    for number, line in enumerate(lines):
        for column, picture in enumerate(line):
            page.paste(picture, (column * width, sum(heights[:number])))
    return page


def caption(found: ObjectHits) -> str:
    """The class and score of a detected object, the source of any other."""
    if found.score is None:
        return found.source.replace("_", " ")
    return f"{found.class_name} {found.score:.2f}"


def open_upright(image: bytes | str | os.PathLike[str]) -> Image.Image:
    """An image file as an upright RGB picture; what is transparent becomes white."""
    opened = ImageOps.exif_transpose(Image.open(BytesIO(image) if isinstance(image, bytes) else image))
    if not opened.has_transparency_data:
        return opened.convert("RGB")
    white = Image.new("RGBA", opened.size, "white")
    return Image.alpha_composite(white, opened.convert("RGBA")).convert("RGB")


def crop(picture: Image.Image, box: Box) -> Image.Image:
    """What a box holds, at least one pixel."""
    x1, y1 = max(0, min(round(box.x1), picture.width - 1)), max(0, min(round(box.y1), picture.height - 1))
    x2, y2 = max(x1 + 1, min(round(box.x2), picture.width)), max(y1 + 1, min(round(box.y2), picture.height))
    return picture.crop((x1, y1, x2, y2))


def _files(client: Client, hits: Sequence[Hit]) -> dict[str, bytes]:
    """The image files that matched, by image id, without those of items that were deleted since the search."""
    wanted = {hit.image_id for hit in hits}
    files: dict[str, bytes] = {}
    for item_id in {hit.item_id for hit in hits}:
        with suppress(NotFoundError):
            images = client.get(item_id, include_image_data=True).images
            files |= {image.image_id: image.data for image in images if image.data and image.image_id in wanted}
    return files


def _thumbnail(data: bytes | None, hit: Hit) -> Thumbnail:
    """What matched of the item; an empty picture where its file is gone."""
    picture = crop(open_upright(data), hit.box) if data else Image.new("RGB", (TILE, TILE), LINE)
    return Thumbnail(picture, hit.item_id, hit.similarity)


def _photo_panel(photo: Image.Image, rows: Sequence[Row]) -> Image.Image:
    scale = min(PHOTO_WIDTH / photo.width, PHOTO_HEIGHT / photo.height)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    panel = photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    for index, row in enumerate(rows):
        x1, y1, x2, y2 = (round(edge * scale) for edge in (row.box.x1, row.box.y1, row.box.x2, row.box.y2))
        frame = (max(x1, 4), max(y1, 4), min(x2, size[0] - 4), min(y2, size[1] - 4))
        _outline(panel, frame, PAGE, 9)
        _outline(panel, frame, _colour(index), 5)
    # Over all frames, so that no box hides another's number.
    for index, row in enumerate(rows):
        left = min(max(round(row.box.x1 * scale), 4), size[0] - 52)
        top = min(max(round(row.box.y1 * scale), 4), size[1] - 52)
        _badge(panel, (left, top), index)
    return panel


def _row_card(shown: Image.Image, row: Row, index: int, width: int) -> Image.Image:
    card = Image.new("RGB", (width, ROW_HEIGHT), CARD)
    draw = ImageDraw.Draw(card)
    colour = _colour(index)
    _tile(card, shown, (PADDING, PADDING))
    _outline(card, (PADDING, PADDING, PADDING + TILE, PADDING + TILE), colour, 5)
    _badge(card, (PADDING, PADDING), index)
    _text(draw, (PADDING, PADDING + TILE + 10), row.label, 21, INK)
    middle = PADDING + TILE // 2
    _arrow(card, (PADDING + TILE + ARROW // 2, middle))
    if not row.thumbnails:
        draw.text((PADDING + TILE + ARROW, middle), "no item resembles it", FAINT, _font(22), anchor="lm")
    for position, thumbnail in enumerate(row.thumbnails):
        left = PADDING + TILE + ARROW + position * (TILE + GAP)
        _tile(card, thumbnail.picture, (left, PADDING))
        _text(draw, (left, PADDING + TILE + 10), thumbnail.label, 21, INK)
        _similarity(card, (left, PADDING + TILE + 42), thumbnail.similarity, colour)
    return card


def _tile(card: Image.Image, picture: Image.Image, corner: tuple[int, int]) -> None:
    """The whole picture in a square, on a quiet ground where it is not square itself."""
    tile = Image.new("RGB", (TILE, TILE), PAGE)
    fitted = ImageOps.contain(picture.convert("RGB"), (TILE, TILE), Image.Resampling.LANCZOS)
    tile.paste(fitted, ((TILE - fitted.width) // 2, (TILE - fitted.height) // 2))
    card.paste(tile, corner, _rounded_mask(tile.size, 12))
    _outline(card, (*corner, corner[0] + TILE, corner[1] + TILE), LINE, 2)


def _similarity(card: Image.Image, corner: tuple[int, int], similarity: float, colour: Colour) -> None:
    """A bar as long as the similarity, and the figure."""
    draw = ImageDraw.Draw(card)
    figure = f"{similarity:.2f}"
    length = TILE - round(draw.textlength(figure, _font(19))) - 10
    filled = max(6, round(length * min(max(similarity, 0.0), 1.0)))
    for width, paint in ((length, LINE), (filled, colour)):
        bar = Image.new("RGB", (width, 6), paint)
        card.paste(bar, (corner[0], corner[1] + 6), _rounded_mask(bar.size, 3))
    draw.text((corner[0] + TILE, corner[1] + 9), figure, FAINT, _font(19), anchor="rm")


def _badge(picture: Image.Image, corner: tuple[int, int], index: int) -> None:
    badge = Image.new("RGB", (44, 44), _colour(index))
    ImageDraw.Draw(badge).text((22, 22), str(index + 1), CARD, _font(26), anchor="mm", stroke_width=0.6)
    picture.paste(badge, corner, _rounded_mask(badge.size, 12))


def _arrow(card: Image.Image, middle: tuple[int, int]) -> None:
    large = Image.new("L", (24 * SMOOTHING, 36 * SMOOTHING))
    points = [(6 * SMOOTHING, 6 * SMOOTHING), (18 * SMOOTHING, 18 * SMOOTHING), (6 * SMOOTHING, 30 * SMOOTHING)]
    ImageDraw.Draw(large).line(points, 255, 4 * SMOOTHING, joint="curve")
    mask = large.reduce(SMOOTHING)
    card.paste(FAINT, (middle[0] - 12, middle[1] - 18), mask)


def _outline(picture: Image.Image, box: tuple[int, int, int, int], colour: Colour, width: int) -> None:
    x1, y1, x2, y2 = box
    size = (max(x2 - x1, 2 * width), max(y2 - y1, 2 * width))
    picture.paste(colour, (x1, y1), _rounded_mask(size, 12, width))


@lru_cache(maxsize=64)
def _rounded_mask(size: tuple[int, int], radius: int, width: int = 0) -> Image.Image:
    """A rectangle with round corners, filled, or an outline `width` pixels wide."""
    large = Image.new("L", (size[0] * SMOOTHING, size[1] * SMOOTHING))
    edge = (0, 0, large.width - 1, large.height - 1)
    fill = None if width else 255
    ImageDraw.Draw(large).rounded_rectangle(edge, radius * SMOOTHING, fill, 255, max(1, width * SMOOTHING))
    return large.reduce(SMOOTHING)


def _text(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, size: int, colour: Colour) -> None:
    """The text, shortened in its middle to a tile's width: ids often differ at their end."""
    shown, kept = text, len(text)
    while kept > 2 and draw.textlength(shown, _font(size)) > TILE:
        kept -= 1
        shown = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    draw.text(corner, shown, colour, _font(size))


def _colour(index: int) -> Colour:
    return PALETTE[index % len(PALETTE)]


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own Aileron, at a size in pixels."""
    return ImageFont.load_default(size)
