"""`ImageStore` over fsspec: a folder or an S3 bucket."""

import asyncio
import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import fsspec
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem

from semblance.orchestrator.address import without_password
from semblance.orchestrator.errors import DependencyUnavailable, NotFound
from semblance.orchestrator.folder import can_be_made
from semblance.orchestrator.ports import StoredImage

T = TypeVar("T")

# Files read and written at once.
THREADS = 16
# For one file, waiting for a thread included, in seconds.
CALL_TIMEOUT = 30.0

# What the names of files that prove a store begin with; those of images are in folders.
PROBE = "semblance-probe-"

# What follows the name of an image that a removal has moved out of the way of writers.
ASIDE = ".removed"
# A removal that has left it there for so long, in seconds, was killed: one that runs takes milliseconds, and nobody
# waits longer for one. Before that it is not put back under the hands of a removal: nothing may refer to it, and who
# finds it gone takes it for removed.
ASIDE_SECONDS = CALL_TIMEOUT

# fsspec's options by protocol; credentials and endpoint come from AWS' and fsspec's usual variables.
OPTIONS: dict[str, dict[str, Any]] = {
    "file": {},
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 15, "retries": {"max_attempts": 2}}},
}

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
}


class FileImageStore:
    """Keeps each file under the first two digits of its digest: `ab/abcdef…`."""

    def __init__(self, url: str) -> None:
        """`url` is `file://folder`, which is made where it is missing, or `s3://bucket/prefix`, whose bucket is there.

        Raises ValueError for another protocol.
        """
        protocol = url.partition("://")[0]
        if protocol not in OPTIONS:
            raise ValueError(
                f"the image store is {without_password(url)!r}; it must be file://folder or s3://bucket/prefix"
            )
        self._url = url
        self._files, self._root = fsspec.core.url_to_fs(url, skip_instance_cache=True, **OPTIONS[protocol])
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="images")

    @property
    def removes_exactly(self) -> bool:
        """A folder renames a file out of the way before it looks at it; S3 can't."""
        return isinstance(self._files, LocalFileSystem)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def write(self, image_id: str, data: bytes) -> None:
        path = self._path(image_id)
        try:
            if isinstance(self._files, LocalFileSystem):
                await self._run(lambda: _write_durably(Path(path), data))
            else:
                await self._run(lambda: self._files.pipe_file(path, data))
        except FileNotFoundError as error:
            raise DependencyUnavailable(f"the image store {self._url} is not there; create it") from error

    async def read(self, image_id: str) -> bytes:
        path = self._path(image_id)
        try:
            return await self._run(lambda: self._bytes(path))
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise DependencyUnavailable(f"the image store {self._url} is not there; create it") from error
            raise NotFound(f"there is no image {image_id}") from None

    async def list(self, shard: str) -> Sequence[StoredImage]:
        folder = f"{self._root}/{shard}"
        try:
            return await self._run(lambda: _stored(self._files.ls(folder, detail=True, refresh=True)))
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise DependencyUnavailable(f"the image store {self._url} is not there; create it") from error
            return []

    async def remove(self, image_id: str, before: datetime) -> bool:
        path = self._path(image_id)
        try:
            if isinstance(self._files, LocalFileSystem):
                return await self._run(lambda: _remove_unless_renewed(Path(path), before))
            return await self._run(lambda: self._remove_object(path, before))
        except FileNotFoundError:
            return False

    async def probe(self) -> None:
        """Writes a file beside the images, reads it and removes it; makes no folder.

        Raises NotFound where the folder is not there, and can be made.
        """
        name = f"{PROBE}{token_hex(8)}"
        path = f"{self._root}/{name}"
        try:
            await self._run(lambda: self._write_read_remove(path, name.encode()))
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise DependencyUnavailable(f"the image store {self._url} is not there; create it") from error
            if not can_be_made(Path(self._root)):
                raise DependencyUnavailable(f"the image store {self._url} is not there and can't be made") from None
            raise NotFound(f"the image store {self._url} is not there") from None

    def _bytes(self, path: str) -> bytes:
        try:
            return bytes(self._files.cat_file(path))
        except FileNotFoundError:
            if not isinstance(self._files, LocalFileSystem):
                raise
        for aside in _aside(Path(path)):
            # Whoever is removing it may have judged meanwhile.
            with suppress(FileNotFoundError):
                data = aside.read_bytes()
                # Renaming a file changes its ctime; where a file system leaves it as it was, it is put back too soon.
                if time.time() - aside.stat().st_ctime >= ASIDE_SECONDS:
                    _put_back(aside, Path(path))
                return data
        return bytes(self._files.cat_file(path))

    def _write_read_remove(self, path: str, content: bytes) -> None:
        self._files.pipe_file(path, content)
        try:
            if self._files.cat_file(path) != content:
                raise DependencyUnavailable(f"the image store {self._url} gives back other bytes than were written")
        finally:
            self._files.rm_file(path)

    def _remove_object(self, path: str, before: datetime) -> bool:
        if _modified(self._files.info(path, refresh=True)) >= before:
            return False
        self._files.rm_file(path)
        return True

    def _path(self, image_id: str) -> str:
        return f"{self._root}/{image_id[:2]}/{image_id}"

    async def _run(self, work: Callable[[], T]) -> T:
        """`work` in a thread. Raises DependencyUnavailable for every failure but FileNotFoundError."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError as error:
            raise DependencyUnavailable(
                f"the image store {self._url} does not answer within {CALL_TIMEOUT:.3g} s"
            ) from error
        except FileNotFoundError:
            raise
        except (OSError, BotoCoreError, ClientError) as error:
            raise DependencyUnavailable(f"the image store {self._url} can't be used: {_reason(error)}") from error


def _write_durably(path: Path, data: bytes) -> None:
    """A reader sees the whole file or none, and a power cut after this returns takes nothing away."""
    _make_folder(path.parent)
    if not _renewed(path, len(data)):
        # Begins as the image does: what a killed writer leaves is found beside it.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    _sync_folder(path.parent)


def _renewed(path: Path, size: int) -> bool:
    """Whether the whole file is there; it is then as young as if it were just written."""
    try:
        os.utime(path)
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _remove_unless_renewed(path: Path, before: datetime) -> bool:
    """Out of the way first: a writer has renewed the file by then, which is seen here, or writes it anew.

    The name aside is of this removal alone, so that none takes what another has moved. What a killed one left aside is
    judged, too; until then, `list` and `read` find it.
    """
    mine = path.with_name(f"{path.name}{ASIDE}-{token_hex(8)}")
    removed = False
    for found in (path, *_aside(path)):
        # Another removal or a reader may be quicker.
        with suppress(FileNotFoundError):
            found.rename(mine)
            if _moment(mine.stat().st_mtime) >= before:
                _put_back(mine, path)
                return False
            mine.unlink()
            removed = True
    return removed


def _aside(path: Path) -> Sequence[Path]:
    """Where removals that are under way, or were killed, have moved the file."""
    return list(path.parent.glob(f"{path.name}{ASIDE}*"))


def _put_back(aside: Path, path: Path) -> None:
    # It may replace what a writer has just written anew, and must not make that older.
    os.utime(aside)
    aside.rename(path)
    _sync_folder(path.parent)


def _stored(infos: Iterable[Mapping[str, Any]]) -> Sequence[StoredImage]:
    """From what fsspec says of files: `mtime` of a local one, `LastModified` in S3. Each image once, as it was written
    last."""
    found: dict[str, StoredImage] = {}
    for info in infos:
        image_id = info["name"].rpartition("/")[2].partition(ASIDE)[0]
        image = StoredImage(image_id, int(info["size"]), _modified(info))
        if image_id not in found or found[image_id].written_at < image.written_at:
            found[image_id] = image
    return list(found.values())


def _modified(info: Mapping[str, Any]) -> datetime:
    return info.get("LastModified") or _moment(info["mtime"])


def _moment(mtime: float) -> datetime:
    """Rounded to the microsecond, always in the same way: what `list` told compares equal in `remove`."""
    return datetime.fromtimestamp(mtime, UTC)


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "access is denied"
    return _REASONS.get(getattr(error, "errno", None) or 0, "it does not answer")


def _code(error: OSError) -> str:
    """S3's name for the failure."""
    cause = error.__cause__
    return str(cause.response["Error"]["Code"]) if isinstance(cause, ClientError) else ""
