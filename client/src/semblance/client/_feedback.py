"""Verdicts about answers, for threads and for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence

import grpc

from semblance.client import _feedback_translate as translate
from semblance.client._channel import CallOptions
from semblance.client._errors import mapped
from semblance.client._feedback_types import (
    AddedReference,
    ExportedFeedback,
    Feedback,
    FeedbackKind,
    FeedbackReport,
    Given,
    StoredImage,
    Verdict,
)
from semblance.client._types import ImageInput, ObjectHits
from semblance.v1 import feedback_pb2, feedback_pb2_grpc

LIST_PAGE = 500
"""Fetched at a time while listing."""


class Verdicts:
    """`Client.feedback`: what people say of answers, to measure the models and to train better ones.

        result = client.search("kitchen.jpg")
        mug = result.objects[0]
        client.feedback.give("kitchen.jpg", result.release, Verdict.right(mug.hits[0].item_id), mug)

    Every method raises a `SemblanceError`. Whoever may search gives verdicts, and lists and deletes its own;
    ForbiddenError where somebody else than an admin wants more.
    """

    def __init__(self, channel: grpc.Channel, call: CallOptions, target: str) -> None:
        self._stub = feedback_pb2_grpc.FeedbackServiceStub(channel)
        self._call, self._target = call, target

    def give(
        self,
        image: ImageInput | StoredImage,
        release: str,
        verdict: Verdict,
        answered: ObjectHits | None = None,
        *,
        feedback_id: str = "",
    ) -> Given:
        """Says what is right or wrong about an answer; durable when this returns. Giving it again changes nothing.

        Args:
            image: the photo that was searched with.
            release: the one that answered, `SearchResult.release`.
            answered: the object that the verdict is about; None of what was missed.
            feedback_id: up to 64 letters, digits, hyphens and underscores; by default the service makes one of what is
                said, so that the same verdict has the same id.

        Raises:
            ConflictError: the id is that of another verdict.
            NotFoundError: there is no such release, or the service has no such photo from the caller.
        """
        message = translate.give_message(image, release, verdict, answered, feedback_id)
        with mapped(self._target):
            return translate.given(self._stub.Give(message, **self._call))

    def list(self, *, kinds: Collection[FeedbackKind] = (), release: str = "", caller: str = "") -> Iterator[Feedback]:
        """Feedback that meets all that is set, the newest first, fetched as it is iterated."""
        choice = translate.choice_message(kinds, release, caller)
        request = feedback_pb2.ListFeedbackRequest(choice=choice, page_size=LIST_PAGE)
        while True:
            with mapped(self._target):
                page = self._stub.List(request, **self._call)
            yield from filter(None, map(translate.feedback, page.feedback))
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def report(self, *, kinds: Collection[FeedbackKind] = (), release: str = "", caller: str = "") -> FeedbackReport:
        """How often the first hit was right, by release, class and condition of the photo."""
        choice = translate.choice_message(kinds, release, caller)
        with mapped(self._target):
            return translate.report(self._stub.Report(feedback_pb2.FeedbackReportRequest(choice=choice), **self._call))

    def export(
        self, *, kinds: Collection[FeedbackKind] = (), release: str = "", caller: str = ""
    ) -> Iterator[ExportedFeedback]:
        """Feedback photo by photo, each with its bytes once. It may take long, so what ends it is a lost connection, or
        that nothing is read for as long as a request may take (SEMBLANCE_MAX_DEADLINE): DeadlineExceededError."""
        choice = translate.choice_message(kinds, release, caller)
        request = feedback_pb2.ExportFeedbackRequest(choice=choice)
        with mapped(self._target):
            stream = self._stub.Export(request, metadata=self._call["metadata"])
            try:
                yield from filter(None, map(translate.exported, stream))
            finally:
                stream.cancel()

    def delete(self, feedback_ids: Sequence[str] = (), *, caller: str = "") -> int:
        """Deletes up to 1000 by their ids, or everything of a caller, and returns how many there were. Their photos
        follow within minutes, unless something else refers to them."""
        message = translate.delete_message(feedback_ids, caller)
        with mapped(self._target):
            return self._stub.Delete(message, **self._call).deleted

    def add_reference(self, feedback_id: str) -> AddedReference:
        """Makes the confirmed object of a photo a reference image of its item; doing it again changes nothing.

        Raises:
            WrongStateError: the verdict confirms no item, a later one took it back, or the item has no room.
            NotFoundError: there is no such feedback, or no such item any more.
        """
        message = translate.reference_message(feedback_id)
        with mapped(self._target):
            return translate.added_reference(self._stub.AddReference(message, **self._call))


class AsyncVerdicts:
    """`AsyncClient.feedback`: `Verdicts` for asyncio."""

    def __init__(self, channel: grpc.aio.Channel, call: CallOptions, target: str) -> None:
        self._stub = feedback_pb2_grpc.FeedbackServiceStub(channel)
        self._call, self._target = call, target

    async def give(
        self,
        image: ImageInput | StoredImage,
        release: str,
        verdict: Verdict,
        answered: ObjectHits | None = None,
        *,
        feedback_id: str = "",
    ) -> Given:
        """As `Verdicts.give`."""
        message = translate.give_message(image, release, verdict, answered, feedback_id)
        with mapped(self._target):
            return translate.given(await self._stub.Give(message, **self._call))

    async def list(
        self, *, kinds: Collection[FeedbackKind] = (), release: str = "", caller: str = ""
    ) -> AsyncIterator[Feedback]:
        """As `Verdicts.list`."""
        choice = translate.choice_message(kinds, release, caller)
        request = feedback_pb2.ListFeedbackRequest(choice=choice, page_size=LIST_PAGE)
        while True:
            with mapped(self._target):
                page = await self._stub.List(request, **self._call)
            for found in filter(None, map(translate.feedback, page.feedback)):
                yield found
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def report(
        self, *, kinds: Collection[FeedbackKind] = (), release: str = "", caller: str = ""
    ) -> FeedbackReport:
        """As `Verdicts.report`."""
        choice = translate.choice_message(kinds, release, caller)
        with mapped(self._target):
            return translate.report(
                await self._stub.Report(feedback_pb2.FeedbackReportRequest(choice=choice), **self._call)
            )

    async def export(
        self, *, kinds: Collection[FeedbackKind] = (), release: str = "", caller: str = ""
    ) -> AsyncIterator[ExportedFeedback]:
        """As `Verdicts.export`."""
        choice = translate.choice_message(kinds, release, caller)
        request = feedback_pb2.ExportFeedbackRequest(choice=choice)
        with mapped(self._target):
            stream = self._stub.Export(request, metadata=self._call["metadata"])
            try:
                async for message in stream:
                    if found := translate.exported(message):
                        yield found
            finally:
                stream.cancel()

    async def delete(self, feedback_ids: Sequence[str] = (), *, caller: str = "") -> int:
        """As `Verdicts.delete`."""
        message = translate.delete_message(feedback_ids, caller)
        with mapped(self._target):
            return (await self._stub.Delete(message, **self._call)).deleted

    async def add_reference(self, feedback_id: str) -> AddedReference:
        """As `Verdicts.add_reference`."""
        message = translate.reference_message(feedback_id)
        with mapped(self._target):
            return translate.added_reference(await self._stub.AddReference(message, **self._call))
