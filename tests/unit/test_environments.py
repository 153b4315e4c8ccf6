"""What set-up says on a host that it can't serve, and that an environment is kept by its lock."""

import ctypes
import platform
import re
import subprocess
import sys
import sysconfig
import threading
import time
import tomllib
from pathlib import Path

import pytest

from environments import build

ROOT = Path(__file__).resolve().parents[2]


def test_this_host_can_run_the_embedded_triton() -> None:
    assert build.host_problem() is None


@pytest.mark.parametrize(
    ("system", "machine", "libc", "named"),
    [
        ("darwin", "arm64", ("", ""), "Linux on x86-64"),
        ("linux", "aarch64", ("glibc", "2.36"), "Linux on x86-64"),
        ("linux", "x86_64", ("glibc", "2.31"), "glibc 2.31"),
        ("linux", "x86_64", ("", ""), "no glibc"),
    ],
)
def test_another_host_is_told_why_and_the_way_out(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, libc: tuple[str, str], named: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    problem = build.host_problem()
    assert problem is not None
    assert named in problem
    assert "docker compose up" in problem


def test_a_python_without_its_library_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: str(tmp_path))

    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    problem = build.host_problem()
    assert problem is not None
    assert "apt-get install libpython3" in problem


def test_set_up_stops_before_it_installs_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(build, "CACHE", tmp_path / "cache")
    with pytest.raises(SystemExit, match="embedded Triton needs Linux"):
        build.main(["app", "triton"])
    assert not (tmp_path / "cache").exists()


def test_who_builds_already_is_waited_for_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "CACHE", tmp_path)
    built: list[str] = []

    def wait_and_build() -> None:
        with build.the_only_one("process 2"):
            built.append("second")

    second = threading.Thread(target=wait_and_build)
    with build.the_only_one("process 1, which builds export"):
        second.start()
        until = time.monotonic() + 20
        while not (said := capsys.readouterr().out):
            assert time.monotonic() < until, "nothing was said within the limit"
            time.sleep(0.01)
        assert said == "setup: waiting for process 1, which builds export\n"
        assert not built
    second.join(20)
    assert built == ["second"]
    with build.the_only_one("process 3"):
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize("stack", ["--milvus standalone", "--data x --milvus=standalone"])
def test_up_builds_what_its_options_need(stack: str) -> None:
    def commands(*options: str) -> str:
        return subprocess.run(["make", "-n", "up", *options], cwd=ROOT, capture_output=True, text=True).stdout

    assert "build.py milvus" in commands(f"STACK={stack}")
    assert "build.py milvus" not in commands("STACK=--milvus lite")
    assert "build.py milvus" not in commands()


def test_an_environment_belongs_to_the_bytes_of_its_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "environments").mkdir()
    lock = tmp_path / "environments" / "app.lock"
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "CACHE", tmp_path / "cache")
    lock.write_text("one==1\n")
    one = build.home_of("app")
    assert build.home_of("app") == one
    lock.write_text("one==2\n")
    assert build.home_of("app") != one


@pytest.mark.parametrize(
    ("lock", "distributions"),
    [
        ("orchestrator", ("proto", "client[cli]", "orchestrator[postgresql]")),
        ("publisher", ("proto", "client[cli]", "export")),
        ("ray", ("proto", "client[cli]", "client[ray]")),
    ],
)
def test_a_lock_has_what_its_distributions_declare(lock: str, distributions: tuple[str, ...]) -> None:
    """They are installed with `--no-deps` into what the lock names."""
    locked = set(re.findall(r"^([\w-]+)==", (ROOT / "environments" / f"{lock}.lock").read_text(), re.MULTILINE))
    for distribution in distributions:
        folder, _, extra = distribution.rstrip("]").partition("[")
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        declared = [*project["dependencies"], *(project["optional-dependencies"][extra] if extra else ())]
        names = {name for name in map(_name, declared) if not name.startswith("semblance-")}
        assert names <= locked


def _name(requirement: str) -> str:
    return re.split(r"[^\w-]", requirement)[0]


def programs(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch(mode=0o755)


def test_programs_that_the_host_has_are_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    programs(tmp_path, "prometheus", "promtool")
    assert build.unpacked("prometheus") is None


def test_a_host_without_apt_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    programs(tmp_path, "prometheus")
    assert build.unpacked("prometheus") is None
    assert "install it so that prometheus and promtool are on PATH" in capsys.readouterr().out
