"""`ReleaseService`: translates and calls."""

from collections.abc import AsyncIterator

from semblance.orchestrator.builds import Builds
from semblance.orchestrator.grpc_edge import release_translate as translate
from semblance.orchestrator.grpc_edge.boundary import Context, DeadlinePolicy
from semblance.orchestrator.grpc_edge.status import fault
from semblance.orchestrator.grpc_edge.stream import Streams
from semblance.orchestrator.grpc_edge.translate import item_id, page_size, release_id, timeout
from semblance.orchestrator.releases import Releases
from semblance.v1.release_pb2 import (
    ActivateReleaseRequest,
    BuildItemsRequest,
    BuildItemsResponse,
    CanaryRequest,
    CreateReleaseRequest,
    GetReleaseRequest,
    ListPendingRequest,
    ListPendingResponse,
    ListReleasesRequest,
    ListReleasesResponse,
    RecordEvaluationRequest,
    RecordEvaluationResponse,
    Release,
    ReleasePlan,
    ReleaseReport,
    ReportRequest,
    RetireReleaseRequest,
    RollbackRequest,
    ShadowRequest,
    StatusRequest,
    StatusResponse,
    SwitchResponse,
)
from semblance.v1.release_pb2_grpc import ReleaseServiceServicer


class ReleaseService(ReleaseServiceServicer):
    """Its calls do not wait for searches and puts: an operator must get through when there is too much to do."""

    def __init__(
        self, releases: Releases, builds: Builds, deadlines: DeadlinePolicy, streams: Streams, window: int
    ) -> None:
        self._releases = releases
        self._builds = builds
        self._deadlines = deadlines
        self._streams = streams
        self._window = window

    async def Plan(self, request: CreateReleaseRequest, context: Context) -> ReleasePlan:  # noqa: N802
        wanted = translate.wanted(request)
        async with self._deadlines.of_call(context).enforced():
            return translate.plan_message(await self._releases.plan(wanted))

    async def Create(self, request: CreateReleaseRequest, context: Context) -> Release:  # noqa: N802
        wanted = translate.wanted(request)
        async with self._deadlines.of_call(context).enforced():
            return translate.release_message(await self._releases.create(wanted))

    async def Get(self, request: GetReleaseRequest, context: Context) -> Release:  # noqa: N802
        named = release_id(request.release_id)
        async with self._deadlines.of_call(context).enforced():
            return translate.release_message(*await self._releases.get(named))

    async def ListPending(self, request: ListPendingRequest, context: Context) -> ListPendingResponse:  # noqa: N802
        named, size = release_id(request.release_id), page_size(request)
        async with self._deadlines.of_call(context).enforced():
            page = await self._builds.pending(named, size, request.page_token)
            return ListPendingResponse(item_ids=page.item_ids, next_page_token=page.next_page_token)

    async def BuildItems(  # type: ignore[override]  # noqa: N802
        self, request_iterator: AsyncIterator[BuildItemsRequest], context: Context
    ) -> None:
        """A coroutine that writes, as `CatalogService.Put` is."""

        async def answer(request: BuildItemsRequest) -> BuildItemsResponse:
            try:
                # Items wait for each other, as puts do.
                asked = timeout(request) or self._deadlines.maximum
                deadline = self._deadlines.of_call(context, asked)
                async with deadline.enforced():
                    await self._builds.build(release_id(request.release_id), item_id(request.item_id), deadline)
            except Exception as error:
                return BuildItemsResponse(item_id=request.item_id, failure=fault(error).failure())
            return BuildItemsResponse(item_id=request.item_id)

        await self._streams.converse(request_iterator, answer, self._window, context)

    async def List(self, request: ListReleasesRequest, context: Context) -> ListReleasesResponse:  # noqa: N802
        async with self._deadlines.of_call(context).enforced():
            return translate.list_response(await self._releases.list())

    async def Activate(self, request: ActivateReleaseRequest, context: Context) -> SwitchResponse:  # noqa: N802
        named, required = release_id(request.release_id), translate.requirements(request.require)
        async with self._deadlines.of_call(context).enforced():
            return translate.switch_response(await self._releases.activate(named, required))

    async def Rollback(self, request: RollbackRequest, context: Context) -> SwitchResponse:  # noqa: N802
        async with self._deadlines.of_call(context).enforced():
            return translate.switch_response(await self._releases.roll_back())

    async def Canary(self, request: CanaryRequest, context: Context) -> Release:  # noqa: N802
        named, canary = release_id(request.release_id), translate.canary(request.share)
        async with self._deadlines.of_call(context).enforced():
            return translate.release_message(await self._releases.canary(named, canary))

    async def Shadow(self, request: ShadowRequest, context: Context) -> Release:  # noqa: N802
        named, percent = release_id(request.release_id), translate.percent(request.percent)
        async with self._deadlines.of_call(context).enforced():
            return translate.release_message(await self._releases.shadow(named, percent))

    async def Report(self, request: ReportRequest, context: Context) -> ReleaseReport:  # noqa: N802
        named = release_id(request.release_id)
        async with self._deadlines.of_call(context).enforced():
            return translate.report_message(await self._releases.report(named))

    async def RecordEvaluation(  # noqa: N802
        self, request: RecordEvaluationRequest, context: Context
    ) -> RecordEvaluationResponse:
        evaluated = release_id(request.release_id)
        against = release_id(request.against) if request.against else ""
        measured = translate.figures(request.figures)
        async with self._deadlines.of_call(context).enforced():
            await self._releases.record_evaluation(evaluated, against, measured)
            return RecordEvaluationResponse()

    async def Retire(self, request: RetireReleaseRequest, context: Context) -> Release:  # noqa: N802
        named = release_id(request.release_id)
        async with self._deadlines.of_call(context).enforced():
            return translate.release_message(await self._releases.retire(named))

    async def Status(self, request: StatusRequest, context: Context) -> StatusResponse:  # noqa: N802
        async with self._deadlines.of_call(context).enforced():
            return translate.status_response(await self._releases.status())
