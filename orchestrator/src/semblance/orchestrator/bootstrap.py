"""The one place where everything is put together: from settings and ports to a service that answers."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import cv2

from semblance.orchestrator.activation import first_release
from semblance.orchestrator.adapters.images import FileImageStore
from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.adapters.metadata import Database, SqlFeedbackStore, SqlMetadataStore, SqlRegistry
from semblance.orchestrator.adapters.milvus import MilvusIndex
from semblance.orchestrator.adapters.transport import Mode
from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.admission import Admission
from semblance.orchestrator.backlog import Backlog
from semblance.orchestrator.builds import Builds
from semblance.orchestrator.catalog import Catalog
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.decode import ImageLimits
from semblance.orchestrator.errors import DeadlineExceeded, DependencyUnavailable, SemblanceError
from semblance.orchestrator.follower import FOLLOW_SECONDS, SEARCHING_SECONDS, Follower
from semblance.orchestrator.grpc_edge.boundary import DeadlinePolicy
from semblance.orchestrator.grpc_edge.callers import Callers
from semblance.orchestrator.grpc_edge.catalog_service import CatalogService
from semblance.orchestrator.grpc_edge.feedback_service import FeedbackService
from semblance.orchestrator.grpc_edge.health import OVERALL, TRAFFIC, Health
from semblance.orchestrator.grpc_edge.kserve.service import InferenceService
from semblance.orchestrator.grpc_edge.release_service import ReleaseService
from semblance.orchestrator.grpc_edge.requests import Requests
from semblance.orchestrator.grpc_edge.search_service import SearchService
from semblance.orchestrator.grpc_edge.searcher import Searcher
from semblance.orchestrator.grpc_edge.server import (
    CATALOG_SERVICE,
    FEEDBACK_SERVICE,
    INFERENCE_SERVICE,
    METHODS,
    RELEASE_SERVICE,
    SEARCH_SERVICE,
    SERVICES,
    Door,
    Server,
)
from semblance.orchestrator.grpc_edge.stream import Streams
from semblance.orchestrator.grpc_edge.tls import Tls, TlsFiles
from semblance.orchestrator.keeper import Keeper
from semblance.orchestrator.limit import Limit
from semblance.orchestrator.mender import Pace
from semblance.orchestrator.metrics.families import Sources, families
from semblance.orchestrator.metrics.listener import Listener
from semblance.orchestrator.needs import Needs
from semblance.orchestrator.pipeline import Pipeline
from semblance.orchestrator.ports import Ports
from semblance.orchestrator.queue import FairQueue
from semblance.orchestrator.references import References
from semblance.orchestrator.releases import Releases
from semblance.orchestrator.retention import Retention
from semblance.orchestrator.schema import Schema
from semblance.orchestrator.settings import Settings, SettingsError
from semblance.orchestrator.shadow import Shadows
from semblance.orchestrator.statistics import Statistics
from semblance.orchestrator.suspects import Suspects, Suspicion
from semblance.orchestrator.threads import Threads
from semblance.orchestrator.verdicts import Verdicts

if TYPE_CHECKING:
    from semblance.orchestrator.adapters.tracing import OtlpTracer

log = logging.getLogger(__name__)

VERSION = version("semblance-orchestrator")

# Slots of shared memory. Requests of both models are under way or being filled even where few photos are in flight;
# where many are, their inputs share slots.
FEWEST_SLOTS = 4
INPUTS_PER_SLOT = 4
# Between two looks at a dependency that is not there yet, in seconds.
STARTUP_POLL = 0.5
# What a put or a mend may take beyond the longest deadline, until the last of its calls has ended, in seconds.
WRITE_MARGIN = 60.0


@asynccontextmanager
async def real_ports(settings: Settings) -> AsyncIterator[Ports]:
    """Connects to nothing yet. Raises SettingsError where a store's address is not one."""
    async with AsyncExitStack() as stack:
        models: dict[str, TritonServer] = {}
        stack.push_async_callback(_close, models.values())
        for url in settings.triton_url.split(","):
            models[f"Triton at {url}"] = TritonServer(url, Mode(settings.transport), ring_slots(settings))
        try:
            token = settings.milvus_token.get_secret_value()
            index = MilvusIndex(settings.milvus_uri, token, alone=settings.workers == 1)
            stack.push_async_callback(index.close)
            database = Database(settings.metadata_url)
            stack.push_async_callback(database.close)
            metadata = SqlMetadataStore(database, settings.max_deadline + WRITE_MARGIN)
            images = FileImageStore(settings.image_store)
            stack.push_async_callback(images.close)
            repository = FileModelRepository(settings.model_repository)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        yield Ports(models, repository, index, metadata, SqlRegistry(database), images, SqlFeedbackStore(database))


async def _close(servers: Iterable[TritonServer]) -> None:
    """All at once: each waits some seconds for a Triton that is silent."""
    await asyncio.gather(*(server.close() for server in servers))


def ring_slots(settings: Settings) -> int:
    """Slots of shared memory that each process has for each Triton."""
    return max(FEWEST_SLOTS, settings.search_in_flight // INPUTS_PER_SLOT)


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


def tracer(settings: Settings, name: str) -> "OtlpTracer | None":
    """Raises SettingsError where traces are wanted and what sends them is not installed."""
    if not settings.otlp_endpoint:
        return None
    try:
        # Who wants no traces needs none of its packages.
        from semblance.orchestrator.adapters.tracing import OtlpTracer
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"SEMBLANCE_OTLP_ENDPOINT is set, and {error.name} is missing: install semblance-orchestrator[tracing]"
        ) from None
    return OtlpTracer(settings.otlp_endpoint, settings.trace_share, VERSION, name)


class Service:
    """Built, it does nothing; `bind`, `activate` and `stop` are its life.

    `worker` is its number among those that share the port.
    """

    def __init__(self, settings: Settings, ports: Ports, worker: int = 0) -> None:
        # The worker threads are as many as the cores: OpenCV's own below them would only get in their way.
        cv2.setNumThreads(1)
        self._settings = settings
        self._ports = ports
        self._name = f"{socket.gethostname()}:{os.getpid()}:{worker}:{token_hex(2)}"
        self._threads = Threads(settings.pixel_threads)
        self._admission = admission(settings)
        self._needs = Needs(ports, self._admission.releases, self._report)
        index, metadata = self._needs.index, self._needs.metadata
        self._schema = Schema(metadata)
        limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
        pipeline = Pipeline(self._needs.models, index, self._threads, limits)
        self._catalog = Catalog(pipeline, metadata, ports.images, index)
        self._statistics = Statistics()
        self._shadows = Shadows(pipeline, self._admission, settings.default_deadline)
        # One of their own: searches wait for none of it.
        self._feedback_threads = Threads(1)
        feedback = ports.feedback, ports.images
        self._verdicts = Verdicts(*feedback, ports.registry, self._feedback_threads, limits)
        references = References(*feedback, self._catalog, self._feedback_threads, limits)
        suspicion = Suspicion(settings.suspect_share, settings.suspect_similarity, settings.suspect_margin)
        self._suspects = Suspects(self._verdicts, self._admission, suspicion)
        # Of what this process builds, as the keeper or for an outside engine.
        self._build_pace = Pace(settings.build_share, self._searching)
        self._keeper = self._made_keeper()
        self._follower = Follower(
            self._name,
            ports,
            self._needs.models,
            self._admission,
            self._shadows,
            self._statistics,
            lambda: self._keeper.keeps,
        )
        deadlines = DeadlinePolicy(settings.default_deadline, settings.max_deadline)
        self._tracer = tracer(settings, self._name)
        requests = Requests(METHODS, self._statistics, self._tracer)
        streams = Streams(requests.of_stream)
        self._health = Health((OVERALL, TRAFFIC, *SERVICES), streams)
        searcher = Searcher(
            pipeline,
            self._admission,
            self._schema,
            self._statistics,
            self._needs.check_search,
            self._shadows,
            self._suspects,
        )
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
            FeedbackService(self._verdicts, references, self._admission, deadlines, streams),
            ReleaseService(
                Releases(ports, self._catalog, settings.build_share),
                Builds(
                    ports,
                    self._catalog,
                    self._build_pace,
                    in_flight=settings.ingest_in_flight,
                    queue=settings.ingest_queue,
                ),
                deadlines,
                streams,
                window=settings.ingest_in_flight,
            ),
            self._health,
            streams,
            requests,
        )
        self._backlog = Backlog(ports, lambda: self._keeper.keeps)
        self._metrics = None
        if settings.metrics_listen:
            self._metrics = Listener(settings.metrics_listen, worker, partial(families, self._sources()))
        self._background: list[asyncio.Task[None]] = []

    async def bind(self) -> int:
        """Listens, and answers that it is not serving yet; returns the port. Raises AddressInUse."""
        return await self._server.start()

    async def activate(self) -> None:
        """Waits for what the service depends on, checks it, and serves.

        Raises ContractMismatch where it is not what it should be, DependencyUnavailable where it does not come.
        """
        if self._metrics is not None:
            self._metrics.start()
        # It may be this one that has to load the models.
        self._background = [asyncio.create_task(self._keeper.run())]
        await self._first_look()
        await self._schema.refresh()
        work = [self._schema.refresh_forever(), self._follower.run(), *self._needs.watches()]
        work.append(self._suspects.store_forever())
        if self._door.callers is not None:
            work.append(self._door.callers.watch_forever())
        if self._metrics is not None:
            work.append(self._backlog.watch_forever())
        self._background += [asyncio.create_task(each) for each in work]
        self._report()

    async def stop(self) -> None:
        """Says that it goes, and finishes what is in flight, within the grace."""
        await self._server.stop(self._settings.drain_delay, self._settings.drain_grace)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._shadows.close()
        # Otherwise it is found out within seconds.
        with suppress(SemblanceError):
            await self._ports.registry.leave(self._name)
        self._threads.close()
        self._feedback_threads.close()
        if self._metrics is not None:
            self._metrics.stop()
        if self._tracer is not None:
            await self._tracer.close()

    def _searching(self) -> bool:
        """Whether searches are served, by any orchestrator."""
        return self._keeper.searching or time.time() - self._statistics.last < SEARCHING_SECONDS

    def _made_keeper(self) -> Keeper:
        settings = self._settings
        return Keeper(
            self._name,
            self._ports,
            self._catalog,
            Retention(
                self._ports.feedback,
                self._ports.images,
                settings.feedback_days,
                settings.max_deadline + WRITE_MARGIN,
            ),
            repairs=Pace(1.0, lambda: False),
            builds=self._build_pace,
            drain=settings.max_deadline + 4 * FOLLOW_SECONDS,
        )

    def _sources(self) -> Sources:
        return Sources(
            version=VERSION,
            statistics=self._statistics,
            admission=self._admission,
            dependencies=self._needs.dependencies,
            models=self._needs.models,
            servers=self._ports.models,
            threads=self._threads,
            shadows=self._shadows,
            verdicts=self._verdicts,
            suspects=self._suspects,
            backlog=self._backlog,
            health=self._health.serving,
            releases=lambda: self._follower.releases,
            keeps=lambda: self._keeper.keeps,
        )

    def _report(self) -> None:
        """Health follows what the services need."""
        needs = self._needs
        serving = self._admission.traffic is not None
        searches = serving and needs.models.available and needs.vectors.available
        self._health.say((TRAFFIC,), serving)
        self._health.say((OVERALL, SEARCH_SERVICE, INFERENCE_SERVICE), searches)
        self._health.say((CATALOG_SERVICE,), searches and needs.truth.available)
        self._health.say((FEEDBACK_SERVICE, RELEASE_SERVICE), serving and needs.truth.available)

    async def _first_look(self) -> None:
        patience = Deadline.after(self._settings.startup_wait)
        reported = ""
        while True:
            try:
                await self._check_active()
                return await self._follower.look()
            except (DependencyUnavailable, DeadlineExceeded) as error:
                if patience.at - time.monotonic() < STARTUP_POLL:
                    raise
                if str(error) != reported:
                    log.info("waiting: %s", error)
                reported = str(error)
            await asyncio.sleep(STARTUP_POLL)

    async def _check_active(self) -> None:
        """Of what is active, or r1 of the newest published models where nothing is yet."""
        ports = self._ports
        release = await ports.registry.active_release()
        if release is None:
            release = await ports.registry.add_first_release(await first_release(ports.repository))
            log.info("release %s is active", release.release_id)
        await self._follower.check(release)
