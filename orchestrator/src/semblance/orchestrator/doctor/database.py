"""The metadata store, and what it says is live."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from semblance.orchestrator.address import without_password
from semblance.orchestrator.doctor.finding import Check, Finding
from semblance.orchestrator.doctor.live import Live
from semblance.orchestrator.doctor.looks import Clocks, DatabaseLook, Tables
from semblance.orchestrator.errors import SemblanceError
from semblance.orchestrator.follower import PRESENT_SECONDS
from semblance.orchestrator.ports import MetadataStore, Registry
from semblance.orchestrator.release import LIVE, Presence

# By how much the clocks of the hosts may differ, in seconds: leases and presences compare them.
MAX_SKEW = 1.0
# Of all that is asked of the database, in seconds.
PATIENCE = 15.0

REACH = Check("database", "reach", "items, images and releases are in the metadata store: it is the truth")
TABLES = Check("database", "tables", "one version of Semblance can't read what another one made")
CLOCKS = Check(
    "database",
    "clocks",
    "leases compare the clocks of the hosts: beyond a second, two orchestrators may both be the keeper, or none",
)
SHARING = Check("database", "sharing", "SQLite's locks and its write-ahead log do not reach across hosts")


@dataclass(frozen=True, slots=True)
class Stores:
    look: DatabaseLook
    metadata: MetadataStore
    registry: Registry


async def examine(url: str, stores: Stores) -> tuple[list[Finding], Live]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await _examine(url, stores)
    except (SemblanceError, TimeoutError) as error:
        problem = str(error) or f"it did not answer within {PATIENCE:g} s"
        mend = (
            "start the database, or correct SEMBLANCE_METADATA_URL; which releases are live is not known, and nothing "
            "was compared with them"
        )
        return [REACH.failure(problem, mend)], Live(problem="the database can't be read")


async def _examine(url: str, stores: Stores) -> tuple[list[Finding], Live]:
    there = await stores.look.tables()
    findings = [REACH.ok(without_password(url)), tables(there)]
    if not there.there:
        return findings, Live()
    if there.missing or there.missing_columns:
        return findings, Live(problem="the database has the tables of an earlier version")
    live = await read(stores)
    findings.append(clocks(await stores.look.clocks()))
    findings.append(sharing(url, live.present))
    return findings, live


async def read(stores: Stores) -> Live:
    releases = tuple(each for each in await stores.registry.releases() if each.state in LIVE)
    now = datetime.now(UTC)
    sizes = {}
    for collection in {each.release.collection for each in releases}:
        unsettled = await stores.metadata.count_unsettled(collection, now)
        sizes[collection] = await stores.metadata.count(collection), unsettled
    return Live(releases, tuple(await stores.registry.present(PRESENT_SECONDS)), sizes)


def tables(found: Tables) -> Finding:
    if not found.there:
        return TABLES.ok("none yet; the first start makes them")
    if found.missing or found.missing_columns:
        return TABLES.warning(
            f"of an earlier version, without {', '.join(sorted(found.missing | found.missing_columns))}",
            "back the database up and start the service, which adds what is missing",
        )
    if found.unknown_columns:
        return TABLES.warning(
            f"of a newer version, with {', '.join(sorted(found.unknown_columns))}",
            "install the version of Semblance that made them, or a newer one",
        )
    return TABLES.ok("of this version")


def clocks(found: Clocks) -> Finding:
    """An orchestrator was seen at a moment in the past by its own clock, so only one that is ahead is noticed."""
    wrong = []
    if found.database is not None and abs(found.database) > MAX_SKEW:
        wrong.append(f"the database's is {abs(found.database):.1f} s {'ahead' if found.database > 0 else 'behind'}")
    if found.orchestrator is not None and found.orchestrator > MAX_SKEW:
        wrong.append(f"an orchestrator's is {found.orchestrator:.1f} s ahead")
    if wrong:
        return CLOCKS.failure(
            f"beside this host's clock {' and '.join(wrong)}", "run an NTP client, such as chrony, on every host"
        )
    if found.database is None:
        return CLOCKS.ok("a database on this host, with its clock")
    return CLOCKS.ok(f"the database's is within {MAX_SKEW:g} s of this host's")


def sharing(url: str, present: tuple[Presence, ...]) -> Finding:
    hosts = sorted({each.name.partition(":")[0] for each in present})
    found = f"{len(present)} orchestrators run" if len(present) != 1 else "1 orchestrator runs"
    if url.startswith("sqlite") and len(hosts) > 1:
        return SHARING.warning(
            f"{found}, on {', '.join(hosts)}, on one SQLite file",
            "use PostgreSQL (SEMBLANCE_METADATA_URL=postgresql+psycopg://…), unless these are containers of one host",
        )
    return SHARING.ok(found)
