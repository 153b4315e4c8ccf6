"""`FeedbackStore` over SQLAlchemy."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, Row, delete, func, or_, select, tuple_, update

from semblance.orchestrator.adapters.metadata.database import Database
from semblance.orchestrator.adapters.metadata.page_token import key_of, token_after
from semblance.orchestrator.adapters.metadata.rows import check_text
from semblance.orchestrator.adapters.metadata.schema import discarded_images, feedback, images
from semblance.orchestrator.condition import BLURRED, DARK, SMALL, Condition
from semblance.orchestrator.errors import Conflict, InvalidArgument, NotFound
from semblance.orchestrator.feedback import AnsweredObject, Choice, Feedback, FeedbackPage, Kind, Tally, Verdict

_VERDICT = TypeAdapter(Verdict)
_ANSWERED = TypeAdapter(AnsweredObject)

_DARK = (feedback.c.light < DARK).label("dark")
_BLURRED = (feedback.c.sharpness < BLURRED).label("blurred")
_SMALL = (feedback.c.size < SMALL).label("small")


class SqlFeedbackStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, feedback: Feedback) -> bool:
        _check(feedback)
        return await self._database.run(lambda connection: self._add(connection, feedback), writes=True)

    async def get(self, feedback_id: str) -> Feedback:
        check_text("the feedback id", feedback_id)
        query = select(feedback).where(feedback.c.feedback_id == feedback_id)
        row = await self._database.run(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            raise NotFound(f"there is no feedback {feedback_id!r}; `semblance feedback list` names what there is")
        return _feedback(row)

    async def list(self, choice: Choice, page_size: int, page_token: str) -> FeedbackPage:
        query = select(feedback).where(*_chosen(choice))
        if page_token:
            given_at, feedback_id = _place(page_token)
            query = query.where(
                or_(
                    feedback.c.given_at < given_at,
                    (feedback.c.given_at == given_at) & (feedback.c.feedback_id > feedback_id),
                )
            )
        query = query.order_by(feedback.c.given_at.desc(), feedback.c.feedback_id).limit(page_size + 1)
        rows = await self._database.run(lambda connection: connection.execute(query).all())
        page = tuple(map(_feedback, rows[:page_size]))
        more = len(rows) > page_size
        return FeedbackPage(
            page, token_after(f"{page[-1].given_at.isoformat()} {page[-1].feedback_id}") if more else ""
        )

    async def by_image(self, choice: Choice, after: tuple[str, str], limit: int) -> Sequence[Feedback]:
        key = tuple_(feedback.c.image_id, feedback.c.feedback_id)
        query = select(feedback).where(*_chosen(choice), key > tuple_(*after)).order_by(*key.clauses).limit(limit)
        rows = await self._database.run(lambda connection: connection.execute(query).all())
        return [_feedback(row) for row in rows]

    async def tallies(self, choice: Choice) -> Sequence[Tally]:
        alike = (
            feedback.c.release_id,
            feedback.c.class_name,
            feedback.c.kind,
            feedback.c.success,
            _DARK,
            _BLURRED,
            _SMALL,
        )
        query = select(*alike, func.count().label("count")).where(*_chosen(choice)).group_by(*alike)
        rows = await self._database.run(lambda connection: connection.execute(query).all())
        return [
            Tally(
                row.release_id,
                row.class_name,
                Kind(row.kind),
                row.success,
                bool(row.dark),
                bool(row.blurred),
                bool(row.small),
                row[-1],
            )
            for row in rows
        ]

    async def delete(self, choice: Choice, limit: int, before: datetime | None = None) -> int:
        return await self._database.run(lambda connection: self._delete(connection, choice, limit, before), writes=True)

    async def set_reference(self, feedback_id: str, reference_id: str) -> None:
        statement = update(feedback).where(feedback.c.feedback_id == feedback_id).values(reference_id=reference_id)
        await self._database.run(lambda connection: connection.execute(statement), writes=True)

    async def discarded_images(self, before: datetime, limit: int) -> Sequence[str]:
        def find(connection: Connection) -> Sequence[str]:
            # Something may refer to them again by now.
            for table in (images, feedback):
                again = select(table.c.image_id).where(table.c.image_id == discarded_images.c.image_id).exists()
                connection.execute(delete(discarded_images).where(discarded_images.c.discarded_at < before, again))
            query = (
                select(discarded_images.c.image_id)
                .where(discarded_images.c.discarded_at < before)
                .order_by(discarded_images.c.discarded_at)
                .limit(limit)
            )
            return connection.execute(query).scalars().all()

        return await self._database.run(find, writes=True)

    async def discard_image(self, image_id: str) -> None:
        await self._database.run(lambda connection: self._discard(connection, [image_id]), writes=True)

    async def forget_images(self, image_ids: Collection[str], before: datetime) -> None:
        statement = delete(discarded_images).where(
            discarded_images.c.image_id.in_(image_ids), discarded_images.c.discarded_at < before
        )
        await self._database.run(lambda connection: connection.execute(statement), writes=True)

    def _add(self, connection: Connection, new: Feedback) -> bool:
        row = self._database.insert(feedback).values(_values(new)).on_conflict_do_nothing()
        if connection.execute(row.returning(feedback.c.feedback_id)).scalar_one_or_none() is not None:
            return True
        known = select(feedback.c.content).where(feedback.c.feedback_id == new.feedback_id)
        if connection.execute(known).scalar_one_or_none() != new.content:
            raise Conflict(f"feedback {new.feedback_id!r} is there already and says something else; take another id")
        return False

    def _delete(self, connection: Connection, choice: Choice, limit: int, before: datetime | None) -> int:
        query = select(feedback.c.feedback_id, feedback.c.image_id).where(*_chosen(choice))
        if before is not None:
            query = query.where(feedback.c.given_at < before)
        # In one order everywhere, so that two who delete never wait for each other.
        rows = connection.execute(query.order_by(feedback.c.feedback_id).limit(limit).with_for_update()).all()
        if not rows:
            return 0
        connection.execute(delete(feedback).where(feedback.c.feedback_id.in_([row.feedback_id for row in rows])))
        self._discard(connection, sorted({row.image_id for row in rows}))
        return len(rows)

    def _discard(self, connection: Connection, image_ids: Sequence[str]) -> None:
        now = datetime.now(UTC)
        row = self._database.insert(discarded_images)
        later = row.on_conflict_do_update(
            index_elements=[discarded_images.c.image_id], set_={"discarded_at": row.excluded.discarded_at}
        )
        connection.execute(later, [{"image_id": image_id, "discarded_at": now} for image_id in image_ids])


def _place(page_token: str) -> tuple[datetime, str]:
    """Raises InvalidArgument where the token is of another list."""
    moment, _, feedback_id = key_of(page_token).partition(" ")
    try:
        given_at = datetime.fromisoformat(moment).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument("the page token is of another list; list from the start with an empty one") from None
    check_text("the page token", feedback_id)
    return given_at, feedback_id


def _chosen(choice: Choice) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if choice.kinds:
        conditions.append(feedback.c.kind.in_([kind.value for kind in choice.kinds]))
    if choice.release_id:
        conditions.append(feedback.c.release_id == choice.release_id)
    if choice.caller:
        conditions.append(feedback.c.caller == choice.caller)
    if choice.image_id:
        conditions.append(feedback.c.image_id == choice.image_id)
    if choice.feedback_ids is not None:
        conditions.append(feedback.c.feedback_id.in_(choice.feedback_ids))
    return conditions


def _check(new: Feedback) -> None:
    check_text("the verdict's item id", new.verdict.item_id)
    check_text("the caller", new.caller)
    if new.answered is not None:
        check_text("the class", new.answered.class_name)
        for hit in new.answered.hits:
            check_text("a hit's item id", hit.item_id)


def _values(new: Feedback) -> dict[str, Any]:
    return {
        "feedback_id": new.feedback_id,
        "content": new.content,
        "caller": new.caller,
        "given_at": new.given_at,
        "release_id": new.release_id,
        "image_id": new.image_id,
        "width": new.width,
        "height": new.height,
        "kind": new.verdict.kind.value,
        "verdict": _VERDICT.dump_python(new.verdict, mode="json"),
        "answered": None if new.answered is None else _ANSWERED.dump_python(new.answered, mode="json"),
        "class_name": new.class_name,
        "success": new.success,
        "sharpness": new.condition.sharpness,
        "light": new.condition.light,
        "size": new.condition.size,
        "reference_id": new.reference_id or None,
    }


def _feedback(row: Row[Any]) -> Feedback:
    return Feedback(
        feedback_id=row.feedback_id,
        caller=row.caller,
        given_at=row.given_at,
        release_id=row.release_id,
        image_id=row.image_id,
        width=row.width,
        height=row.height,
        verdict=_VERDICT.validate_python(row.verdict),
        answered=None if row.answered is None else _ANSWERED.validate_python(row.answered),
        condition=Condition(row.sharpness, row.light, row.size),
        reference_id=row.reference_id or "",
    )
