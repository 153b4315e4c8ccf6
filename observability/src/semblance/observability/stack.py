"""The service on free ports of this host, with null models and the real Milvus, and Prometheus scraping all of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semblance.benchmarks import null_models, stack
from semblance.benchmarks.host import ROOT
from semblance.benchmarks.stack import NULL
from semblance.benchmarks.world import World
from semblance.export import repository as model_repository
from semblance.export.contract import EMBEDDER
from semblance.observability import generated, prometheus, scraping
from semblance.observability.prometheus import Prometheus
from semblance.serving import milvus, orchestrator, ports, triton

DEPLOY = ROOT / "deploy"
# Rates then need no more than a few seconds of load.
SCRAPE_SECONDS = 1
# So little that some callers at once are more than it takes. Null models find everything alike, and so suspicious.
SETTINGS = {
    "SEMBLANCE_SEARCH_IN_FLIGHT": "4",
    "SEMBLANCE_SEARCH_QUEUE": "4",
    "SEMBLANCE_SUSPECT_SHARE": "0.1",
}


@dataclass(frozen=True, slots=True)
class Stack:
    """`inference` holds the running Triton: closing it stops that alone."""

    target: str
    inference: ExitStack
    prometheus: Prometheus


@contextmanager
def started(world: World, folder: Path) -> Iterator[Stack]:
    """With the world's catalogue indexed, and a second version of the embedder published."""
    repository = folder / "model_repository"
    stack.publish(NULL, repository)
    with ExitStack() as inference, milvus.standalone(folder / "milvus") as vectors:
        server = inference.enter_context(triton.running(repository, folder / "triton", models=()))
        listen = f"{ports.LOOPBACK}:{ports.free(1)[0]}"
        with orchestrator.running(
            folder / "orchestrator",
            repository=repository,
            triton=server.grpc,
            milvus=vectors.uri,
            settings=SETTINGS | {"SEMBLANCE_METRICS_LISTEN": listen},
        ) as service:
            metrics = {"semblance": listen, "triton": server.metrics, "milvus": vectors.metrics}
            configuration = scraping.retargeted(
                DEPLOY / generated.CONFIGURATION, metrics, DEPLOY / generated.ALERTS, f"{SCRAPE_SECONDS}s"
            )
            with prometheus.started(configuration, folder / "prometheus") as scraper:
                stack.fill(service.address, world)
                publish_another_embedder(repository)
                yield Stack(service.address, inference, scraper)


def publish_another_embedder(repository: Path) -> None:
    """As version 2: one that answers another vector."""
    vector = np.zeros(EMBEDDER.output.dims[0], np.float32)
    vector[0] = 1.0
    with tempfile.TemporaryDirectory(prefix="semblance-null-") as package:
        null_models.write(Path(package), EMBEDDER, vector)
        model_repository.publish(Path(package), repository, 2)
