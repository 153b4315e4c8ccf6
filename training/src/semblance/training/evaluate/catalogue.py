"""The vectors of a release's Milvus collection, and its search, beside the service."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from semblance.client import Release
from semblance.training.evaluate.errors import EvaluationError

TIMEOUT = 60.0
"""Seconds that Milvus may take for one answer."""

CONNECT_TIMEOUT = 5.0
"""For a new connection, in seconds."""

# What it logs, with a traceback, it also raises.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

ROWS_AT_ONCE = 1000
"""1,000 of 2048 numbers are 8 MB, and Milvus answers up to 64 MB."""


@dataclass(frozen=True)
class Catalogue:
    """All rows. `keys` and `items`: str [N]; `vectors`: float32 [N, dimension]; `metric`: Milvus' name of it."""

    milvus: str
    collection: str
    metric: str
    keys: NDArray[np.str_]
    items: NDArray[np.str_]
    vectors: NDArray[np.float32]


class Index:
    """A release's collection. Close it, or use it in a `with` statement."""

    def __init__(self, uri: str, token: str, release: Release) -> None:
        """Raises EvaluationError where Milvus does not answer there."""
        self._release = release
        try:
            self._client = MilvusClient(uri, token=token, timeout=CONNECT_TIMEOUT, dedicated=True)
        except (MilvusException, ValueError) as error:
            raise EvaluationError(f"Milvus does not answer at {uri}: {_told(error)}") from error

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def read(self) -> Catalogue:
        """Every row, to be compared with exactly: 8 KB of memory for one of 2048 numbers.

        Raises:
            EvaluationError: The release's collection is not there.
        """
        name = self._release.collection
        try:
            version = self._client.get_server_version(timeout=TIMEOUT)
            [field] = self._client.list_indexes(name, timeout=TIMEOUT)
            metric = str(self._client.describe_index(name, field, timeout=TIMEOUT)["metric_type"])
            rows = self._rows()
        except (MilvusException, ValueError) as error:
            raise EvaluationError(
                f"collection {name} of release {self._release.release_id} can't be read from this Milvus: "
                f"{_told(error)}"
            ) from error
        return Catalogue(
            f"Milvus {version}",
            name,
            metric,
            np.array([row["key"] for row in rows], np.str_),
            np.array([row["item_id"] for row in rows], np.str_),
            np.array([row["vector"] for row in rows], np.float32).reshape(len(rows), -1),
        )

    def _rows(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        batches = self._client.query_iterator(
            self._release.collection,
            batch_size=ROWS_AT_ONCE,
            output_fields=["key", "item_id", "vector"],
            consistency_level="Strong",
            timeout=TIMEOUT,
        )
        while batch := batches.next():
            rows += batch
        batches.close()
        return rows

    def search(self, vector: NDArray[np.float32], limit: int, ef: int, metric: str) -> list[str]:
        """The keys that HNSW finds with that ef, most similar first."""
        [hits] = self._client.search(
            self._release.collection,
            data=[vector.tolist()],
            limit=limit,
            anns_field="vector",
            search_params={"metric_type": metric, "params": {"ef": ef}},
            timeout=TIMEOUT,
        )
        return [str(hit["key"]) for hit in hits]


def _told(error: Exception) -> str:
    """On one line."""
    return " ".join(str(getattr(error, "message", None) or error).split())
