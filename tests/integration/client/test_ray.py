"""`semblance index --engine ray` on a real Ray with two workers, against a fake service that passes the contract."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from PIL import Image

from semblance.benchmarks import ray_cluster
from semblance.benchmarks.ray_cluster import RayCluster
from semblance.client import Client, NewItem
from semblance.client.testing import FakeSemblance

PHOTOS = 40
LIMIT = 240.0
TOKEN = "semblance.shop.not-to-be-logged"


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster.started(2) as started:
        yield started


@pytest.fixture
def fake() -> Iterator[FakeSemblance]:
    with FakeSemblance() as service:
        yield service


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(PHOTOS):
        (folder / f"{number:02}.jpg").write_bytes(picture(number))
    return folder


def picture(number: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 48), (number, 7, 99)).save(file, "JPEG")
    return file.getvalue()


def begun(
    program: Path, fake: FakeSemblance, *arguments: str | Path, environment: Mapping[str, str], cwd: Path | None = None
) -> subprocess.Popen[str]:
    command = [program, "index", "--target", fake.target, "--engine", "ray", *arguments]
    return subprocess.Popen(
        list(map(str, command)),
        env={**environment, "COLUMNS": "200", "SEMBLANCE_TOKEN": TOKEN},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        stdout, stderr = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    return process.returncode, stdout, stderr


def stored(fake: FakeSemblance) -> list[str]:
    with Client(fake.target) as client:
        return [item.item_id for item in client.list()]


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < give_up, "what was waited for did not come"
        time.sleep(0.01)


def test_what_a_killed_worker_was_doing_is_done_again_nothing_twice_and_the_token_in_no_log(
    cluster: RayCluster, fake: FakeSemblance, photos: Path
) -> None:
    with fake.hold("Put"):
        process = begun(cluster.program, fake, "--workers", "2", photos, environment=cluster.environment)
        fake.wait_for("Put", 2, timeout=LIMIT)
        until(lambda: len(cluster.busy()) == 2)
        cluster.busy()[0].send_signal(signal.SIGKILL)
    status, stdout, stderr = ended(process)
    assert status == 0, stderr
    created, unchanged = map(int, re.findall(r"^(\d+) created, 0 replaced, (\d+) unchanged, 0 failed", stdout)[0])
    # What the killed worker had sent is stored when the next one sends it.
    assert created + unchanged == PHOTOS
    assert stored(fake) == [f"{number:02}" for number in range(PHOTOS)]
    # Nothing of Ray's is between what the command says.
    assert len(stdout.splitlines()) == 1
    assert "ray" not in (stdout + stderr).lower()
    assert f"{PHOTOS}/{PHOTOS}" in stderr
    logs = [path for path in cluster.folder.rglob("*") if path.is_file()]
    assert any("ray-data" in path.parts for path in logs)
    assert not [path for path in logs if TOKEN.encode() in path.read_bytes()]


def test_a_file_that_kills_every_worker_fails_alone(cluster: RayCluster, fake: FakeSemblance, photos: Path) -> None:
    """A pipe for a photo: who reads it is known, and killed."""
    os.mkfifo(photos / "deadly")
    rows = [f"photo-{number},{number:02}.jpg" for number in range(9)]
    (photos / "items.csv").write_text("\n".join(["item_id,image", *rows, "deadly,deadly"]))
    over = threading.Event()
    deaths: list[int] = []
    executioner = threading.Thread(target=kill_readers, args=(photos / "deadly", cluster, over, deaths))
    executioner.start()
    try:
        command = begun(cluster.program, fake, "--workers", "1", photos / "items.csv", environment=cluster.environment)
        status, stdout, stderr = ended(command)
    finally:
        over.set()
        executioner.join(LIMIT)
    assert status == 1, stderr
    assert "1 failed" in stdout
    row = next(line for line in stdout.splitlines() if "items.csv:11" in line)
    assert "4 workers died with it" in row
    assert sorted(stored(fake)) == sorted(f"photo-{number}" for number in range(9))
    # Four with its block, and four with it alone.
    assert len(deaths) == 8


def kill_readers(pipe: Path, cluster: RayCluster, over: threading.Event, deaths: list[int]) -> None:
    while not over.is_set():
        try:
            writing = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # Nobody reads it.
            over.wait(0.02)
            continue
        readers = [process for process in cluster.busy() if str(pipe) in paths(process)]
        for reader in readers:
            reader.kill()
            reader.wait(LIMIT)
            deaths.append(reader.pid)
        os.close(writing)


def paths(process: psutil.Process) -> Sequence[str]:
    found = []
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            found.append(os.readlink(link))
        except OSError:
            continue
    return found


def test_interrupted_it_says_how_to_go_on_and_does(cluster: RayCluster, fake: FakeSemblance, photos: Path) -> None:
    with fake.hold("Put"):
        process = begun(cluster.program, fake, "--workers", "2", photos, environment=cluster.environment)
        fake.wait_for("Put", 2, timeout=LIMIT)
        os.killpg(process.pid, signal.SIGINT)
        status, stdout, stderr = ended(process)
        assert status == 130, stderr
        assert re.search(r"stopped early: 0 created, .*run the same command again to go on", stdout)
        assert "Traceback" not in stderr
        until(lambda: not cluster.busy())
    status, stdout, stderr = ended(begun(cluster.program, fake, photos, environment=cluster.environment))
    assert status == 0, stderr
    assert stored(fake) == [f"{number:02}" for number in range(PHOTOS)]


def test_without_an_address_it_starts_ray_here_and_leaves_none_behind(fake: FakeSemblance, photos: Path) -> None:
    """With paths relative to where it is called, a file that is no photo, and one that the service has already."""
    (photos / "text.png").write_text("hello")
    with Client(fake.target) as client:
        client.put_item(NewItem("00", [photos / "00.jpg"]))
    sent = fake.received["Put"]
    with ray_cluster.folder() as (folder, environment):
        command = begun(
            ray_cluster.program(), fake, "--workers", "2", "photos", environment=environment, cwd=photos.parent
        )
        status, stdout, stderr = ended(command)
        until(lambda: not [each for each in psutil.process_iter(["cmdline"]) if str(folder) in str(each.info)])
    assert status == 1, stderr
    assert f"{PHOTOS - 1} created, 0 replaced, 1 unchanged, 1 failed" in stdout
    assert "photos/text.png" in stdout
    assert fake.received["Put"] == sent + PHOTOS
