"""The real servers that tests talk to, started once, with a fresh space for each test."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from moto.server import ThreadedMotoServer

from semblance.serving import milvus, ports
from semblance.serving.process import Process, running, this_environment

READY_SECONDS = 30.0
# Whom PostgreSQL runs as where the tests run as root, which it refuses.
UNPRIVILEGED = "nobody"


# An order of text that is not that of code points, where it can be had.
LANGUAGE = ("--locale-provider=icu", "--icu-locale=en-US")


def postgresql_programs() -> tuple[Path, tuple[str, ...]] | None:
    """The folder of `postgres` and `initdb`, Debian's package or the wheel, and what `initdb` is told about order."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if debian:
        return debian[-1].parent, LANGUAGE
    try:
        import pgserver
    except ImportError:
        return None
    return Path(pgserver.__file__).parent / "pginstall" / "bin", ()


def unprivileged(*command: str | Path) -> list[str]:
    if os.geteuid() != 0:
        return list(map(str, command))
    return ["setpriv", f"--reuid={UNPRIVILEGED}", "--regid=nogroup", "--clear-groups", *map(str, command)]


@dataclass(frozen=True, slots=True)
class PostgreSql:
    """A PostgreSQL server's programs and its data, whether it runs or not."""

    programs: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Without a database's name."""
        return f"postgresql://semblance@{ports.LOOPBACK}:{self.port}"

    @contextmanager
    def running(self) -> Iterator[Process]:
        settings = {"listen_addresses": ports.LOOPBACK, "unix_socket_directories": "", "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = unprivileged(self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), *options)
        log = self.folder / "postgresql.log"
        with running("PostgreSQL", command, log=log, environment=this_environment()) as server:
            server.wait_until(lambda: _answers(self.url), READY_SECONDS)
            yield server


@pytest.fixture(scope="session")
def postgresql_installed() -> tuple[Path, tuple[str, ...]]:
    """See `postgresql_programs`."""
    installed = postgresql_programs()
    if installed is None:
        missing = "neither Debian's postgresql package nor the pgserver wheel is installed"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return installed


@contextmanager
def postgresql_made(programs: Path, order: Sequence[str]) -> Iterator[PostgreSql]:
    """With data of its own; it does not run."""
    # Not under pytest's folder, which other users may not enter.
    folder = Path(tempfile.mkdtemp(prefix="semblance-postgresql-"))
    try:
        if os.geteuid() == 0:
            programs = _copy_where_others_may_read(programs, folder)
            shutil.chown(folder, UNPRIVILEGED)
        initdb = unprivileged(
            programs / "initdb", "-D", folder / "data", "-U", "semblance", "-A", "trust", "-E", "UTF8", "--no-sync",
            "--locale=C", *order,
        )  # fmt: skip
        with running("initdb", initdb, log=folder / "initdb.log", environment=this_environment()) as process:
            assert process.guard.wait(READY_SECONDS) == 0, process.log.read_text()
        yield PostgreSql(programs, folder, ports.free(1)[0])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql(postgresql_installed: tuple[Path, tuple[str, ...]]) -> Iterator[str]:
    """The URL of a PostgreSQL server, without a database's name."""
    with postgresql_made(*postgresql_installed) as server, server.running():
        yield server.url


def _copy_where_others_may_read(programs: Path, folder: Path) -> Path:
    """The wheel's programs lie below root's home, with the libraries that they load beside them."""
    folder.chmod(0o755)
    if not programs.is_relative_to(Path.home()):
        return programs
    package = programs.parents[1]
    shutil.copytree(package.parent, folder / "programs", ignore=lambda _, names: _others(package.name, names))
    return folder / "programs" / package.name / "pginstall" / "bin"


def _others(package: str, names: list[str]) -> list[str]:
    """What stands beside the package and its libraries in site-packages."""
    return [name for name in names if package in names and name not in (package, f"{package}.libs")]


def _answers(url: str) -> bool:
    try:
        psycopg.connect(f"{url}/postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def postgresql_database(postgresql: str) -> str:
    return empty_database(postgresql)


def empty_database(postgresql: str) -> str:
    """The SQLAlchemy URL of a new database of a running server."""
    name = f"t{uuid4().hex}"
    with psycopg.connect(f"{postgresql}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{postgresql}/{name}".replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The endpoint of an S3 server."""
    server = ThreadedMotoServer(ports.LOOPBACK, port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(scope="session")
def milvus_lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with milvus.lite(tmp_path_factory.mktemp("milvus-lite")) as server:
        yield server.uri


@pytest.fixture(scope="session")
def milvus_standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with milvus.standalone(tmp_path_factory.mktemp("milvus-standalone")) as server:
        yield server.uri
