"""Connections to SQLite and PostgreSQL that never wait without bound, and what their failures mean in plain words."""

import fcntl
import json
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

# Threads, and connections: one each.
CONNECTIONS = 8
# In seconds, each shorter than the next: to connect and to get a lock, one statement, a call with all its statements.
LOCK_TIMEOUT = 5
STATEMENT_TIMEOUT = 10
CALL_TIMEOUT = 20.0

# Of a connection in a transaction that writes.
WRITES = "semblance_writes"

_WANTED = "it must be sqlite:///file or postgresql+psycopg://user:password@host/database"

# By SQLite's primary result code, https://sqlite.org/rescode.html.
_SQLITE_REASONS = {
    5: "another process holds its lock",
    6: "another connection holds its lock",
    8: "it is read-only",
    10: "the disk reports an error",
    11: "the file is damaged",
    13: "the disk is full",
    14: "the file can't be opened",
    26: "the file is not a database",
}
# By SQLSTATE or its first two digits, https://www.postgresql.org/docs/current/errcodes-appendix.html.
_POSTGRESQL_REASONS = {
    "25006": "it is read-only",
    "40": "others changed the same rows",
    "53100": "the disk is full",
    "53300": "it has too many connections",
    "55P03": "another connection holds a lock",
    "57014": "a statement took too long",
    "57P": "it is shutting down or starting",
}


def engine(url: str, read_only: bool = False) -> Engine:
    """`read_only`: nothing is made or changed, not even an SQLite file. Raises ValueError for another database than
    these two."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        # Not the text itself: it may hold a password.
        raise ValueError(f"the metadata store's address is not a URL; {_WANTED}") from None
    if parsed.drivername not in ("sqlite", "postgresql+psycopg") or not parsed.database:
        raise ValueError(f"the metadata store is {parsed.render_as_string()!r}; {_WANTED}")
    opened = {"creator": partial(_read_only_sqlite, parsed)} if read_only and parsed.drivername == "sqlite" else {}
    made = create_engine(
        parsed,
        connect_args=_connect_args(parsed, read_only),
        json_serializer=partial(json.dumps, ensure_ascii=False, allow_nan=False),
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_pre_ping=True,
        **opened,
    )
    if parsed.drivername == "sqlite":
        if not read_only:
            event.listen(made, "connect", partial(_set_up_sqlite, _folder(parsed)))
        event.listen(made, "begin", _begin_sqlite)
    return made


def make_folder(url: URL) -> None:
    """Of an SQLite file."""
    if url.drivername == "sqlite" and url.database:
        _folder(url).mkdir(parents=True, exist_ok=True)


def reason(original: BaseException | None) -> str | None:
    """Why the database can't be used, from its driver's error, or None where the statement was wrong."""
    if isinstance(original, sqlite3.Error):
        return _SQLITE_REASONS.get(getattr(original, "sqlite_errorcode", 0) & 0xFF)
    state: str | None = getattr(original, "sqlstate", None)
    if state is None or state.startswith("08"):
        return "it does not answer"
    for length in (5, 3, 2):
        if state[:length] in _POSTGRESQL_REASONS:
            return _POSTGRESQL_REASONS[state[:length]]
    return None


def _read_only_sqlite(url: URL) -> sqlite3.Connection:
    """See https://sqlite.org/uri.html."""
    mode = "mode=ro"
    if not Path(f"{url.database}-wal").exists():
        # Nobody has it open; without this SQLite would make the files of a write-ahead log, and leave them.
        mode += "&immutable=1"
    address = f"file:{quote(url.database or '')}?{mode}"
    connection: sqlite3.Connection = sqlite3.connect(address, uri=True, **_connect_args(url, read_only=True))
    return connection


def _connect_args(url: URL, read_only: bool) -> Mapping[str, Any]:
    if url.drivername == "sqlite":
        # Transactions are begun below; the pool hands a connection to one thread at a time.
        return {"timeout": LOCK_TIMEOUT, "isolation_level": None, "check_same_thread": False}
    return {
        "connect_timeout": LOCK_TIMEOUT,
        "tcp_user_timeout": math.ceil(CALL_TIMEOUT * 1000),
        "options": f"-c lock_timeout={LOCK_TIMEOUT}s -c statement_timeout={STATEMENT_TIMEOUT}s "
        f"-c idle_in_transaction_session_timeout={math.ceil(CALL_TIMEOUT)}s"
        f"{' -c default_transaction_read_only=on' if read_only else ''}",
    }


def _folder(url: URL) -> Path:
    return Path(url.database or "").parent


def _set_up_sqlite(folder: Path, connection: Any, _record: object) -> None:
    # While another connection opens a new file, SQLite refuses to make it WAL at once, whatever the timeout.
    with _alone_in(folder):
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Among all processes of this host; released with the process that holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and then writes would be refused at once where another one writes.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
