"""What an operator does with releases, for threads and for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from functools import partial

import grpc

from semblance.client import _release_translate as translate
from semblance.client._channel import IN_FLIGHT, RELEASE_TIMEOUT, CallOptions, patience
from semblance.client._errors import SemblanceError, mapped
from semblance.client._exchange import Protocol, exchange, exchange_async
from semblance.client._release_types import (
    Figure,
    NewRelease,
    Release,
    ReleasePlan,
    ReleaseReport,
    ReleaseStatus,
    Switch,
)
from semblance.v1 import release_pb2, release_pb2_grpc

PENDING_PAGE = 1000
"""Ids of items fetched at a time while listing."""


def release_options(timeout: float | None, call: CallOptions) -> CallOptions:
    """Of a client with that timeout, whose other calls go with `call`."""
    return CallOptions(timeout=timeout or RELEASE_TIMEOUT, metadata=call["metadata"])


def build_protocol(release_id: str, timeout: float | None, in_flight: int, target: str) -> Protocol[str, None]:
    """Items that are built are known by their ids."""

    def encode(item_id: str) -> tuple[str, release_pb2.BuildItemsRequest]:
        return item_id, translate.build_message(release_id, item_id, timeout)

    def decode(message: release_pb2.BuildItemsResponse) -> tuple[str, SemblanceError | None]:
        return message.item_id, translate.built(message)

    return Protocol(encode, decode, patience(timeout), in_flight, target)


class Releases:
    """`Client.releases`: which models and which index serve, and how to replace them while traffic flows.

        client.releases.create(NewRelease(embedder=2))
        while client.releases.get("r2").state is ReleaseState.BUILDING:
            time.sleep(1)
        client.releases.activate("r2")

    Every method raises a `SemblanceError`: NotFoundError where there is no such release, WrongStateError where it is
    not in the state that this takes, ForbiddenError where the caller is no admin.
    """

    def __init__(self, channel: grpc.Channel, call: CallOptions, target: str, timeout: float | None) -> None:
        self._stub = release_pb2_grpc.ReleaseServiceStub(channel)
        self._call, self._target, self._timeout = call, target, timeout

    def plan(self, new: NewRelease) -> ReleasePlan:
        """What a release would take; nothing is done. InvalidArgumentError where it can't be."""
        message = translate.new_message(new)
        with mapped(self._target):
            return translate.plan(self._stub.Plan(message, **self._call))

    def create(self, new: NewRelease) -> Release:
        """Begins to build a release, which is ready when `get` says so. Raises as `plan` does, and ConflictError where
        the id is taken."""
        message = translate.new_message(new)
        with mapped(self._target):
            return translate.release(self._stub.Create(message, **self._call))

    def get(self, release_id: str) -> Release:
        """A release, with its progress."""
        message = translate.named_message(release_pb2.GetReleaseRequest, release_id)
        with mapped(self._target):
            return translate.release(self._stub.Get(message, **self._call))

    def pending(self, release_id: str) -> Iterator[str]:
        """The ids of the items that a live release's index lacks, or has otherwise than the catalogue, in order,
        fetched as they are iterated; deleted ones that it still has are among them. None of a release that is building
        and keeps another one's index."""
        message = translate.pending_message(release_id, PENDING_PAGE)
        while True:
            with mapped(self._target):
                page = self._stub.ListPending(message, **self._call)
            yield from page.item_ids
            if not page.next_page_token:
                return
            message.page_token = page.next_page_token

    def build_items(
        self, release_id: str, item_ids: Iterable[str], *, in_flight: int = IN_FLIGHT
    ) -> Iterator[tuple[str, SemblanceError | None]]:
        """Brings items into the index of a release that is building, over one stream, `in_flight` at a time.

        Yields each id as it is done, with the error of one that failed, which does not end the others; what ends them
        all is raised. Nothing is sent before the first answer is asked for. Any orchestrators take them, and several at
        once: what is in the index already is done at once, and what was deleted is taken out. While items are sent, and
        for 30 s after the last one, the service leaves the release's items to its callers; then it goes on by itself.

        Items wait while the service loads the release's models. A RetryableError may pass, as that takes longer than an
        item may, or the service has too much to do; so may a DeadlineExceededError. WrongStateError: the release is not
        building, be it that it is ready, or keeps another one's index.
        """
        protocol = build_protocol(release_id, self._timeout, in_flight, self._target)
        yield from exchange(partial(self._stub.BuildItems, metadata=self._call["metadata"]), protocol, item_ids)

    def list(self) -> tuple[Release, ...]:
        """All releases, the oldest first; the live ones with their progress."""
        message = release_pb2.ListReleasesRequest()
        with mapped(self._target):
            return translate.releases(self._stub.List(message, **self._call))

    def status(self) -> ReleaseStatus:
        """Whether Triton, Milvus and every orchestrator hold what they should."""
        message = release_pb2.StatusRequest()
        with mapped(self._target):
            return translate.status(self._stub.Status(message, **self._call))

    def shadow(self, release_id: str, *, percent: float) -> Release:
        """Has a release serve so many percent of searches too, unseen by their callers; 0 ends it."""
        message = translate.shadow_message(release_id, percent)
        with mapped(self._target):
            return translate.release(self._stub.Shadow(message, **self._call))

    def canary(self, release_id: str, *, percent: float = 0.0, callers: Sequence[str] = ()) -> Release:
        """Has a release serve so many percent of the callers, and these, in place of the active one; 0 and nobody ends
        it."""
        message = translate.canary_message(release_id, percent, callers)
        with mapped(self._target):
            return translate.release(self._stub.Canary(message, **self._call))

    def report(self, release_id: str) -> ReleaseReport:
        """A canary's or shadow's figures against the active release, and those of its evaluation."""
        message = translate.named_message(release_pb2.ReportRequest, release_id)
        with mapped(self._target):
            return translate.report(self._stub.Report(message, **self._call))

    def record_evaluation(self, release_id: str, figures: Sequence[Figure], *, against: str | None = None) -> None:
        """Keeps what was measured of a release, for its report and for what an activation requires, in place of what
        was kept of it before.

        Args:
            figures: up to 500, each with a value. A name, such as recall@1_difference_low, has up to 64 lower-case
                letters, digits, and _ @ . signs, a letter first; the report puts `evaluation.` before it.
            against: the release that it was compared with. No activation that requires one of the figures is done where
                that is not the active one any more.
        """
        message = translate.evaluation_message(release_id, figures, against)
        with mapped(self._target):
            self._stub.RecordEvaluation(message, **self._call)

    def activate(self, release_id: str, *, require: Sequence[str] = ()) -> Switch:
        """Serves with a release that is ready; returns when every orchestrator does.

        Args:
            require: what the report must say, such as `overlap@10>=0.8`; WrongStateError, and nothing is done, where
                one does not hold.
        """
        message = translate.activate_message(release_id, require)
        with mapped(self._target):
            return translate.switch(self._stub.Activate(message, **self._call))

    def roll_back(self) -> Switch:
        """Activates the release that the active one replaced."""
        message = release_pb2.RollbackRequest()
        with mapped(self._target):
            return translate.switch(self._stub.Rollback(message, **self._call))

    def retire(self, release_id: str) -> Release:
        """Gives up a release that is not active, and what only it uses."""
        message = translate.named_message(release_pb2.RetireReleaseRequest, release_id)
        with mapped(self._target):
            return translate.release(self._stub.Retire(message, **self._call))


class AsyncReleases:
    """`AsyncClient.releases`: `Releases` for asyncio."""

    def __init__(self, channel: grpc.aio.Channel, call: CallOptions, target: str, timeout: float | None) -> None:
        self._stub = release_pb2_grpc.ReleaseServiceStub(channel)
        self._call, self._target, self._timeout = call, target, timeout

    async def plan(self, new: NewRelease) -> ReleasePlan:
        """As `Releases.plan`."""
        message = translate.new_message(new)
        with mapped(self._target):
            return translate.plan(await self._stub.Plan(message, **self._call))

    async def create(self, new: NewRelease) -> Release:
        """As `Releases.create`."""
        message = translate.new_message(new)
        with mapped(self._target):
            return translate.release(await self._stub.Create(message, **self._call))

    async def get(self, release_id: str) -> Release:
        """As `Releases.get`."""
        message = translate.named_message(release_pb2.GetReleaseRequest, release_id)
        with mapped(self._target):
            return translate.release(await self._stub.Get(message, **self._call))

    async def pending(self, release_id: str) -> AsyncIterator[str]:
        """As `Releases.pending`."""
        message = translate.pending_message(release_id, PENDING_PAGE)
        while True:
            with mapped(self._target):
                page = await self._stub.ListPending(message, **self._call)
            for item_id in page.item_ids:
                yield item_id
            if not page.next_page_token:
                return
            message.page_token = page.next_page_token

    def build_items(
        self, release_id: str, item_ids: Iterable[str] | AsyncIterable[str], *, in_flight: int = IN_FLIGHT
    ) -> AsyncIterator[tuple[str, SemblanceError | None]]:
        """As `Releases.build_items`."""
        protocol = build_protocol(release_id, self._timeout, in_flight, self._target)
        return exchange_async(partial(self._stub.BuildItems, metadata=self._call["metadata"]), protocol, item_ids)

    async def list(self) -> tuple[Release, ...]:
        """As `Releases.list`."""
        message = release_pb2.ListReleasesRequest()
        with mapped(self._target):
            return translate.releases(await self._stub.List(message, **self._call))

    async def status(self) -> ReleaseStatus:
        """As `Releases.status`."""
        message = release_pb2.StatusRequest()
        with mapped(self._target):
            return translate.status(await self._stub.Status(message, **self._call))

    async def shadow(self, release_id: str, *, percent: float) -> Release:
        """As `Releases.shadow`."""
        message = translate.shadow_message(release_id, percent)
        with mapped(self._target):
            return translate.release(await self._stub.Shadow(message, **self._call))

    async def canary(self, release_id: str, *, percent: float = 0.0, callers: Sequence[str] = ()) -> Release:
        """As `Releases.canary`."""
        message = translate.canary_message(release_id, percent, callers)
        with mapped(self._target):
            return translate.release(await self._stub.Canary(message, **self._call))

    async def report(self, release_id: str) -> ReleaseReport:
        """As `Releases.report`."""
        message = translate.named_message(release_pb2.ReportRequest, release_id)
        with mapped(self._target):
            return translate.report(await self._stub.Report(message, **self._call))

    async def record_evaluation(
        self, release_id: str, figures: Sequence[Figure], *, against: str | None = None
    ) -> None:
        """As `Releases.record_evaluation`."""
        message = translate.evaluation_message(release_id, figures, against)
        with mapped(self._target):
            await self._stub.RecordEvaluation(message, **self._call)

    async def activate(self, release_id: str, *, require: Sequence[str] = ()) -> Switch:
        """As `Releases.activate`."""
        message = translate.activate_message(release_id, require)
        with mapped(self._target):
            return translate.switch(await self._stub.Activate(message, **self._call))

    async def roll_back(self) -> Switch:
        """As `Releases.roll_back`."""
        message = release_pb2.RollbackRequest()
        with mapped(self._target):
            return translate.switch(await self._stub.Rollback(message, **self._call))

    async def retire(self, release_id: str) -> Release:
        """As `Releases.retire`."""
        message = translate.named_message(release_pb2.RetireReleaseRequest, release_id)
        with mapped(self._target):
            return translate.release(await self._stub.Retire(message, **self._call))
