"""`semblance index`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from semblance.client import Client, NewItem, OverloadedError, UnavailableError
from semblance.client.commands.group import semblance
from semblance.client.testing import FakeSemblance

Picture = Callable[[int], bytes]


@pytest.fixture
def photos(tmp_path: Path, picture: Picture) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}.jpg").write_bytes(picture(number))
    return folder


def index(fake: FakeSemblance, *paths: Path) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(semblance, ["index", "--target", fake.target, *map(str, paths)])


def test_a_folder_is_indexed(fake: FakeSemblance, client: Client, photos: Path) -> None:
    result = index(fake, photos)
    assert result.exit_code == 0
    assert re.match(r"30 created, 0 replaced, 0 unchanged, 0 failed in \d+\.\d s \(\d+\.\d items/s\)\n$", result.stdout)
    assert [item.item_id for item in client.list()] == [f"{number:02}" for number in range(30)]


def test_what_the_service_has_is_not_sent_again(
    fake: FakeSemblance, client: Client, photos: Path, picture: Picture
) -> None:
    index(fake, photos)
    (photos / "new.jpg").write_bytes(picture(100))
    (photos / "07.jpg").write_bytes(picture(101))
    before = fake.received["Put"]
    result = index(fake, photos)
    assert "1 created, 1 replaced, 29 unchanged, 0 failed" in result.stdout
    assert fake.received["Put"] == before + 2


def test_a_manifest_brings_attributes_and_a_change_of_one_is_a_change(
    fake: FakeSemblance, client: Client, photos: Path
) -> None:
    manifest = photos / "items.csv"
    manifest.write_text("item_id,image,price,colour\nmug,00.jpg,5,red\nmug,01.jpg,5,\ncup,02.jpg,6,\n")
    assert "2 created" in index(fake, manifest).stdout
    mug = client.get("mug", include_image_data=True)
    assert mug.attributes == {"price": 5, "colour": "red"}
    assert [image.data for image in mug.images] == [(photos / name).read_bytes() for name in ("00.jpg", "01.jpg")]
    manifest.write_text(manifest.read_text().replace("cup,02.jpg,6", "cup,02.jpg,7"))
    assert "0 created, 1 replaced, 1 unchanged" in index(fake, manifest).stdout


def test_bad_files_are_reported_and_do_not_stop_it(fake: FakeSemblance, client: Client, photos: Path) -> None:
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.png").write_text("hello")
    (photos / "gone.csv").write_text("item_id,image\nlost,nowhere.jpg\nfolder,.\n")
    result = index(fake, photos, photos / "gone.csv", photos / "nothing")
    assert result.exit_code == 1
    assert "30 created, 0 replaced, 0 unchanged, 5 failed" in result.stdout
    for expected in ("empty.jpg", "text.png", "gone.csv:2", "nowhere.jpg", "gone.csv:3", "no such file or folder"):
        assert expected in result.stdout
    assert client.count().items == 30


def test_a_file_whose_name_is_no_text_fails_alone(fake: FakeSemblance, photos: Path, picture: Picture) -> None:
    Path(os.fsdecode(os.fsencode(photos / "m") + b"\xff.png")).write_bytes(picture(40))
    result = index(fake, photos)
    assert result.exit_code == 1
    assert "30 created, 0 replaced, 0 unchanged, 1 failed" in result.stdout
    assert r"m\udcff.png" in result.stdout


def test_what_the_service_refuses_for_the_moment_is_tried_again(fake: FakeSemblance, photos: Path) -> None:
    fake.fail(OverloadedError("busy", 0.01), times=5, method="Put")
    result = index(fake, photos)
    assert result.exit_code == 0
    assert "30 created, 0 replaced, 0 unchanged, 0 failed" in result.stdout
    assert fake.received["Put"] == 35


def test_a_service_that_refuses_everything_is_given_up(fake: FakeSemblance, photos: Path) -> None:
    fake.fail(OverloadedError("busy", 0.01), times=1000, method="Put")
    result = index(fake, photos)
    assert result.exit_code == 1
    assert "30 failed" in result.stdout
    assert "busy" in result.stdout


def test_nothing_to_index_says_why(fake: FakeSemblance, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = index(fake, tmp_path / "empty", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert f"{tmp_path / 'empty'}: no JPEG, PNG or WebP file in this folder" in result.stderr
    assert f"{tmp_path / 'nowhere'}: no such file or folder" in result.stderr
    assert not fake.received


def test_a_service_that_is_not_there_is_named(photos: Path) -> None:
    with FakeSemblance() as fake:
        pass
    result = index(fake, photos)
    assert result.exit_code == 1
    assert f"Error: cannot reach {fake.target}: is it up? start it with `semblance up`" in result.stderr
    assert "stopped early: 0 created" in result.stdout


def test_a_service_that_goes_away_ends_it_with_what_was_done(fake: FakeSemblance, photos: Path) -> None:
    fake.fail(UnavailableError("no database"), times=100, method="List")
    result = index(fake, photos)
    assert result.exit_code == 1
    assert "Error: no database" in result.stderr


def test_interrupted_and_run_again_it_continues(fake: FakeSemblance, client: Client, photos: Path) -> None:
    client.put_item(NewItem("00", [photos / "00.jpg"]))
    program = "from semblance.client.command import main; main()"
    command = [sys.executable, "-c", program, "index", "--target", fake.target, str(photos)]
    with fake.hold("Put"):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            fake.wait_for("Put", 2, timeout=30)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130, stderr
    assert re.search(r"stopped early: \d+ created, .*run the same command again to go on", stdout)
    assert "Traceback" not in stderr

    stored = client.count().items
    result = index(fake, photos)
    summary = re.search(r"(\d+) created, 0 replaced, (\d+) unchanged, 0 failed", result.stdout)
    assert summary is not None, result.stdout
    created, unchanged = map(int, summary.groups())
    # What was held may have been stored after it was counted.
    assert created + unchanged == 30
    assert unchanged >= stored
    assert client.count().items == 30


def test_workers_are_of_an_engine(fake: FakeSemblance, photos: Path) -> None:
    command = ["index", "--target", fake.target, "--workers", "2", str(photos)]
    result = CliRunner().invoke(semblance, command)
    assert result.exit_code == 2
    assert "--workers is of --engine ray" in result.stderr


def test_without_ray_it_says_what_to_install(fake: FakeSemblance, photos: Path) -> None:
    """As in this environment, which has none."""
    result = CliRunner().invoke(semblance, ["index", "--target", fake.target, "--engine", "ray", str(photos)])
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: --engine ray needs Ray Data, which is not installed here: pip install 'semblance-client[ray]'\n"
    )
    assert not fake.received
