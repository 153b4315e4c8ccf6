"""How long feedback is kept, and what becomes of the photos of what was deleted."""

import logging
from datetime import UTC, datetime, timedelta

from semblance.orchestrator.errors import SemblanceError
from semblance.orchestrator.feedback import EVERYTHING
from semblance.orchestrator.ports import FeedbackStore, ImageStore

log = logging.getLogger(__name__)

# Of one statement, and photos looked at in one round.
BATCH = 500


class Retention:
    def __init__(self, feedback: FeedbackStore, images: ImageStore, days: float, longest_write: float) -> None:
        """A photo is removed `longest_write` seconds after its feedback: who has written it to the image store by then,
        for an item or for other feedback, has said so in the metadata store, too.

        A store that does not remove exactly keeps it: without anybody watching, no photo of an acknowledged write may
        be lost. `semblance verify --collect` removes it there.
        """
        self._feedback = feedback
        self._images = images
        self._age = timedelta(days=days)
        self._longest_write = timedelta(seconds=longest_write)

    async def round(self) -> None:
        """Deletes what is too old, and removes photos that nothing refers to."""
        await self._delete_old()
        await self._remove_discarded()

    async def _delete_old(self) -> None:
        total = 0
        while deleted := await self._feedback.delete(EVERYTHING, BATCH, datetime.now(UTC) - self._age):
            total += deleted
        if total:
            log.info("deleted %d verdicts and suspicions older than %g days", total, self._age / timedelta(days=1))

    async def _remove_discarded(self) -> None:
        """Raises the last failure of the image store, behind all that could be removed beside it."""
        before = datetime.now(UTC) - self._longest_write
        removed = 0
        while image_ids := await self._feedback.discarded_images(before, BATCH):
            done: list[str] = []
            failure: SemblanceError | None = None
            for image_id in image_ids:
                try:
                    # Not one that was written since: it belongs to whom did.
                    removed += self._images.removes_exactly and await self._images.remove(image_id, before)
                    done.append(image_id)
                except SemblanceError as error:
                    failure = error
            await self._feedback.forget_images(done, before)
            if failure is not None:
                raise failure
        if removed:
            log.info("removed %d photos of feedback that was deleted", removed)
