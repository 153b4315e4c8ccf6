"""`DatabaseLook` over SQLAlchemy."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, func, inspect, make_url, select

from semblance.orchestrator.adapters.metadata.database import Database
from semblance.orchestrator.adapters.metadata.schema import metadata, orchestrators
from semblance.orchestrator.doctor.looks import Clocks, Tables
from semblance.orchestrator.errors import DependencyUnavailable
from semblance.orchestrator.folder import can_be_made

# Of an earlier version, which the next start makes another one of.
EARLIER = "revisions"


class DatabaseInspection:
    def __init__(self, url: str, database: Database) -> None:
        """`database` is that of the URL, read-only."""
        self._url = make_url(url)
        self._database = database

    async def tables(self) -> Tables:
        if self._url.drivername == "sqlite":
            path = Path(self._url.database or "")
            if not path.exists():
                if not can_be_made(path):
                    raise DependencyUnavailable(f"the metadata store {path} is not there and can't be made")
                return Tables(frozenset())
            if not os.access(path, os.W_OK):
                raise DependencyUnavailable(f"the metadata store {path} can't be written by this user")
        return await self._database.run(_tables)

    async def clocks(self) -> Clocks:
        return await self._database.run(_clocks)


def _tables(connection: Connection) -> Tables:
    inspector = inspect(connection)
    known = {f"{table.name}.{column.name}" for table in metadata.sorted_tables for column in table.columns}
    there = {name for name in inspector.get_table_names() if name in metadata.tables or name == EARLIER}
    columns = {f"{name}.{column['name']}" for name in there - {EARLIER} for column in inspector.get_columns(name)}
    missing = metadata.tables.keys() - there
    return Tables(
        frozenset(there),
        frozenset(missing),
        frozenset(name for name in known - columns if name.partition(".")[0] not in missing),
        frozenset(columns - known),
    )


def _clocks(connection: Connection) -> Clocks:
    seen = connection.execute(select(func.max(orchestrators.c.seen_at))).scalar_one()
    ahead = None if seen is None else (seen - datetime.now(UTC)).total_seconds()
    if connection.dialect.name == "sqlite":
        return Clocks(None, ahead)
    before = time.time()
    now = connection.execute(select(func.clock_timestamp())).scalar_one()
    # It told the time somewhere between.
    return Clocks(now.timestamp() - (before + time.time()) / 2, ahead)
