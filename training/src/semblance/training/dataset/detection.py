"""What the service detects in photos that nobody has annotated yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from semblance.client import Client, RetryableError, SearchRequest, SearchResult, SemblanceError
from semblance.training.dataset.preannotation import Unlabelled

IN_FLIGHT = 4
"""Photos at once: enough to keep a service busy that others use, too."""


def detect(
    client: Client,
    photos: Sequence[Unlabelled],
    min_score: float | None,
    min_similarity: float | None,
    progress: Callable[[], None],
) -> tuple[dict[str, SearchResult], dict[Path, str]]:
    """Searches with every photo. What the service refuses for the moment is tried again, as long as others get through.

    Returns:
        Results by the photos' SHA-256, and why others have none.

    Raises:
        SemblanceError: The service can't be reached, or serves nobody.
    """
    results: dict[str, SearchResult] = {}
    problems: dict[Path, str] = {}
    waiting = list(photos)
    while waiting:
        sent = {
            SearchRequest(photo.path, top_k=1, min_detection_score=min_score, min_similarity=min_similarity): photo
            for photo in waiting
        }
        refused: dict[Unlabelled, RetryableError] = {}
        before = len(results)
        for request, outcome in client.search_many(sent, in_flight=IN_FLIGHT):
            photo = sent[request]
            if isinstance(outcome, RetryableError):
                refused[photo] = outcome
                continue
            if isinstance(outcome, SemblanceError):
                problems[photo.path] = str(outcome)
            else:
                results[photo.sha256] = outcome
            progress()
        if refused and len(results) == before:
            raise next(iter(refused.values()))
        waiting = list(refused)
        time.sleep(max((error.retry_delay or 1.0 for error in refused.values()), default=0.0))
    return results, problems
