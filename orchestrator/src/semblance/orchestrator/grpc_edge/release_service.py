"""`ReleaseService`: translates and calls."""

from semblance.orchestrator.grpc_edge import release_translate as translate
from semblance.orchestrator.grpc_edge.boundary import Context, DeadlinePolicy
from semblance.orchestrator.grpc_edge.translate import release_id
from semblance.orchestrator.releases import Releases
from semblance.v1.release_pb2 import (
    ActivateReleaseRequest,
    CanaryRequest,
    CreateReleaseRequest,
    GetReleaseRequest,
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

    def __init__(self, releases: Releases, deadlines: DeadlinePolicy) -> None:
        self._releases = releases
        self._deadlines = deadlines

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
