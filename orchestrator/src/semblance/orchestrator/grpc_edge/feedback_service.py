"""`FeedbackService`: translates and calls."""

from collections.abc import Sequence
from dataclasses import replace

from semblance.orchestrator.admission import Admission
from semblance.orchestrator.caller import Role, current
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import DeadlineExceeded, DependencyUnavailable, NotFound
from semblance.orchestrator.feedback import Choice, Feedback
from semblance.orchestrator.grpc_edge import feedback_translate as translate
from semblance.orchestrator.grpc_edge.boundary import Context, DeadlinePolicy
from semblance.orchestrator.grpc_edge.peer import caller
from semblance.orchestrator.grpc_edge.stream import Streams
from semblance.orchestrator.grpc_edge.translate import page_size
from semblance.orchestrator.references import References
from semblance.orchestrator.verdicts import Verdicts
from semblance.v1.feedback_pb2 import (
    AddReferenceRequest,
    AddReferenceResponse,
    DeleteFeedbackRequest,
    DeleteFeedbackResponse,
    ExportedFeedback,
    ExportFeedbackRequest,
    FeedbackReport,
    FeedbackReportRequest,
    GiveFeedbackRequest,
    GiveFeedbackResponse,
    ListFeedbackRequest,
    ListFeedbackResponse,
)
from semblance.v1.feedback_pb2_grpc import FeedbackServiceServicer

# Read at once for an export; of photos, one at a time is in memory.
EXPORT_PAGE = 200
FIRST = ("", "")


class FeedbackService(FeedbackServiceServicer):
    def __init__(
        self,
        verdicts: Verdicts,
        references: References,
        admission: Admission,
        deadlines: DeadlinePolicy,
        streams: Streams,
    ) -> None:
        self._verdicts = verdicts
        self._references = references
        self._admission = admission
        self._deadlines = deadlines
        self._streams = streams

    async def Give(self, request: GiveFeedbackRequest, context: Context) -> GiveFeedbackResponse:  # noqa: N802
        who = caller(context)
        draft = translate.draft(request, who)
        deadline = self._deadlines.of_call(context)
        async with deadline.enforced(), self._admission.lookup.admit(who, len(request.image), deadline):
            feedback, created = await self._verdicts.give(draft, _own(Choice(), who))
        return GiveFeedbackResponse(feedback_id=feedback.feedback_id, created=created)

    async def List(self, request: ListFeedbackRequest, context: Context) -> ListFeedbackResponse:  # noqa: N802
        who, size = caller(context), page_size(request)
        choice = _own(translate.choice(request.choice), who)
        deadline = self._deadlines.of_call(context)
        async with deadline.enforced(), self._admission.lookup.admit(who, 0, deadline):
            return translate.list_response(await self._verdicts.list(choice, size, request.page_token))

    async def Report(self, request: FeedbackReportRequest, context: Context) -> FeedbackReport:  # noqa: N802
        choice = translate.choice(request.choice)
        deadline = self._deadlines.of_call(context)
        async with deadline.enforced(), self._admission.lookup.admit(caller(context), 0, deadline):
            return translate.report_message(await self._verdicts.report(choice))

    async def Export(self, request: ExportFeedbackRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802
        """A coroutine that writes, which grpc.aio takes beside the generator of the generated signature.

        It has no deadline but the caller's, as it may be all there is: each page has one, each photo, and each message
        until the caller reads on. Nobody's place is held meanwhile.
        """
        choice, who = translate.choice(request.choice), caller(context)
        after, image_id = FIRST, ""
        async with self._streams.until_drained() as limit:
            while page := await self._page(choice, after, who, context):
                # An export may outlive the token that it began with.
                current.get().check()
                for feedback in page:
                    message = ExportedFeedback(feedback=translate.feedback_message(feedback))
                    if feedback.image_id != image_id:
                        message.image = await self._photo(feedback.image_id, who, context)
                    image_id = feedback.image_id
                    await self._send(message, context)
                after = page[-1].image_id, page[-1].feedback_id
        if limit.expired():
            raise DependencyUnavailable("the service is stopping; export again")

    async def Delete(self, request: DeleteFeedbackRequest, context: Context) -> DeleteFeedbackResponse:  # noqa: N802
        who = caller(context)
        choice, deleted = _own(translate.deleted(request), who), 0
        deadline = self._deadlines.of_call(context)
        async with deadline.enforced(), self._admission.lookup.admit(who, 0, deadline):
            async for count in self._verdicts.delete(choice):
                deleted += count
        return DeleteFeedbackResponse(deleted=deleted)

    async def AddReference(self, request: AddReferenceRequest, context: Context) -> AddReferenceResponse:  # noqa: N802
        feedback_id = translate.feedback_id(request.feedback_id)
        # It takes as long as a put of all images of the item.
        deadline = self._deadlines.of_call(context, self._deadlines.maximum)
        async with deadline.enforced(), self._admission.ingest.admit(caller(context), 0, deadline) as place:
            item_id, image_id, added = await self._references.add(feedback_id, place.release, deadline)
        return AddReferenceResponse(item_id=item_id, image_id=image_id, added=added)

    async def _send(self, message: ExportedFeedback, context: Context) -> None:
        longest = self._deadlines.maximum
        try:
            async with Deadline.after(longest).enforced():
                await context.write(message)
        except DeadlineExceeded:
            raise DeadlineExceeded(f"nothing of the export was read for {longest:g} s; read faster") from None

    async def _page(self, choice: Choice, after: tuple[str, str], who: str, context: Context) -> Sequence[Feedback]:
        deadline = self._deadlines.of_call(context)
        async with deadline.enforced(), self._admission.lookup.admit(who, 0, deadline):
            return await self._verdicts.page(choice, after, EXPORT_PAGE)

    async def _photo(self, image_id: str, who: str, context: Context) -> bytes:
        """Empty where it was deleted meanwhile."""
        deadline = self._deadlines.of_call(context)
        async with deadline.enforced(), self._admission.lookup.admit(who, 0, deadline):
            try:
                return await self._verdicts.photo(image_id)
            except NotFound:
                return b""


def _own(choice: Choice, who: str) -> Choice:
    """What a caller may see and delete: an admin all of it, others what they gave. Raises NotFound for another's."""
    if Role.ADMIN in current.get().roles:
        return choice
    if choice.caller not in ("", who):
        raise NotFound(f"there is no feedback of {choice.caller!r} that {who} may see; an admin sees all")
    return replace(choice, caller=who)
