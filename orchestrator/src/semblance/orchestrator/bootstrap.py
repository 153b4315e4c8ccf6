"""The one place where everything is put together: from settings and ports to a service that answers."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import cv2

from semblance.orchestrator.activation import CALL_TIMEOUT, activate
from semblance.orchestrator.adapters.images import FileImageStore
from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.adapters.metadata import SqlMetadataStore
from semblance.orchestrator.adapters.milvus import MilvusIndex
from semblance.orchestrator.adapters.transport import Mode
from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.admission import Admission
from semblance.orchestrator.catalog import Catalog, mend_forever
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.decode import ImageLimits
from semblance.orchestrator.errors import DeadlineExceeded, DependencyUnavailable, SemblanceError
from semblance.orchestrator.grpc_edge.boundary import DeadlinePolicy
from semblance.orchestrator.grpc_edge.callers import Callers
from semblance.orchestrator.grpc_edge.catalog_service import CatalogService
from semblance.orchestrator.grpc_edge.health import OVERALL, Health
from semblance.orchestrator.grpc_edge.kserve.service import InferenceService
from semblance.orchestrator.grpc_edge.search_service import SearchService
from semblance.orchestrator.grpc_edge.searcher import Searcher
from semblance.orchestrator.grpc_edge.server import (
    CATALOG_SERVICE,
    INFERENCE_SERVICE,
    SEARCH_SERVICE,
    SERVICES,
    Door,
    Server,
)
from semblance.orchestrator.grpc_edge.stream import Streams
from semblance.orchestrator.grpc_edge.tls import Tls, TlsFiles
from semblance.orchestrator.limit import Limit
from semblance.orchestrator.needs import Needs
from semblance.orchestrator.pipeline import Pipeline
from semblance.orchestrator.ports import Ports
from semblance.orchestrator.queue import FairQueue
from semblance.orchestrator.release import Release
from semblance.orchestrator.schema import Schema
from semblance.orchestrator.settings import Settings, SettingsError
from semblance.orchestrator.statistics import Statistics
from semblance.orchestrator.threads import Threads

log = logging.getLogger(__name__)

# Slots of shared memory. Requests of both models are under way or being filled even where few photos are in flight;
# where many are, their inputs share slots.
FEWEST_SLOTS = 4
INPUTS_PER_SLOT = 4
# Between two looks at a dependency that is not there yet, in seconds.
STARTUP_POLL = 0.5
# How long a change may be on its way to the index before it is mended, and between two rounds of that, in seconds.
MEND_SECONDS = 3.0
# What a put or a mend may take beyond the longest deadline, until the last of its calls has ended, in seconds.
WRITE_MARGIN = 60.0
# Between two looks at which release is active, in seconds.
FOLLOW_SECONDS = 1.0


@asynccontextmanager
async def real_ports(settings: Settings) -> AsyncIterator[Ports]:
    """Connects to nothing yet. Raises SettingsError where a store's address is not one."""
    async with AsyncExitStack() as stack:
        models = {}
        for url in settings.triton_url.split(","):
            slots = max(FEWEST_SLOTS, settings.search_in_flight // INPUTS_PER_SLOT)
            server = TritonServer(url, Mode(settings.transport), slots)
            stack.push_async_callback(server.close)
            models[f"Triton at {url}"] = server
        try:
            token = settings.milvus_token.get_secret_value()
            index = MilvusIndex(settings.milvus_uri, token, alone=settings.workers == 1)
            stack.push_async_callback(index.close)
            metadata = SqlMetadataStore(settings.metadata_url, settings.max_deadline + WRITE_MARGIN)
            stack.push_async_callback(metadata.close)
            images = FileImageStore(settings.image_store)
            stack.push_async_callback(images.close)
            repository = FileModelRepository(settings.model_repository)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        yield Ports(models, repository, index, metadata, images)


def admission(settings: Settings) -> Admission:
    return Admission(
        Limit(settings.search_in_flight, settings.latency_tolerance),
        search=FairQueue(settings.search_queue, settings.queue_bytes),
        ingest=FairQueue(settings.ingest_queue, settings.queue_bytes),
        lookup=FairQueue(settings.lookup_queue, settings.queue_bytes),
        ingests=settings.ingest_in_flight,
        lookups=settings.lookup_in_flight,
    )


def door(settings: Settings) -> Door:
    """Raises SettingsError where a file of certificates or callers can't be used."""
    tls = None
    if settings.tls_certificate:
        client_ca = Path(settings.tls_client_ca) if settings.tls_client_ca else None
        tls = Tls(TlsFiles(Path(settings.tls_certificate), Path(settings.tls_key), client_ca))
    callers = Callers(Path(settings.callers)) if settings.callers else None
    return Door(settings.listen, settings.workers > 1, tls, callers, settings.health_listen)


class Service:
    """Built, it does nothing; `bind`, `activate` and `stop` are its life.

    `worker` is its number among those that share the port. The first one mends; it would do no harm in the others.
    """

    def __init__(self, settings: Settings, ports: Ports, worker: int = 0) -> None:
        # The worker threads are as many as the cores: OpenCV's own below them would only get in their way.
        cv2.setNumThreads(1)
        self._settings = settings
        self._ports = ports
        self._worker = worker
        self._threads = Threads(settings.pixel_threads)
        self._admission = admission(settings)
        self._needs = Needs(ports, lambda: self._admission.release, self._report)
        index, metadata = self._needs.index, self._needs.metadata
        self._schema = Schema(metadata)
        limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
        pipeline = Pipeline(self._needs.models, index, self._threads, limits)
        self._catalog = Catalog(pipeline, metadata, ports.images, index)
        deadlines = DeadlinePolicy(settings.default_deadline, settings.max_deadline)
        streams = Streams()
        self._health = Health((OVERALL, *SERVICES), streams)
        searcher = Searcher(pipeline, self._admission, self._schema, Statistics(), self._needs.check_search)
        # So that a lone stream is never refused.
        window = min(settings.search_in_flight, settings.search_queue + 1)
        self._door = door(settings)
        self._server = Server(
            self._door,
            SearchService(searcher, deadlines, streams, window),
            InferenceService(searcher, deadlines, self._health, streams, window),
            CatalogService(
                self._catalog, self._admission, self._schema, deadlines, streams, window=settings.ingest_in_flight
            ),
            self._health,
            streams,
        )
        self._background: list[asyncio.Task[None]] = []
        self._mending: asyncio.Task[None] | None = None

    async def bind(self) -> int:
        """Listens, and answers that it is not serving yet; returns the port. Raises AddressInUse."""
        return await self._server.start()

    async def activate(self) -> None:
        """Waits for what the service depends on, checks it, and serves.

        Raises ContractMismatch where it is not what it should be, DependencyUnavailable where it does not come.
        """
        release = await self._release()
        await self._schema.refresh()
        work = [self._schema.refresh_forever(), self._follow_forever(release), *self._needs.watches()]
        if self._door.callers is not None:
            work.append(self._door.callers.watch_forever())
        self._background = [asyncio.create_task(each) for each in work]
        self._serve(release)
        self._report()

    async def stop(self) -> None:
        """Says that it goes, and finishes what is in flight, within the grace."""
        await self._server.stop(self._settings.drain_delay, self._settings.drain_grace)
        tasks = [*self._background, *([self._mending] if self._mending else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.close()

    def _serve(self, release: Release) -> None:
        self._admission.release = release
        if self._mending is not None:
            self._mending.cancel()
        if self._worker == 0:
            self._mending = asyncio.create_task(mend_forever(self._catalog, release, MEND_SECONDS))
        log.info(
            "serving release %s: detector version %d, embedder version %d, collection %s",
            release.release_id,
            release.detector.version,
            release.embedder.version,
            release.collection,
        )

    async def _follow_forever(self, serving: Release) -> None:
        """Serves what the metadata store says is active, once it is checked; what is in flight keeps its release."""
        ports = self._ports
        reported = ""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                if await ports.metadata.active_release() == serving:
                    continue
                before, serving = (
                    serving,
                    await activate(ports.metadata, self._needs.models, ports.repository, ports.index),
                )
            except SemblanceError as error:
                if str(error) != reported:
                    log.warning("it could not be seen whether another release is active: %s", error)
                reported = str(error)
                continue
            reported = ""
            self._serve(serving)
            if self._worker == 0:
                self._background.append(asyncio.create_task(self._drop_later(before)))

    async def _drop_later(self, release: Release) -> None:
        """Drops a replaced collection when no request of any orchestrator can be using it any more."""
        await asyncio.sleep(self._settings.max_deadline + 2 * FOLLOW_SECONDS)
        try:
            await self._ports.index.drop(release, CALL_TIMEOUT)
            log.info("dropped collection %s, which was replaced", release.collection)
        except SemblanceError as error:
            log.warning("collection %s was replaced, and could not be dropped: %s", release.collection, error)

    def _report(self) -> None:
        """Health follows what the services need."""
        needs = self._needs
        searches = needs.models.available and needs.vectors.available
        self._health.say((OVERALL, SEARCH_SERVICE, INFERENCE_SERVICE), searches)
        self._health.say((CATALOG_SERVICE,), searches and needs.truth.available)

    async def _release(self) -> Release:
        ports = self._ports
        patience = Deadline.after(self._settings.startup_wait)
        reported = ""
        while True:
            try:
                return await activate(ports.metadata, self._needs.models, ports.repository, ports.index)
            except (DependencyUnavailable, DeadlineExceeded) as error:
                if patience.at - time.monotonic() < STARTUP_POLL:
                    raise
                if str(error) != reported:
                    log.info("waiting: %s", error)
                reported = str(error)
            await asyncio.sleep(STARTUP_POLL)
