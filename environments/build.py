"""Builds the project's Python environments from their lock files.

    python3 environments/build.py app triton     builds or finds them
    python3 environments/build.py --lock         locks *.in anew
    python3 environments/build.py prometheus     unpacks Debian's or Ubuntu's package of that name

An environment's packages live in the user's cache folder under the hash of its lock file, so that a second clone
finds them there. The clone's `.venv/<name>` is a thin virtual environment of a few kilobytes that sees them and the
project's own distributions, installed editable; environments without project code are a link. Building again
what stands costs a hash. Programs that PyPI has not come from the package of the host's distribution, which is unpacked
beside them: nothing is installed, and nobody need be root.
"""

# An older Python must be able to read this far, to be told that it is too old.
from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import platform
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UV = "0.13.9"
ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semblance" / "environments"

# Which of the project's distributions each environment sees.
DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "app": ("proto", "client", "orchestrator", "export", "serving"),
    "bench": ("proto", "client", "orchestrator", "export", "serving", "benchmarks", "observability"),
    "dev": ("proto", "client", "orchestrator", "export", "serving", "benchmarks", "observability", "training"),
    "export": ("proto", "client", "orchestrator", "export", "serving", "training"),
    "ray": ("proto", "client"),
    "triton": (),
    "milvus": (),
    "perf_analyzer": (),
    "alternatives": (),
    "docs": (),
}

# Those that are built in containers alone.
CONTAINERS = ("orchestrator", "publisher")

# Packages of Debian and Ubuntu, and the programs in them that are wanted.
DEBIAN: dict[str, tuple[str, ...]] = {"prometheus": ("prometheus", "promtool")}

# The PyPI wheel with tritonserver is built for these; see the wheel's platform tag.
TRITON_GLIBC = (2, 35)
TRITON_PYTHONS = ((3, 11), (3, 12))


def host_problem() -> str | None:
    """Why the embedded Triton can't run on this host and what to do, or None where it can."""
    way_out = (
        "Use `docker compose up` on this host, or a Linux x86-64 host with glibc 2.35 or newer "
        "(Debian 12, Ubuntu 22.04) for the embedded runtime."
    )
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        found = f"{platform.system()} {platform.machine()}"
        return f"the embedded Triton needs Linux on x86-64, and this is {found}. {way_out}"
    libc, version = platform.libc_ver()
    if libc != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < TRITON_GLIBC:
        found = f"{libc or 'no glibc'} {version}".strip()
        return f"the embedded Triton needs glibc 2.35 or newer, and this host has {found}. {way_out}"
    if sys.version_info[:2] not in TRITON_PYTHONS:
        return (
            f"the embedded Triton needs Python 3.11 or 3.12, and this is {platform.python_version()}. "
            "Name another one: `make setup PYTHON=python3.11`."
        )
    library = f"libpython3.{sys.version_info.minor}.so.1.0"
    if not (Path(sysconfig.get_config_var("LIBDIR") or "/") / library).exists():
        try:
            ctypes.CDLL(library)
        except OSError:
            return (
                f"Triton's Python backend links {library}, which this host does not have. "
                f"Install it (Debian, Ubuntu: `apt-get install libpython3.{sys.version_info.minor}`), "
                "or use a Python that was built with --enable-shared."
            )
    return None


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Runs a command and ends this program with its output if it fails."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nsetup: `{' '.join(map(str, command))}` failed with status {done.returncode}")


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


def site_packages(environment: Path) -> Path:
    return environment / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"


def uv() -> Path:
    """The pinned uv, installed into the cache on first use."""
    home = CACHE / f"uv-{UV}"
    program = home / "bin" / "uv"
    if not program.exists():
        print(f"setup: installing uv {UV}", flush=True)
        run(sys.executable, "-m", "venv", "--clear", home)
        run(python_of(home), "-m", "pip", "install", "--quiet", f"uv=={UV}")
    return program


def home_of(name: str) -> Path:
    """Where the packages of `environments/<name>.lock` are kept for this Python."""
    lock = ROOT / "environments" / f"{name}.lock"
    python = f"{sys.version_info[:2]} {sys.base_prefix}".encode()
    return CACHE / f"{name}-{hashlib.sha256(lock.read_bytes() + python).hexdigest()[:16]}"


def packages(name: str) -> Path:
    """The cached environment with the packages of `environments/<name>.lock`, built if it is not there."""
    lock = ROOT / "environments" / f"{name}.lock"
    home = home_of(name)
    complete = home / ".complete"
    if not complete.exists():
        print(f"setup: installing the packages of {lock.name} (kept in {home})", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        run(uv(), "venv", "--quiet", "--python", sys.executable, home)
        run(uv(), "pip", "sync", "--require-hashes", "--python", python_of(home), lock)
        complete.touch()
    return home


def thin(name: str, cached: Path) -> Path:
    """The clone's own environment: the cached packages, and the project's distributions installed editable."""
    home = ROOT / ".venv" / name
    projects = [ROOT / folder for folder in DISTRIBUTIONS[name]]
    definition = hashlib.sha256(str(cached).encode() + b"".join((p / "pyproject.toml").read_bytes() for p in projects))
    mark = home / ".built-from"
    if mark.exists() and mark.read_text() == definition.hexdigest():
        return home
    print(f"setup: .venv/{name}", flush=True)
    run(sys.executable, "-m", "venv", "--clear", "--without-pip", home)
    path_file = site_packages(home) / "_packages.pth"
    path_file.write_text(f"import site; site.addsitedir({str(site_packages(cached))!r})\n")
    editable = [part for project in projects for part in ("--editable", str(project))]
    run(uv(), "pip", "install", "--no-deps", "--python", python_of(home), *editable)
    (home / "packages").symlink_to(cached)
    mark.write_text(definition.hexdigest())
    return home


def link(name: str, cached: Path) -> Path:
    home = ROOT / ".venv" / name
    if not home.is_symlink() or home.readlink() != cached:
        home.unlink(missing_ok=True)
        home.parent.mkdir(exist_ok=True)
        home.symlink_to(cached)
    return home


def unpacked(name: str) -> Path | None:
    """The cached files of the distribution's package `name`, or None where the host has its programs on PATH, or has no
    apt, which is said: whoever needs the programs looks for them on PATH, too.

    apt checks the package's signature, and keeps its lists in a folder of its own meanwhile.
    """
    if all(map(shutil.which, DEBIAN[name])):
        return None
    if not shutil.which("apt-get"):
        programs = " and ".join(DEBIAN[name])
        print(f"setup: this host has no apt-get to fetch {name} with; install it so that {programs} are on PATH")
        return None
    system = platform.freedesktop_os_release()
    home = CACHE / f"{name}-{system['ID']}-{system.get('VERSION_ID', 'rolling')}"
    complete = home / ".complete"
    if not complete.exists():
        print(f"setup: unpacking {system['NAME']}'s package {name} (kept in {home})", flush=True)
        shutil.rmtree(home, ignore_errors=True)
        apt = home / "apt"
        (apt / "lists" / "partial").mkdir(parents=True)
        (apt / "archives" / "partial").mkdir(parents=True)
        options = (
            f"Dir::State={apt}",
            f"Dir::Cache={apt}",
            "Dir::State::status=/var/lib/dpkg/status",
            # apt's own user, whom it fetches as where this is root, may not enter the folder.
            f"APT::Sandbox::User={pwd.getpwuid(os.geteuid()).pw_name}",
        )
        get = ("apt-get", "--quiet", *(part for option in options for part in ("-o", option)))
        run(*get, "update")
        run(*get, "download", name, cwd=apt)
        run("dpkg-deb", "--extract", next(apt.glob("*.deb")), home)
        shutil.rmtree(apt)
        complete.touch()
    return home


def resolve_locks() -> None:
    """Resolves every `.in` file; what the container gets is what the host gets."""
    here = ROOT / "environments"
    resolve = ("pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes")
    for name in (*DISTRIBUTIONS, *CONTAINERS):
        same = ("--constraint", "app.lock") if name in ("bench", "dev", "export", "ray", *CONTAINERS) else ()
        override = ("--override", f"{name}.override") if (here / f"{name}.override").exists() else ()
        print(f"lock: {name}", flush=True)
        run(uv(), *resolve, "--no-header", *same, *override, "--output-file", f"{name}.lock", f"{name}.in", cwd=here)


@contextmanager
def the_only_one(builder: str) -> Iterator[None]:
    """Keeps the builds of other clones out of the cache, and says whom it waits for: torch takes minutes."""
    with open(CACHE / ".lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            print(f"setup: waiting for {lock.read() or 'another build'}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(builder)
        lock.flush()
        yield


def main(names: list[str]) -> None:
    if names == ["--lock"]:
        resolve_locks()
        return
    unknown = [name for name in names if name not in (*DISTRIBUTIONS, *DEBIAN)]
    if unknown or not names:
        sys.exit(f"usage: build.py NAME...; the environments are {', '.join((*DISTRIBUTIONS, *DEBIAN))}")
    if sys.version_info < (3, 11):  # noqa: UP036  (this program is what says so)
        sys.exit(f"setup: Semblance needs Python 3.11 or newer, and this is {platform.python_version()}; set PYTHON")
    if "triton" in names and (problem := host_problem()):
        sys.exit(f"setup: {problem}")
    CACHE.mkdir(parents=True, exist_ok=True)
    with the_only_one(f"process {os.getpid()}, which builds {' '.join(names)} for {ROOT}"):
        for name in names:
            if name in DEBIAN:
                if files := unpacked(name):
                    link(name, files)
                continue
            cached = packages(name)
            (thin if DISTRIBUTIONS[name] else link)(name, cached)


if __name__ == "__main__":
    main(sys.argv[1:])
