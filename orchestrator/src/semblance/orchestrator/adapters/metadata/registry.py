"""`Registry` over SQLAlchemy."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, delete, or_, select, update

from semblance.orchestrator.adapters.metadata import settlement
from semblance.orchestrator.adapters.metadata.database import Database
from semblance.orchestrator.adapters.metadata.schema import (
    collections,
    evaluations,
    leases,
    observations,
    orchestrators,
    releases,
)
from semblance.orchestrator.adapters.metadata.settlement import RELEASE
from semblance.orchestrator.errors import Conflict, InvalidArgument, NotFound, WrongState
from semblance.orchestrator.evaluation import Evaluation
from semblance.orchestrator.release import Canary, Presence, Registered, Release, ReleaseState

# Who was not seen for so long was killed, and does not come back under its name.
KILLED = timedelta(days=1)

_CANARY = TypeAdapter(Canary)
_PRESENCE = TypeAdapter(Presence)
_EVALUATION = TypeAdapter(Evaluation)


class SqlRegistry:
    """Leases and presences compare the clocks of the hosts, which are to agree within a second."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def releases(self) -> Sequence[Registered]:
        return await self._database.run(_all)

    async def active_release(self) -> Release | None:
        return await self._database.run(_active)

    async def add_first_release(self, release: Release) -> Release:
        def add(connection: Connection) -> Release:
            settlement.hold_collections(connection, alone=True)
            if active := _active(connection):
                return active
            if _find(connection, release.release_id):
                raise Conflict(f"release {release.release_id} exists and is not active, and no other one is")
            self._add(connection, release, ReleaseState.ACTIVE)
            return release

        return await self._database.run(add, writes=True)

    async def add_release(self, release: Release, outside: float = 0.0) -> Registered:
        def add(connection: Connection) -> Registered:
            settlement.hold_collections(connection, alone=True)
            if _find(connection, release.release_id):
                raise Conflict(f"there is a release {release.release_id} already; take another id")
            self._add(connection, release, ReleaseState.BUILDING, outside)
            return _known(connection, release.release_id)

        return await self._database.run(add, writes=True)

    async def leave_outside(self, release_id: str, seconds: float) -> Registered:
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        building = releases.c.release_id == release_id, releases.c.state == ReleaseState.BUILDING.value
        statement = update(releases).where(*building).values(outside_until=until)

        def leave(connection: Connection) -> Registered:
            connection.execute(statement)
            return _known(connection, release_id)

        return await self._database.run(leave, writes=True)

    async def set_ready(self, release_id: str, before: datetime) -> None:
        def ready(connection: Connection) -> None:
            settlement.hold_collections(connection, alone=True)
            registered = _in_state(connection, release_id, ReleaseState.BUILDING)
            if left := settlement.count_unsettled(connection, registered.release.collection, before):
                raise WrongState(f"release {release_id} is not ready: {left:,} items are not indexed yet")
            _set(connection, release_id, state=ReleaseState.READY.value, changed_at=datetime.now(UTC), problem="")

        await self._database.run(ready, writes=True)

    async def activate(self, release_id: str) -> Registered:
        def activate(connection: Connection) -> Registered:
            settlement.hold_collections(connection, alone=True)
            if _known(connection, release_id).state is ReleaseState.ACTIVE:
                return _known(connection, release_id)
            _in_state(connection, release_id, ReleaseState.READY)
            active = _active(connection)
            return _switch(connection, release_id, replaced=active.release_id if active else "")

        return await self._database.run(activate, writes=True)

    async def roll_back(self) -> Registered:
        def roll_back(connection: Connection) -> Registered:
            settlement.hold_collections(connection, alone=True)
            active = next((each for each in _all(connection) if each.state is ReleaseState.ACTIVE), None)
            if active is None or not active.replaced:
                raise WrongState("the active release replaced no other one; activate the one you want")
            before = _in_state(connection, active.replaced, ReleaseState.READY)
            return _switch(connection, before.release_id, replaced=before.replaced)

        return await self._database.run(roll_back, writes=True)

    async def retire(self, release_id: str) -> Registered:
        def retire(connection: Connection) -> Registered:
            settlement.hold_collections(connection, alone=True)
            registered = _in_state(connection, release_id, ReleaseState.BUILDING, ReleaseState.READY)
            if registered.canary or registered.shadow:
                use = "canary" if registered.canary else "shadow"
                raise WrongState(
                    f"release {release_id} is a {use}; end that first: `semblance release {use} {release_id} --off`"
                )
            _set(connection, release_id, state=ReleaseState.RETIRED.value, changed_at=datetime.now(UTC), problem="")
            settlement.discard(self._database, connection, registered.release.collection)
            return _known(connection, release_id)

        return await self._database.run(retire, writes=True)

    async def set_canary(self, release_id: str, canary: Canary | None) -> Registered:
        if canary is not None:
            check_percent(canary.percent)
        value = None if canary is None else _CANARY.dump_python(canary, mode="json")
        return await self._database.run(
            partial(_observe_from, release_id=release_id, use="canary", value=value), writes=True
        )

    async def set_shadow(self, release_id: str, percent: float) -> Registered:
        check_percent(percent)
        return await self._database.run(
            partial(_observe_from, release_id=release_id, use="shadow", value=percent or None), writes=True
        )

    async def note(self, release_id: str, problem: str, rate: float) -> None:
        building = releases.c.release_id == release_id, releases.c.state == ReleaseState.BUILDING.value
        statement = update(releases).where(*building).values(problem=problem, rate=rate)
        await self._database.run(lambda connection: connection.execute(statement), writes=True)

    async def replace_collection(self, collection: str) -> Release:
        def swap(connection: Connection) -> Release:
            settlement.hold_collections(connection, alone=True)
            release = _active(connection)
            if release is None:
                raise NotFound("no release is active: the service was never started with this metadata store")
            changed = replace(release, collection=collection)
            settlement.add_collection(self._database, connection, collection)
            _set(connection, release.release_id, definition=RELEASE.dump_python(changed, mode="json"))
            settlement.discard(self._database, connection, release.collection)
            return changed

        return await self._database.run(swap, writes=True)

    async def discarded(self, before: datetime) -> Sequence[str]:
        query = select(collections.c.collection).where(collections.c.discarded_at < before)
        return await self._database.run(lambda connection: connection.execute(query).scalars().all())

    async def forget(self, collection: str) -> None:
        await self._database.run(lambda connection: settlement.forget(connection, collection), writes=True)

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        def take(connection: Connection) -> bool:
            now = datetime.now(UTC)
            row = self._database.insert(leases).values(name=name, holder=holder, until=now + timedelta(seconds=seconds))
            mine = or_(leases.c.holder == holder, leases.c.until < now)
            changed = {"holder": row.excluded.holder, "until": row.excluded.until}
            statement = row.on_conflict_do_update(index_elements=[leases.c.name], set_=changed, where=mine)
            return connection.execute(statement.returning(leases.c.holder)).scalar_one_or_none() is not None

        return await self._database.run(take, writes=True)

    async def appear(self, presence: Presence) -> None:
        row = self._database.insert(orchestrators).values(
            name=presence.name, presence=_PRESENCE.dump_python(presence, mode="json"), seen_at=datetime.now(UTC)
        )
        changed = {"presence": row.excluded.presence, "seen_at": row.excluded.seen_at}
        statement = row.on_conflict_do_update(index_elements=[orchestrators.c.name], set_=changed)
        killed = delete(orchestrators).where(orchestrators.c.seen_at < datetime.now(UTC) - KILLED)

        def appear(connection: Connection) -> None:
            connection.execute(statement)
            connection.execute(killed)

        await self._database.run(appear, writes=True)

    async def present(self, seconds: float) -> Sequence[Presence]:
        since = datetime.now(UTC) - timedelta(seconds=seconds)
        query = select(orchestrators.c.presence).where(orchestrators.c.seen_at >= since).order_by(orchestrators.c.name)
        rows = await self._database.run(lambda connection: connection.execute(query).scalars().all())
        return [_PRESENCE.validate_python(row) for row in rows]

    async def leave(self, name: str) -> None:
        def leave(connection: Connection) -> None:
            connection.execute(delete(orchestrators).where(orchestrators.c.name == name))
            connection.execute(delete(leases).where(leases.c.holder == name))

        await self._database.run(leave, writes=True)

    async def observe(self, release_id: str, observer: str, observed: Mapping[str, Any]) -> None:
        row = self._database.insert(observations).values(
            release_id=release_id, observer=observer, observed=dict(observed)
        )
        key = [observations.c.release_id, observations.c.observer]
        statement = row.on_conflict_do_update(index_elements=key, set_={"observed": row.excluded.observed})
        await self._database.run(lambda connection: connection.execute(statement), writes=True)

    async def observations(self, release_id: str) -> Sequence[Mapping[str, Any]]:
        query = select(observations.c.observed).where(observations.c.release_id == release_id)
        return await self._database.run(lambda connection: connection.execute(query).scalars().all())

    async def record_evaluation(self, release_id: str, evaluation: Evaluation) -> None:
        row = self._database.insert(evaluations).values(
            release_id=release_id, evaluation=_EVALUATION.dump_python(evaluation, mode="json")
        )
        statement = row.on_conflict_do_update(
            index_elements=[evaluations.c.release_id], set_={"evaluation": row.excluded.evaluation}
        )

        def record(connection: Connection) -> None:
            for known in filter(None, (release_id, evaluation.against)):
                _known(connection, known)
            connection.execute(statement)

        await self._database.run(record, writes=True)

    async def evaluation(self, release_id: str) -> Evaluation | None:
        query = select(evaluations.c.evaluation).where(evaluations.c.release_id == release_id)
        found = await self._database.run(lambda connection: connection.execute(query).scalar_one_or_none())
        return None if found is None else _EVALUATION.validate_python(found)

    def _add(self, connection: Connection, release: Release, state: ReleaseState, outside: float = 0.0) -> None:
        now = datetime.now(UTC)
        if release.collection not in settlement.live_collections(connection):
            settlement.add_collection(self._database, connection, release.collection)
        connection.execute(
            self._database.insert(releases).values(
                release_id=release.release_id,
                state=state.value,
                definition=RELEASE.dump_python(release, mode="json"),
                created_at=now,
                changed_at=now,
                outside_until=now + timedelta(seconds=outside) if outside else None,
            )
        )


def check_percent(percent: float) -> None:
    if not 0 <= percent <= 100:
        raise InvalidArgument(f"{percent:g} percent is not between 0 and 100")


def _all(connection: Connection) -> list[Registered]:
    query = select(releases).order_by(releases.c.created_at, releases.c.release_id)
    return [_registered(row) for row in connection.execute(query)]


def _registered(row: Row[Any]) -> Registered:
    return Registered(
        RELEASE.validate_python(row.definition),
        ReleaseState(row.state),
        row.created_at,
        row.changed_at or row.created_at,
        row.replaced or "",
        None if row.canary is None else _CANARY.validate_python(row.canary),
        row.shadow or 0.0,
        row.problem or "",
        row.rate or 0.0,
        row.outside_until,
    )


def _find(connection: Connection, release_id: str) -> Registered | None:
    row = connection.execute(select(releases).where(releases.c.release_id == release_id)).one_or_none()
    return None if row is None else _registered(row)


def _known(connection: Connection, release_id: str) -> Registered:
    found = _find(connection, release_id)
    if found is None:
        raise NotFound(f"there is no release {release_id!r}; `semblance release list` names those there are")
    return found


def _in_state(connection: Connection, release_id: str, *states: ReleaseState) -> Registered:
    registered = _known(connection, release_id)
    if registered.state not in states:
        raise WrongState(
            f"release {release_id} is {registered.state}, and only one that is {' or '.join(states)} can be taken for "
            f"this; {_ADVICE[registered.state]}"
        )
    return registered


_ADVICE = {
    ReleaseState.BUILDING: "wait until it is ready: `semblance release show` tells how far it is",
    ReleaseState.READY: "activate it first",
    ReleaseState.ACTIVE: "activate another one first",
    ReleaseState.RETIRED: "create it anew under another id",
}


def _active(connection: Connection) -> Release | None:
    query = select(releases.c.definition).where(releases.c.state == ReleaseState.ACTIVE.value)
    definition = connection.execute(query).scalar_one_or_none()
    return None if definition is None else RELEASE.validate_python(definition)


def _set(connection: Connection, release_id: str, **values: Any) -> None:
    connection.execute(update(releases).where(releases.c.release_id == release_id).values(**values))


def _switch(connection: Connection, release_id: str, replaced: str) -> Registered:
    """In this order: at most one may be active."""
    now = datetime.now(UTC)
    active = update(releases).where(releases.c.state == ReleaseState.ACTIVE.value)
    connection.execute(active.values(state=ReleaseState.READY.value, changed_at=now))
    # They were beside the release that was active.
    connection.execute(delete(observations))
    state = ReleaseState.ACTIVE.value
    _set(connection, release_id, state=state, changed_at=now, replaced=replaced, canary=None, shadow=None)
    return _known(connection, release_id)


def _observe_from(connection: Connection, release_id: str, use: str, value: Any) -> Registered:
    """Makes a ready release canary or shadow, or ends it where there is no value."""
    settlement.hold_collections(connection, alone=True)
    if value is None:
        _known(connection, release_id)
        _set(connection, release_id, **{use: None})
        return _known(connection, release_id)
    registered = _in_state(connection, release_id, ReleaseState.READY)
    for other in _all(connection):
        if other.release_id != release_id and (other.canary if use == "canary" else other.shadow):
            raise WrongState(
                f"release {other.release_id} is the {use}, and there is one at a time; "
                f"`semblance release {use} {other.release_id} --off` ends that"
            )
    if not registered.canary and not registered.shadow:
        connection.execute(delete(observations).where(observations.c.release_id == release_id))
    _set(connection, release_id, **{use: value})
    return _known(connection, release_id)
