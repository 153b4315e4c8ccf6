"""Transactions in a database that several stores and processes share, whose tables are made where they are missing."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, Table, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn

from semblance.orchestrator.adapters.metadata.engine import (
    CALL_TIMEOUT,
    CONNECTIONS,
    WRITES,
    engine,
    make_folder,
    reason,
)
from semblance.orchestrator.adapters.metadata.schema import metadata
from semblance.orchestrator.errors import DependencyUnavailable

T = TypeVar("T")

# Whoever makes the tables holds this PostgreSQL advisory lock; any number will do.
TABLES_LOCK = 0x5E3B1A9CE

_INSERTS: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}

# What an earlier version had in one table, which knew of one collection.
_MIGRATION = (
    "INSERT INTO item_revisions (item_id, revision) SELECT item_id, revision FROM revisions",
    """INSERT INTO unsettled (collection, item_id, changed_at, due_at)
    SELECT {collection}, revisions.item_id, revisions.changed_at, revisions.changed_at FROM revisions, releases
    WHERE releases.state = 'active' AND NOT revisions.settled""",
    "DROP TABLE revisions",
)
_COLLECTION = {
    "sqlite": "json_extract(releases.definition, '$.collection')",
    "postgresql": "releases.definition ->> 'collection'",
}


class Database:
    """Connects when first used. Processes may share one."""

    def __init__(self, url: str, read_only: bool = False) -> None:
        """`url` is `sqlite:///file` or `postgresql+psycopg://user:password@host/database`; else raises ValueError.

        `read_only`: nothing is changed, and no tables are made.
        """
        self._engine = engine(url, read_only)
        self.insert = _INSERTS[self._engine.dialect.name]
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="metadata")
        self._tables_lock = threading.Lock()
        self._tables_made = read_only

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    async def run(self, work: Callable[[Connection], T], *, writes: bool = False) -> T:
        """`work` in a transaction, in a thread. It commits even if the caller goes away meanwhile."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._transact, work, writes)
        except TimeoutError as error:
            raise DependencyUnavailable(f"the metadata store did not answer within {CALL_TIMEOUT:.3g} s") from error

    def _transact(self, work: Callable[[Connection], T], writes: bool) -> T:
        try:
            self._make_tables()
            with self._transaction(writes) as connection:
                return work(connection)
        except (DBAPIError, sqlite3.Error) as error:
            why = reason(error.orig if isinstance(error, DBAPIError) else error)
            if why is None:
                raise
            raise DependencyUnavailable(f"the metadata store can't be used: {why}") from error
        except OSError as error:
            raise DependencyUnavailable(f"the metadata store can't be used: {error.strerror}") from error

    def _make_tables(self) -> None:
        with self._tables_lock:
            if self._tables_made:
                return
            make_folder(self._engine.url)
            with self._transaction(writes=True) as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": TABLES_LOCK})
                earlier = inspect(connection).has_table("revisions")
                if earlier:
                    # Its name is a table's now.
                    connection.execute(text("DROP INDEX IF EXISTS unsettled"))
                metadata.create_all(connection)
                _add_columns(connection)
                if earlier:
                    _migrate(connection)
            self._tables_made = True

    @contextmanager
    def _transaction(self, writes: bool) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            connection.execution_options(**{WRITES: writes})
            with connection.begin():
                yield connection


def _add_columns(connection: Connection) -> None:
    """To the tables of an earlier version, those that are new; each may be empty."""
    for table in metadata.sorted_tables:
        there = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in there:
                connection.execute(
                    text(f"ALTER TABLE {table.name} ADD COLUMN {CreateColumn(column).compile(connection)}")
                )


def _migrate(connection: Connection) -> None:
    for statement in _MIGRATION:
        connection.execute(text(statement.format(collection=_COLLECTION[connection.dialect.name])))
