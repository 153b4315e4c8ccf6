"""The one place where everything is put together: from settings and ports to a service that answers."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import cv2

from semblance.orchestrator.activation import activate
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
from semblance.orchestrator.errors import DeadlineExceeded, DependencyUnavailable
from semblance.orchestrator.grpc_edge.boundary import DeadlinePolicy
from semblance.orchestrator.grpc_edge.catalog_service import CatalogService
from semblance.orchestrator.grpc_edge.kserve.service import InferenceService
from semblance.orchestrator.grpc_edge.search_service import SearchService
from semblance.orchestrator.grpc_edge.searcher import Searcher
from semblance.orchestrator.grpc_edge.server import Server
from semblance.orchestrator.grpc_edge.stream import Streams
from semblance.orchestrator.pipeline import Pipeline
from semblance.orchestrator.ports import ImageStore, InferenceServer, MetadataStore, ModelRepository, VectorIndex
from semblance.orchestrator.release import Release
from semblance.orchestrator.schema import Schema
from semblance.orchestrator.settings import Settings, SettingsError
from semblance.orchestrator.statistics import Statistics
from semblance.orchestrator.workers import Workers

log = logging.getLogger(__name__)

# Between two looks at a dependency that is not there yet, in seconds.
STARTUP_POLL = 0.5
# Between two rounds of mending, in seconds.
MEND_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Ports:
    models: InferenceServer
    repository: ModelRepository
    index: VectorIndex
    metadata: MetadataStore
    images: ImageStore


@asynccontextmanager
async def real_ports(settings: Settings) -> AsyncIterator[Ports]:
    """Connects to nothing yet. Raises SettingsError where a store's address is not one."""
    async with AsyncExitStack() as stack:
        in_flight = settings.search_in_flight + settings.ingest_in_flight
        models = TritonServer(settings.triton_url, Mode(settings.transport), slots=in_flight)
        stack.push_async_callback(models.close)
        index = MilvusIndex(settings.milvus_uri, settings.milvus_token.get_secret_value(), alone=settings.workers == 1)
        stack.push_async_callback(index.close)
        try:
            metadata = SqlMetadataStore(settings.metadata_url)
            stack.push_async_callback(metadata.close)
            images = FileImageStore(settings.image_store)
            stack.push_async_callback(images.close)
            repository = FileModelRepository(settings.model_repository)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        yield Ports(models, repository, index, metadata, images)


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
        self._workers = Workers(settings.worker_threads)
        self._schema = Schema(ports.metadata)
        limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
        pipeline = Pipeline(ports.models, ports.index, self._workers, limits)
        self._catalog = Catalog(pipeline, ports.metadata, ports.images, ports.index)
        self._searches = Admission(settings.search_in_flight, settings.search_queue)
        self._ingest = Admission(settings.ingest_in_flight, settings.ingest_queue)
        deadlines = DeadlinePolicy(settings.default_deadline, settings.max_deadline)
        streams = Streams()
        searcher = Searcher(pipeline, self._searches, self._schema, Statistics())
        self._server = Server(
            settings.listen,
            SearchService(searcher, deadlines, streams, window=settings.search_in_flight),
            InferenceService(searcher, deadlines, streams, window=settings.search_in_flight),
            CatalogService(
                self._catalog, self._ingest, self._schema, deadlines, streams, window=settings.ingest_in_flight
            ),
            streams,
            shared=settings.workers > 1,
        )
        self._background: list[asyncio.Task[None]] = []

    async def bind(self) -> int:
        """Listens, and answers that it is not serving yet; returns the port. Raises AddressInUse."""
        return await self._server.start()

    async def activate(self) -> None:
        """Waits for what the service depends on, checks it, and serves.

        Raises ContractMismatch where it is not what it should be, DependencyUnavailable where it does not come.
        """
        release = await self._release()
        await self._schema.refresh()
        self._searches.release = self._ingest.release = release
        self._background = [asyncio.create_task(self._schema.refresh_forever())]
        if self._worker == 0:
            self._background.append(asyncio.create_task(mend_forever(self._catalog, release, MEND_SECONDS)))
        await self._server.serving()
        log.info(
            "serving release %s: detector version %d, embedder version %d, collection %s",
            release.release_id,
            release.detector.version,
            release.embedder.version,
            release.collection,
        )

    async def stop(self) -> None:
        """Finishes what is in flight, within the grace."""
        await self._server.stop(self._settings.drain_grace)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._workers.close()

    async def _release(self) -> Release:
        ports = self._ports
        patience = Deadline.after(self._settings.startup_wait)
        reported = ""
        while True:
            try:
                return await activate(ports.metadata, ports.models, ports.repository, ports.index)
            except (DependencyUnavailable, DeadlineExceeded) as error:
                if patience.at - time.monotonic() < STARTUP_POLL:
                    raise
                if str(error) != reported:
                    log.info("waiting: %s", error)
                reported = str(error)
            await asyncio.sleep(STARTUP_POLL)
