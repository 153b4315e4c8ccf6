"""What every image store promises: a folder, an S3 bucket, and the fake."""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import boto3
import pytest

from semblance.orchestrator.adapters import images
from semblance.orchestrator.adapters.images import FileImageStore
from semblance.orchestrator.errors import DependencyUnavailable, NotFound
from semblance.orchestrator.ports import ImageStore
from semblance.orchestrator.testing import MemoryImageStore


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = uuid4().hex
    boto3.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["memory", "folder", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ImageStore]:
    if request.param == "memory":
        yield MemoryImageStore()
        return
    url = f"file://{tmp_path}/images" if request.param == "folder" else f"s3://{request.getfixturevalue('bucket')}/some"
    files = FileImageStore(url)
    yield files
    await files.close()


async def test_gives_back_the_bytes(store: ImageStore) -> None:
    files = [b"", b"a", os.urandom(3_000_000)]
    await asyncio.gather(*(store.write(digest(data), data) for data in files))
    assert await asyncio.gather(*(store.read(digest(data)) for data in files)) == files


async def test_has_no_image_that_was_not_written(store: ImageStore) -> None:
    with pytest.raises(NotFound, match=digest(b"x")):
        await store.read(digest(b"x"))


async def test_takes_the_same_image_again_even_at_once(store: ImageStore) -> None:
    data = os.urandom(500_000)
    await asyncio.gather(*(store.write(digest(data), data) for _ in range(8)))
    assert await store.read(digest(data)) == data


async def test_lists_the_images_of_a_shard(store: ImageStore) -> None:
    files = {digest(data): data for data in (b"1", b"22", b"333")}
    moment = datetime.now(UTC) - timedelta(seconds=2)
    for image_id, data in files.items():
        await store.write(image_id, data)
        (stored,) = await store.list(image_id[:2])
        assert (stored.image_id, stored.size) == (image_id, len(data))
        assert moment < stored.written_at < datetime.now(UTC) + timedelta(seconds=2)
    assert await store.list("zz") == []


async def test_removes_only_what_is_old(store: ImageStore) -> None:
    await store.write(digest(b"1"), b"1")
    (stored,) = await store.list(digest(b"1")[:2])
    assert not await store.remove(digest(b"1"), stored.written_at)
    assert await store.read(digest(b"1")) == b"1"
    assert await store.remove(digest(b"1"), stored.written_at + timedelta(seconds=1))
    with pytest.raises(NotFound):
        await store.read(digest(b"1"))
    assert await store.list(digest(b"1")[:2]) == []
    assert not await store.remove(digest(b"1"), datetime.now(UTC))


async def test_writing_an_image_again_makes_it_young(tmp_path: Path) -> None:
    store = FileImageStore(f"file://{tmp_path}")
    await store.write(digest(b"1"), b"1")
    os.utime(tmp_path / digest(b"1")[:2] / digest(b"1"), (0, 0))
    await store.write(digest(b"1"), b"1")
    assert not await store.remove(digest(b"1"), datetime.now(UTC) - timedelta(minutes=1))
    await store.close()


async def test_an_image_that_is_written_while_it_is_removed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileImageStore(f"file://{tmp_path}")
    path = tmp_path / digest(b"1")[:2] / digest(b"1")
    rename = Path.rename
    for when in ("before", "after"):
        await store.write(digest(b"1"), b"1")
        os.utime(path, (0, 0))

        def with_a_writer(old: Path, new: Path, when: str = when) -> Path:
            monkeypatch.setattr(Path, "rename", rename)
            if when == "before":
                images._write_durably(path, b"1")
            renamed = rename(old, new)
            if when == "after":
                images._write_durably(path, b"1")
            return renamed

        monkeypatch.setattr(Path, "rename", with_a_writer)
        await store.remove(digest(b"1"), datetime.now(UTC) - timedelta(minutes=1))
        assert await store.read(digest(b"1")) == b"1"
    assert [each.image_id for each in await store.list(digest(b"1")[:2])] == [digest(b"1")]
    await store.close()


async def test_a_killed_writer_leaves_what_can_be_removed(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from semblance.orchestrator.adapters import images\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "images._write_durably(Path(sys.argv[1]), b'1')\n"
    )
    folder = tmp_path / "ab"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", program, folder / ("ab" * 32)], check=False)
    store = FileImageStore(f"file://{tmp_path}")
    (left,) = await store.list("ab")
    assert left.image_id != "ab" * 32
    with pytest.raises(NotFound):
        await store.read("ab" * 32)
    assert await store.remove(left.image_id, datetime.now(UTC) + timedelta(minutes=1))
    assert not any(folder.iterdir())
    await store.close()


# Kills a child at each line of `images` that a removal comes to, one after another, until one comes through. The file
# was renewed by an acknowledged write before the removal begins, or just before it moves the file.
KILLED_AT_EACH_STEP = """
import asyncio, os, signal, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from semblance.orchestrator.adapters import images

store, image_id, renewed_by = images.FileImageStore(f"file://{sys.argv[1]}"), sys.argv[2], sys.argv[3]
path = Path(sys.argv[1]) / image_id[:2] / image_id
before = datetime.now(UTC) - timedelta(minutes=1)
rename = Path.rename

def after_a_writer(old, new):
    if old == path:
        images._write_durably(path, b"1")
    return rename(old, new)

def child(steps):
    def step(frame, event, _):
        nonlocal steps
        if frame.f_code.co_filename != images.__file__:
            return None
        steps -= event == "line"
        if not steps:
            os.kill(os.getpid(), signal.SIGKILL)
        return step
    if renewed_by == "a write at the same moment":
        Path.rename = after_a_writer
    sys.settrace(step)
    images._remove_unless_renewed(path, before)

steps, status = 0, -1
while status:
    steps += 1
    images._write_durably(path, b"1")
    if renewed_by != "a write before":
        os.utime(path, (0, 0))
    if not (pid := os.fork()):
        child(steps)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    # Listed first, as `verify` does it before it collects.
    listed = asyncio.run(store.list(image_id[:2]))
    assert [each.image_id for each in listed] == [image_id], (steps, listed)
    # At once, and when it has been aside for so long that it is put back.
    for images.ASIDE_SECONDS in images.CALL_TIMEOUT, 0.0:
        assert asyncio.run(store.read(image_id)) == b"1", steps
print(steps)
"""


@pytest.mark.parametrize("renewed_by", ["a write before", "a write at the same moment"])
def test_a_removal_that_is_killed_at_any_step_loses_no_acknowledged_image(tmp_path: Path, renewed_by: str) -> None:
    command = [sys.executable, "-c", KILLED_AT_EACH_STEP, str(tmp_path), "ab" * 32, renewed_by]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    # It was killed at several, and came through in the end.
    assert int(ran.stdout) > 5
    assert [path.name for path in (tmp_path / "ab").iterdir()] == ["ab" * 32]


async def test_what_is_read_while_it_is_removed_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileImageStore(f"file://{tmp_path}")
    path = tmp_path / digest(b"1")[:2] / digest(b"1")
    await store.write(path.name, b"1")
    os.utime(path, (0, 0))
    rename, read = Path.rename, list[bytes]()

    def with_a_reader(old: Path, new: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        renamed = rename(old, new)
        read.append(store._bytes(str(path)))
        return renamed

    monkeypatch.setattr(Path, "rename", with_a_reader)
    assert await store.remove(path.name, datetime.now(UTC) - timedelta(minutes=1))
    assert read == [b"1"]
    assert not any(path.parent.iterdir())
    await store.close()


async def test_what_a_killed_removal_left_aside_is_put_back_by_who_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileImageStore(f"file://{tmp_path}")
    path = tmp_path / digest(b"1")[:2] / digest(b"1")
    await store.write(path.name, b"1")
    aside = path.rename(path.with_name(f"{path.name}.removed-by-somebody"))
    # For now it may be under way still.
    assert await store.read(path.name) == b"1"
    assert [*path.parent.iterdir()] == [aside]
    monkeypatch.setattr(images, "ASIDE_SECONDS", 0.0)
    assert await store.read(path.name) == b"1"
    assert [*path.parent.iterdir()] == [path]
    await store.close()


async def test_what_a_killed_removal_left_aside_is_removed_the_next_time(tmp_path: Path) -> None:
    store = FileImageStore(f"file://{tmp_path}")
    path = tmp_path / digest(b"1")[:2] / digest(b"1")
    await store.write(path.name, b"1")
    os.utime(path, (0, 0))
    path.rename(path.with_name(f"{path.name}.removed-by-somebody"))
    (left,) = await store.list(path.parent.name)
    assert left.image_id == path.name
    assert await store.remove(path.name, left.written_at + timedelta(seconds=1))
    assert not any(path.parent.iterdir())
    with pytest.raises(NotFound):
        await store.read(path.name)
    await store.close()


async def test_of_two_removals_none_takes_what_was_written_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileImageStore(f"file://{tmp_path}")
    path = tmp_path / digest(b"1")[:2] / digest(b"1")
    await store.write(path.name, b"1")
    os.utime(path, (0, 0))
    before, unlink = datetime.now(UTC) - timedelta(minutes=1), Path.unlink

    def after_a_writer_and_another_removal(old: Path) -> None:
        monkeypatch.setattr(Path, "unlink", unlink)
        images._write_durably(path, b"1")
        monkeypatch.setattr(Path, "rename", and_the_first_goes_on)
        images._remove_unless_renewed(path, before)

    rename = Path.rename

    def and_the_first_goes_on(old: Path, new: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        renamed = rename(old, new)
        for aside in asides:
            aside.unlink(missing_ok=True)
        return renamed

    asides: list[Path] = []

    def unlink_later(old: Path) -> None:
        asides.append(old)
        after_a_writer_and_another_removal(old)

    monkeypatch.setattr(Path, "unlink", unlink_later)
    await store.remove(path.name, before)
    assert await store.read(path.name) == b"1"
    await store.close()


async def test_a_folder_is_sharded_and_holds_nothing_but_whole_files(tmp_path: Path) -> None:
    store = FileImageStore(f"file://{tmp_path}/a/b")
    await store.write(digest(b"1"), b"1")
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()] == [
        Path("a", "b", digest(b"1")[:2], digest(b"1"))
    ]
    await store.close()


async def test_a_half_written_file_is_written_again(tmp_path: Path) -> None:
    store = FileImageStore(f"file://{tmp_path}")
    path = tmp_path / digest(b"whole")[:2] / digest(b"whole")
    path.parent.mkdir()
    path.write_bytes(b"wh")
    await store.write(digest(b"whole"), b"whole")
    assert await store.read(digest(b"whole")) == b"whole"
    await store.close()


async def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / digest(b"1")[:2]).mkdir()
    store = FileImageStore(f"file://{tmp_path}")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DependencyUnavailable, match="disk is full"):
        await store.write(digest(b"1"), b"1")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    await store.close()


def test_an_acknowledged_image_survives_a_kill(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, signal, sys\n"
        "from semblance.orchestrator.adapters.images import FileImageStore\n"
        "asyncio.run(FileImageStore(sys.argv[1]).write(sys.argv[2], b'1' * 100_000))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, f"file://{tmp_path}", "ab" * 32], check=False)
    assert killed.returncode == -9
    assert (tmp_path / "ab" / ("ab" * 32)).read_bytes() == b"1" * 100_000


async def test_a_folder_that_can_not_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = FileImageStore(f"file://{tmp_path}/file/images")
    with pytest.raises(DependencyUnavailable, match="file/images"):
        await store.write(digest(b"1"), b"1")
    await store.close()


async def test_a_missing_bucket_is_unavailable(bucket: str) -> None:
    store = FileImageStore(f"s3://no-{bucket}")
    with pytest.raises(DependencyUnavailable, match="create it"):
        await store.write(digest(b"1"), b"1")
    with pytest.raises(DependencyUnavailable, match="create it"):
        await store.read(digest(b"1"))
    with pytest.raises(DependencyUnavailable, match="create it"):
        await store.list("ab")
    await store.close()


async def test_an_unreachable_bucket_is_unavailable(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store = FileImageStore(f"s3://{bucket}")
    with pytest.raises(DependencyUnavailable, match="does not answer"):
        await store.write(digest(b"1"), b"1")
    with pytest.raises(DependencyUnavailable, match="does not answer"):
        await store.read(digest(b"1"))
    await store.close()


async def test_a_silent_server_is_unavailable_in_time(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1") as silent:
        port = silent.sockets[0].getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setattr(images, "CALL_TIMEOUT", 0.5)
        store = FileImageStore(f"s3://{bucket}")
        with pytest.raises(DependencyUnavailable, match=r"within 0\.5 s"):
            await store.read(digest(b"1"))
        await store.close()


def test_refuses_another_protocol() -> None:
    with pytest.raises(ValueError, match="must be file://folder or s3://bucket/prefix"):
        FileImageStore("http://example.org")


@pytest.fixture(params=["folder", "s3"])
async def files(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FileImageStore]:
    url = f"file://{tmp_path}/images" if request.param == "folder" else f"s3://{request.getfixturevalue('bucket')}/some"
    made = FileImageStore(url)
    yield made
    await made.close()


async def test_a_probe_leaves_nothing(files: FileImageStore, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    data = b"an image"
    await files.write(digest(data), data)
    await files.probe()
    if (tmp_path / "images").exists():
        assert [path.name for path in (tmp_path / "images").iterdir()] == [digest(data)[:2]]
    else:
        objects = boto3.client("s3").list_objects_v2(Bucket=request.getfixturevalue("bucket"))["Contents"]
        assert [each["Key"] for each in objects] == [f"some/{digest(data)[:2]}/{digest(data)}"]


async def test_a_probe_makes_no_folder(tmp_path: Path) -> None:
    store = FileImageStore(f"file://{tmp_path}/new/images")
    with pytest.raises(NotFound, match="is not there"):
        await store.probe()
    assert not (tmp_path / "new").exists()
    (tmp_path / "new").touch()
    with pytest.raises(DependencyUnavailable):
        await store.probe()


async def test_a_probe_tells_of_a_missing_bucket(bucket: str) -> None:
    store = FileImageStore(f"s3://{bucket}-gone/some")
    with pytest.raises(DependencyUnavailable, match="create it"):
        await store.probe()
    await store.close()
