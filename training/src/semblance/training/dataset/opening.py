"""Finds out what kind of export a file, a folder or a zip archive is, and reads it."""

from __future__ import annotations

import hashlib
import json
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from semblance.training.dataset import coco, label_studio, yolo
from semblance.training.dataset.source import Export, Format, SourceError

_KINDS = "Label Studio's JSON or YOLO export, a YOLO folder with data.yaml, or COCO's instances JSON"


@contextmanager
def opened(source: Path, kind: Format | None) -> Iterator[Export]:
    """What an export says; files of an archive are there until the block ends.

    Args:
        kind: what it has to be; None recognises it by its content.

    Raises:
        SourceError: It is malformed, or of no kind that is read.
    """
    if source.is_dir():
        yield _of_folder(source, kind)
    elif zipfile.is_zipfile(source):
        with tempfile.TemporaryDirectory(prefix="semblance-import-") as folder:
            _unpack(source, Path(folder))
            yield _of_folder(Path(folder), kind)
    elif source.suffix.lower() == ".zip":
        raise SourceError(f"{source} is no whole zip archive; download the export again")
    else:
        yield _of_file(source, kind)


def _of_file(path: Path, kind: Format | None) -> Export:
    if kind == "yolo" or path.suffix.lower() in (".yaml", ".yml"):
        raise SourceError(f"{path} is a file, and YOLO's labels are a folder or a zip archive: name that")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}") from error
    return _of_json(_parsed(data, path), hashlib.sha256(data).hexdigest(), path, kind)


def _parsed(data: bytes, path: Path) -> Any:
    try:
        return json.loads(data)
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is no text in UTF-8, and so no JSON; expected {_KINDS}") from error
    except json.JSONDecodeError as error:
        raise SourceError(f"{path} is no JSON (line {error.lineno}, column {error.colno}: {error.msg})") from error
    except RecursionError as error:
        raise SourceError(f"{path} is nested too deeply") from error


def _of_json(content: Any, digest: str, path: Path, kind: Format | None) -> Export:
    if kind is None:
        kind = _recognised(content)
    if kind == "label-studio":
        if not isinstance(content, list):
            raise SourceError(f"{path}: expected a list of tasks, as Label Studio's JSON export is")
        return label_studio.read(content, path.parent, digest)
    if kind == "coco":
        return coco.read(content, path.parent, digest)
    raise SourceError(f"{path} is JSON, but no export that is read; expected {_KINDS}")


def _recognised(content: Any) -> Format | None:
    if isinstance(content, list):
        return "label-studio"
    if isinstance(content, dict) and {"images", "annotations", "categories"} & content.keys():
        return "coco"
    return None


def _of_folder(folder: Path, kind: Format | None) -> Export:
    home = _home(folder)
    if kind != "label-studio" and kind != "coco" and yolo.is_here(home):
        return yolo.read(home)
    if kind == "yolo":
        raise SourceError(f"{folder} has neither classes.txt beside labels/ nor data.yaml, as YOLO's folders do")
    files = sorted({*home.glob("*.json"), *home.glob("annotations/*.json")})
    if len(files) != 1:
        found = ", ".join(str(file.relative_to(home)) for file in files) or "none"
        raise SourceError(f"{folder} has no data.yaml or classes.txt, and of JSON files {found}: name the file to read")
    data = files[0].read_bytes()
    return _of_json(_parsed(data, files[0]), hashlib.sha256(data).hexdigest(), files[0], kind)


def _home(folder: Path) -> Path:
    """The folder itself, or the only one in it: archives often hold one folder with everything."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    return _home(entries[0]) if len(entries) == 1 and entries[0].is_dir() else folder


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks a zip archive whose entries all are plain files inside it."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            for entry in zipped.infolist():
                path = PurePosixPath(entry.filename.replace("\\", "/"))
                if path.is_absolute() or ".." in path.parts:
                    raise SourceError(f"{archive}: {entry.filename!r} points out of the archive; it is not unpacked")
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise SourceError(f"{archive}: {entry.filename!r} is a link; it is not unpacked")
                zipped.extract(entry, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise SourceError(f"{archive} can't be unpacked: {error}; download the export again") from error
