"""Taking verdicts, and telling of them: photo and condition first, then what was said, then the answer."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from semblance.orchestrator.box import Box
from semblance.orchestrator.condition import MEANINGS, bins, condition
from semblance.orchestrator.decode import ImageLimits, decode
from semblance.orchestrator.errors import NotFound
from semblance.orchestrator.feedback import (
    EVERYTHING,
    VERDICTS,
    AnsweredObject,
    Choice,
    Feedback,
    FeedbackPage,
    Group,
    Kind,
    Tally,
    Verdict,
    made_id,
)
from semblance.orchestrator.ports import FeedbackStore, ImageStore, Registry
from semblance.orchestrator.threads import Threads

# A photo is measured at no less than this many pixels along its longer side, where it has them.
DETAIL = 2048
# Deleted by one statement, and read by one.
BATCH = 500
# Releases and classes that a report tells apart, those with most feedback; detectors may have many classes.
MAX_GROUPS = 200


@dataclass(frozen=True, slots=True)
class Draft:
    """A verdict as a caller gives it: with the photo's bytes, or with its id where the service has it. An empty
    `feedback_id` is to be made."""

    feedback_id: str
    caller: str
    release_id: str
    photo: bytes | str
    verdict: Verdict
    answered: AnsweredObject | None


class Verdicts:
    def __init__(
        self,
        feedback: FeedbackStore,
        images: ImageStore,
        registry: Registry,
        threads: Threads,
        limits: ImageLimits,
    ) -> None:
        self._feedback = feedback
        self._images = images
        self._registry = registry
        self._threads = threads
        self._limits = limits
        # New ones since the process started.
        self.given: Counter[Kind] = Counter()

    async def give(self, draft: Draft, seen: Choice = EVERYTHING) -> tuple[Feedback, bool]:
        """Returns when it is durable, and whether it was new. `seen`: the feedback whose photos the caller may name.

        Raises InvalidImage, InvalidArgument, or NotFound of a release or photo that there is not, before anything is
        stored; Conflict where the id is another one's.
        """
        if draft.release_id not in {each.release_id for each in await self._registry.releases()}:
            raise NotFound(f"there is no release {draft.release_id!r}; a verdict names the one of its answer")
        data = draft.photo if isinstance(draft.photo, bytes) else await self._named(draft.photo, seen)
        feedback = await self._threads.run(self._describe, draft, data)
        # First, so that a photo which a failure or a kill leaves without its verdict is removed in time.
        await self._feedback.discard_image(feedback.image_id)
        # Written even where it is there: it is as young as if it were new, and not removed before it is referred to.
        await self._images.write(feedback.image_id, data)
        new = await self._feedback.add(feedback)
        if new and draft.verdict.kind in VERDICTS:
            self.given[draft.verdict.kind] += 1
        return feedback, new

    async def list(self, choice: Choice, page_size: int, page_token: str) -> FeedbackPage:
        return await self._feedback.list(choice, page_size, page_token)

    async def report(self, choice: Choice) -> Sequence[Group]:
        return grouped(await self._feedback.tallies(choice))

    async def page(self, choice: Choice, after: tuple[str, str], limit: int) -> Sequence[Feedback]:
        """In the order of photos, see `FeedbackStore.by_image`."""
        return await self._feedback.by_image(choice, after, limit)

    async def photo(self, image_id: str) -> bytes:
        return await self._images.read(image_id)

    async def delete(self, choice: Choice) -> AsyncIterator[int]:
        """Yields how many were deleted, batch by batch."""
        while deleted := await self._feedback.delete(choice, BATCH):
            yield deleted

    async def _named(self, image_id: str, seen: Choice) -> bytes:
        """Raises NotFound alike where there is no such photo and where it is another's: nobody learns which."""
        if not await self._feedback.by_image(replace(seen, image_id=image_id), ("", ""), 1):
            raise NotFound(f"you have given no verdict about a photo {image_id}; send its bytes")
        return await self._images.read(image_id)

    def _describe(self, draft: Draft, data: bytes) -> Feedback:
        photo = decode(data, self._limits, DETAIL)
        for name, box in (("the verdict's box", draft.verdict.box), ("the object's box", _box(draft.answered))):
            if box is not None:
                box.checked(photo.width, photo.height, name)
        about = draft.verdict.box or _box(draft.answered)
        feedback = Feedback(
            feedback_id=draft.feedback_id,
            caller=draft.caller,
            given_at=datetime.now(UTC),
            release_id=draft.release_id,
            image_id=hashlib.sha256(data).hexdigest(),
            width=photo.width,
            height=photo.height,
            verdict=draft.verdict,
            answered=draft.answered,
            condition=condition(photo, about),
        )
        return replace(feedback, feedback_id=feedback.feedback_id or made_id(feedback.content))


def grouped(tallies: Iterable[Tally]) -> list[Group]:
    """The whole first, then by release, class and condition: of each, the largest first."""
    whole = Group("all", "all")
    groups: dict[tuple[str, str], Group] = {}
    for tally in tallies:
        whole.add(tally)
        names = [("release", tally.release_id), ("class", tally.class_name or "none detected")]
        names += [("condition", name) for name in bins(tally.dark, tally.blurred, tally.small)]
        for by, name in names:
            meaning = MEANINGS[name] if by == "condition" else ""
            groups.setdefault((by, name), Group(by, name, meaning)).add(tally)
    ordered = sorted(groups.values(), key=lambda group: (-sum(group.kinds.values()), group.name))
    return [whole, *(group for by in ("release", "class", "condition") for group in _of(ordered, by))]


def _of(groups: Sequence[Group], by: str) -> Sequence[Group]:
    return [group for group in groups if group.by == by][:MAX_GROUPS]


def _box(answered: AnsweredObject | None) -> Box | None:
    return answered.box if answered else None
