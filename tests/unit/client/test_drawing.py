"""The picture of a search result."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image

from semblance.client import Box, Client, NewItem
from semblance.client.drawing import PALETTE, Row, Thumbnail, crop, draw_result, draw_rows, montage, open_upright
from semblance.client.testing import FakeSemblance, SeenObject

Picture = Callable[[int], bytes]


def share(picture: Image.Image, colour: tuple[int, int, int]) -> float:
    """The share of pixels that have exactly this colour."""
    colours = picture.getcolors(picture.width * picture.height) or []
    return sum(count for count, found in colours if found == colour) / (picture.width * picture.height)


def test_photo_boxes_and_hits_are_in_the_picture(fake: FakeSemblance, client: Client) -> None:
    def plain(colour: tuple[int, int, int]) -> bytes:
        file = BytesIO()
        Image.new("RGB", (400, 300), colour).save(file, "PNG")
        return file.getvalue()

    blue, green = (10, 20, 250), (10, 250, 20)
    client.put_item(NewItem("mug", [plain(green)]))
    fake.shows(plain(blue), [SeenObject(Box(40, 40, 200, 200), "mug", similar={"mug": 0.9})])
    drawn = draw_result(plain(blue), client.search(plain(blue)), client)
    assert share(drawn, blue) > 0.3, "the photo"
    assert share(drawn, green) > 0.005, "the hit"
    assert share(drawn, PALETTE[0]) > 0.002, "the box"


def test_an_item_is_fetched_once_however_often_it_is_hit(fake: FakeSemblance, client: Client, picture: Picture) -> None:
    client.put_item(NewItem("mug", [picture(1), picture(2)]))
    client.put_item(NewItem("cup", [picture(3)]))
    seen = [SeenObject(Box(0, 0, 20 + number, 20), "mug", similar={"mug": 0.9, "cup": 0.8}) for number in range(3)]
    fake.shows(picture(9), seen)
    result = client.search(picture(9))
    client.delete("cup")
    draw_result(picture(9), result, client)
    assert fake.received["Get"] == 2


@pytest.mark.parametrize("size", [(1, 1), (4000, 10), (10, 4000), (640, 480)])
@pytest.mark.parametrize("objects", [0, 1, 12])
def test_any_size_and_number_of_objects_can_be_drawn(size: tuple[int, int], objects: int) -> None:
    photo = Image.new("RGB", size, "navy")
    hit = Thumbnail(Image.new("RGB", (30, 900)), "an item id that is far longer than a tile is wide " * 4, -0.3)
    boxes = [Box(-5, -5, size[0] + 5, size[1] + 5), Box(0, 0, 0.2, 0.2)]
    rows = [Row(boxes[number % 2], "mug 0.93", [hit] * (number % 6)) for number in range(objects)]
    drawn = draw_rows(photo, rows)
    assert drawn.mode == "RGB"
    assert max(drawn.size) < 5000


def test_a_crop_has_at_least_a_pixel() -> None:
    picture = Image.new("RGB", (10, 10))
    assert crop(picture, Box(2, 3, 7, 9)).size == (5, 6)
    assert crop(picture, Box(-5, -5, 50, 50)).size == (10, 10)
    assert crop(picture, Box(10, 10, 10, 10)).size == (1, 1)


def test_pictures_are_upright_and_on_white() -> None:
    file = BytesIO()
    exif = Image.Exif()
    exif[274] = 8
    Image.new("RGB", (30, 20)).save(file, "JPEG", exif=exif)
    assert open_upright(file.getvalue()).size == (20, 30)
    file = BytesIO()
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(file, "PNG")
    assert open_upright(file.getvalue()).getpixel((0, 0)) == (255, 255, 255)


def test_a_montage_holds_all_of_its_pictures() -> None:
    pictures = [Image.new("RGB", (100, 50), "red"), Image.new("RGB", (200, 80), "blue")]
    stacked = montage(pictures)
    assert stacked.size == (200, 180)
    assert share(stacked, (255, 0, 0)) == pytest.approx(100 / 180)
    assert montage(pictures, columns=2).size == (400, 100)
