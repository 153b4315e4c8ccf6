"""How long feedback is kept, and what becomes of the photos of what was deleted."""

import logging
from datetime import UTC, datetime, timedelta

from semblance.orchestrator.feedback import Choice
from semblance.orchestrator.ports import FeedbackStore, ImageStore

log = logging.getLogger(__name__)

# Of one statement, and photos looked at in one round.
BATCH = 500
EVERYTHING = Choice()


class Retention:
    def __init__(self, feedback: FeedbackStore, images: ImageStore, days: float, longest_write: float) -> None:
        """A photo is removed `longest_write` seconds after its feedback: who has written it to the image store by then,
        for an item or for other feedback, has said so in the metadata store, too."""
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
        removed = 0
        before = datetime.now(UTC) - self._longest_write
        while image_ids := await self._feedback.discarded_images(before, BATCH):
            # Not one that was written since: it belongs to whom did.
            removed += sum([await self._images.remove(image_id, before) for image_id in image_ids])
            await self._feedback.forget_images(image_ids)
        if removed:
            log.info("removed %d photos of feedback that was deleted", removed)
