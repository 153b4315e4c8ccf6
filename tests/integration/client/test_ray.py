"""`semblance index` and `release create` with `--engine ray`, on a real Ray with two workers.

They talk to fakes: a catalogue that passes the contract, and what is behind `ReleaseService`.
"""

from __future__ import annotations

import asyncio
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
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import ContractMismatch
from semblance.orchestrator.item import IdPage
from semblance.orchestrator.release import Registered
from semblance.orchestrator.releases import Progress, Wanted
from tests.releases import FakeBuilds, FakeReleases, served_in_a_thread

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
    return called([program, "index", "--target", fake.target, "--engine", "ray", *arguments], environment, cwd)


def called(
    command: Sequence[str | Path], environment: Mapping[str, str], cwd: Path | None = None
) -> subprocess.Popen[str]:
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


class Lacking(FakeBuilds):
    """What is built is not lacking any more. All but the first item, which shows that the release takes any, wait for
    `gate`, and `lost` can't be built."""

    def __init__(self) -> None:
        super().__init__()
        self.items = [f"item-{number:02}" for number in range(PHOTOS)]
        self.lost = "item-07"
        self.gate = threading.Event()

    async def pending(self, release_id: str, page_size: int, page_token: str) -> IdPage:
        built = {item_id for _, item_id in self.built}
        self.lacking = [item_id for item_id in self.items if item_id not in built]
        return await super().pending(release_id, page_size, page_token)

    async def build(self, release_id: str, item_id: str, deadline: Deadline) -> None:
        if item_id != self.items[0]:
            await asyncio.to_thread(self.gate.wait, LIMIT)
        if item_id == self.lost:
            raise ContractMismatch("its photo is lost")
        await super().build(release_id, item_id, deadline)


class ReadyWhenBuilt(FakeReleases):
    def __init__(self, builds: Lacking) -> None:
        super().__init__()
        self.steps, self.builds = 10**9, builds

    async def get(self, release_id: str) -> tuple[Registered, Progress]:
        if len({item_id for _, item_id in self.builds.built}) >= PHOTOS - 1:
            self._left[release_id] = 0
        return await super().get(release_id)


def test_a_release_is_built_though_a_worker_is_killed(cluster: RayCluster) -> None:
    builds = Lacking()
    releases = ReadyWhenBuilt(builds)
    with served_in_a_thread(releases, builds) as target:
        command = ["release", "create", "big", "--embedder", "2", "--target", target]
        process = called([cluster.program, *command, "--engine", "ray", "--workers", "2"], cluster.environment)
        until(lambda: len(cluster.busy()) == 2 and builds.waiting >= 0 and bool(builds.built))
        cluster.busy()[0].kill()
        builds.gate.set()
        status, stdout, stderr = ended(process)
    assert status == 0, stderr
    assert stdout.splitlines()[-1] == "big is ready"
    assert {item_id for _, item_id in builds.built} == {*builds.items} - {builds.lost}
    assert f"{builds.lost}: its photo is lost" in stderr
    assert releases.asked[0] == Wanted("big", embedder=2, outside=True)
