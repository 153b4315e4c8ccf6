"""A client process of `swap`, which searches in a closed loop until its standard input ends.

`python -m semblance.benchmarks.swap_client` first reads one JSON object, `{"targets": [address], "photos": [path],
"in_flight": n, "answers": path}`. For every call it prints `[end, seconds, release, error]`, with the end in Unix time;
release and error are empty where there is none. The first answer of each release to each photo goes to the file of
answers, and later ones are compared with it: where one differs, its call has the error `differs`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TextIO

from semblance.client import AsyncClient, SearchResult, SemblanceError

# Of the same photo and release: batches of other sizes round otherwise, which moves a similarity and a box's side a
# little; another embedder's or collection's answers are far from that.
SIMILARITY_TOLERANCE = 0.01
PIXELS_TOLERANCE = 4.0
DIFFERS = "differs"
# Of a search, in seconds: what is slow is told by the percentiles, and fails nothing.
TIMEOUT = 60.0


def described(photo: int, result: SearchResult) -> dict[str, Any]:
    return {
        "photo": photo,
        "release": result.release,
        "objects": [
            {
                "box": [each.box.x1, each.box.y1, each.box.x2, each.box.y2],
                "embedding": each.embedding,
                "hits": [[hit.item_id, hit.similarity] for hit in each.hits],
            }
            for each in result.objects
        ],
    }


def same(some: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two answers of a release to a photo say the same."""
    if len(some["objects"]) != len(other["objects"]):
        return False
    for one, two in zip(_sorted(some), _sorted(other), strict=True):
        if max(abs(a - b) for a, b in zip(one["box"], two["box"], strict=True)) > PIXELS_TOLERANCE:
            return False
        if [hit[0] for hit in one["hits"][:1]] != [hit[0] for hit in two["hits"][:1]]:
            return False
        pairs = zip(one["hits"], two["hits"], strict=True)
        if any(abs(a[1] - b[1]) > SIMILARITY_TOLERANCE for a, b in pairs):
            return False
    return True


def _sorted(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Scores that are close change places."""
    return sorted(answer["objects"], key=lambda each: [round(side / PIXELS_TOLERANCE / 4) for side in each["box"]])


async def run(order: dict[str, Any], stop: asyncio.Event, answers: TextIO) -> None:
    photos = [Path(path).read_bytes() for path in order["photos"]]
    turns = itertools.cycle(range(len(photos)))
    first: dict[tuple[int, str], dict[str, Any]] = {}

    async def call(client: AsyncClient) -> None:
        photo = next(turns)
        begin, release, error = time.time(), "", ""
        try:
            result = await client.search(photos[photo], include_embeddings=True)
            release = result.release
            answer = described(photo, result)
            if (known := first.get((photo, release))) is None:
                first[photo, release] = answer
                print(json.dumps(answer), file=answers, flush=True)
            elif not same(known, answer):
                error = DIFFERS
        except SemblanceError as failure:
            error = f"{type(failure).__name__}: {failure}"
        end = time.time()
        print(json.dumps([end, end - begin, release, error]), flush=True)

    async def caller(client: AsyncClient) -> None:
        while not stop.is_set():
            await call(client)

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(AsyncClient(target, timeout=TIMEOUT)) for target in order["targets"]]
        await asyncio.gather(*(caller(clients[number % len(clients)]) for number in range(order["in_flight"])))


async def main() -> None:
    order = json.loads(sys.stdin.readline())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)
    with Path(order["answers"]).open("w") as answers:
        await run(order, stop, answers)


if __name__ == "__main__":
    asyncio.run(main())
