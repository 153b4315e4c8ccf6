"""The folder of annotated photos that training and evaluation read.

data.yaml                     what Ultralytics reads
manifest.json                 what `Dataset` reads: every image with its split and its objects
images/{train,val,test}/      the photos
labels/{train,val,test}/      YOLO's text files: class number, then middle and size as shares of the upright image
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

MANIFEST = "manifest.json"

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the upright image."""

Point = tuple[float, float]


class DatasetError(Exception):
    """A folder is no dataset; the text says what was expected and what to do."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class AnnotatedObject(_Record):
    """One object of a photo."""

    class_name: str = Field(alias="class", min_length=1)
    box: Box
    item_id: str | None = None
    """The catalogue item that it is, where somebody said so."""
    polygon: tuple[Point, Point, Point, Point] | None = None
    """The corners of a rotated rectangle, of which `box` is the upright hull."""

    @model_validator(mode="after")
    def _has_area(self) -> AnnotatedObject:
        x1, y1, x2, y2 = self.box
        if not (x1 < x2 and y1 < y2):
            raise ValueError(f"a box is x1, y1, x2, y2 with x1 < x2 and y1 < y2; this one is {self.box}")
        return self


class AnnotatedImage(_Record):
    """One photo and the objects in it."""

    file: str
    """Below the dataset's folder."""
    split: Split
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    source: str
    """Where it came from: a task's id, a file name."""
    objects: tuple[AnnotatedObject, ...]


class Manifest(_Record):
    """`manifest.json`."""

    format: Literal[1] = 1
    classes: tuple[str, ...]
    """In the order of their numbers in the label files."""
    source: dict[str, str]
    """What the dataset was made from, and by which version."""
    images: tuple[AnnotatedImage, ...]

    @model_validator(mode="after")
    def _knows_its_classes(self) -> Manifest:
        unknown = {o.class_name for image in self.images for o in image.objects} - set(self.classes)
        if unknown:
            raise ValueError(f"objects are of classes {sorted(unknown)}, which `classes` does not name")
        return self


class Dataset:
    """A folder that `semblance dataset import` wrote."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def read(cls, folder: Path) -> Dataset:
        """The dataset in a folder.

        Raises:
            DatasetError: There is none, or its manifest is not what it should be.
        """
        path = folder / MANIFEST
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except OSError as error:
            raise DatasetError(
                f"{folder} is no dataset: {MANIFEST} can't be read ({error.strerror}); "
                "`semblance dataset import` makes one"
            ) from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise DatasetError(
                f"{path}: {where}: {first['msg']}; make it anew with `semblance dataset import`"
            ) from error
        return cls(folder, manifest)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the classes' numbers."""
        return self.manifest.classes

    @property
    def images(self) -> tuple[AnnotatedImage, ...]:
        """Of every split."""
        return self.manifest.images

    def split(self, name: Split) -> tuple[AnnotatedImage, ...]:
        """The images of one split, in the manifest's order."""
        return tuple(image for image in self.images if image.split == name)

    def path(self, image: AnnotatedImage) -> Path:
        """Where an image's file is."""
        return self.folder / image.file
