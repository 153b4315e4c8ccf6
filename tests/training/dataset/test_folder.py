"""What is written is what Ultralytics reads."""

from pathlib import Path

import pytest
from PIL import Image
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

from semblance.training.dataset.dataset import Dataset, DatasetError
from semblance.training.dataset.folder import staging
from tests.training.dataset.exports import (
    HEIGHT,
    WIDTH,
    annotation,
    imported,
    picture,
    rectangle,
    task,
    tasks_of,
    write,
)


def test_ultralytics_reads_every_split_with_the_boxes_that_were_drawn(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    tasks = tasks_of(folder, range(1, 20))
    tasks.append(task(20, "1.jpg", annotation(rectangle(label="card"))))
    lying = Image.Exif()
    lying[0x0112] = 6
    picture(50).save(folder / "lying.jpg", exif=lying)
    upright = rectangle(label="card", x=0, y=50, width=50, height=50)
    tasks.append(task(21, "lying.jpg", annotation(upright | {"original_width": HEIGHT, "original_height": WIDTH})))
    made = imported(write(folder / "export.json", tasks), tmp_path / "made")
    moved = made.folder.rename(tmp_path / "moved")
    data = check_det_dataset(str(moved / "data.yaml"))
    assert data["names"] == {0: "card", 1: "mug"}
    for split in ("train", "val", "test"):
        read = YOLODataset(img_path=data[split], data=data, task="detect", augment=False, imgsz=WIDTH)
        images = {Path(image.file).name: image for image in made.split(split)}
        assert len(read.labels) == len(images) > 0
        for label in read.labels:
            image = images[Path(label["im_file"]).name]
            assert tuple(label["shape"]) == (image.height, image.width)
            (found,) = image.objects
            (box,) = label["bboxes"]
            x1, y1, x2, y2 = found.box
            middle = ((x1 + x2) / 2 / image.width, (y1 + y2) / 2 / image.height)
            assert tuple(box) == pytest.approx((*middle, (x2 - x1) / image.width, (y2 - y1) / image.height), abs=1e-5)
            assert data["names"][int(label["cls"][0][0])] == found.class_name


def test_labels_of_a_lying_photo_are_of_the_upright_one(tmp_path: Path) -> None:
    """Ultralytics turns what it loads, so that label and pixels are of one orientation."""
    (tmp_path / "in").mkdir()
    lying = Image.Exif()
    lying[0x0112] = 6
    # The left half black: upright, that is the upper half.
    photo = Image.new("RGB", (WIDTH, HEIGHT), "white")
    photo.paste("black", (0, 0, WIDTH // 2, HEIGHT))
    photo.save(tmp_path / "in" / "a.jpg", exif=lying)
    upper = rectangle(x=0, y=0, width=100, height=50) | {"original_width": HEIGHT, "original_height": WIDTH}
    made = imported(write(tmp_path / "in" / "export.json", [task(1, "a.jpg", annotation(upper))]), tmp_path / "out")
    read = YOLODataset(
        img_path=str(made.folder / "images" / "train"),
        data={"names": {0: "mug"}, "channels": 3},
        task="detect",
        augment=False,
        imgsz=WIDTH,
    )
    pixels = read.load_image(0)[0]
    x1, y1, x2, y2 = (round(edge) for edge in made.images[0].objects[0].box)
    assert pixels[y1 + 2 : y2 - 2, x1:x2].max() < 60
    assert pixels[y2 + 2 :, x1:x2].min() > 200


def test_a_dataset_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    export = write(tmp_path / "in" / "export.json", tasks_of(tmp_path / "in", [1]))

    def stage() -> None:
        with staging(tmp_path / "out", replace=False):
            imported(export, tmp_path / "out")

    with pytest.raises(DatasetError, match="--replace"):
        stage()
    assert len(Dataset.read(tmp_path / "out").images) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
