"""Kills parts of a service while it is written to, and checks what became of every write.

The seed decides what is written, which part is killed and when; how the two meet is up to the machine.
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from semblance.client import AsyncClient, NotFoundError, SemblanceError
from semblance.orchestrator.adapters.images import FileImageStore
from semblance.orchestrator.adapters.metadata import Database, SqlMetadataStore, SqlRegistry
from semblance.orchestrator.adapters.milvus import MilvusIndex
from semblance.orchestrator.errors import SemblanceError as ServiceError
from semblance.orchestrator.ports import Registry
from semblance.orchestrator.verification import Verification
from tests.faults.ledger import Record, State, Version
from tests.faults.load import CALL_TIMEOUT, Load, misses
from tests.faults.parts import MilvusKind, Part, Service, service
from tests.servers import PostgreSql, postgresql_made, postgresql_programs

T = TypeVar("T")

# A kill comes so long after the callers begin, in seconds.
EARLIEST, LATEST = 0.05, 1.0
# After a part is back, in seconds: what is promised, and when the test gives up.
RECOVERY, PATIENCE = 10.0, 60.0
POLL = 0.1
EVERY_PART = ("orchestrator", "milvus", "triton", "database")
OUTPUT = Path(__file__).parents[1] / "out" / "faults.json"


@dataclass(slots=True)
class Result:
    """`recoveries` are seconds from when a part is back until every write is there and found, and none doubled;
    `returns` those that the part itself took, by its name."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)
    returns: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def recovery_p99(self) -> float:
        """The smallest time that 99 of 100 recoveries do not exceed."""
        ordered = sorted(self.recoveries)
        return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]

    @property
    def good(self) -> bool:
        return not self.lost and not self.wrong and self.recovery_p99 <= RECOVERY


class Loop:
    """An event loop in a thread of its own: the main thread starts and kills processes."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Callable[[float], T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.start(work)(PATIENCE * 3)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class Checker:
    """Compares the service with what the callers were told."""

    def __init__(self, load: Load, verification: Verification, registry: Registry) -> None:
        self._load = load
        self._verification = verification
        self._registry = registry

    async def complaints(self) -> list[str]:
        """What is not right yet."""
        try:
            found = await asyncio.gather(*(self._check(*each) for each in self._load.records.items()))
            return [complaint for complaint in found if complaint] or await self._disagreements()
        except (SemblanceError, ServiceError) as error:
            return [str(error)]

    async def _check(self, item_id: str, record: Record) -> str:
        try:
            item = await self._load.client.get(item_id)
        except NotFoundError:
            state: State = None
        else:
            number = item.attributes["version"]
            same = (version for version in record.possible if version and version.number == number)
            state = next(same, Version(item_id, int(number), b""))
        if state not in record.possible:
            return f"LOST: {item_id} is {state}, and can only be {record.possible}"
        if state and (complaint := await misses(self._load.client, state)):
            return complaint
        return ""

    async def _disagreements(self) -> list[str]:
        release = await self._registry.active_release()
        assert release is not None
        found = [each async for page in self._verification.items(release) for each in page.disagreements]
        found_images = [image async for page in self._verification.images() for image in page.lost]
        return [*map(str, found), *(f"LOST: image {image_id}" for image_id in found_images)]


def run(folder: Path, postgresql: PostgreSql, kind: MilvusKind, seed: int, parts: Sequence[str]) -> Result:
    """Kills these parts, one after another."""
    result, choose, loop = Result(seed), random.Random(seed), Loop()
    with service(folder, postgresql, kind) as running:
        by_name = {part.name: part for part in running.parts}
        try:
            load, checking, stack = loop.run(_connected(running, seed))
            for name in parts:
                _kill(by_name[name], choose.uniform(EARLIEST, LATEST), load, checking, loop, result)
                if result.lost:
                    break
            loop.run(stack.aclose())
        finally:
            loop.close()
    result.counts += load.counts
    result.wrong += load.wrong
    return result


async def _connected(running: Service, seed: int) -> tuple[Load, Checker, AsyncExitStack]:
    stack = AsyncExitStack()
    load = Load(await stack.enter_async_context(AsyncClient(running.address, timeout=CALL_TIMEOUT)), seed)
    return load, checker(running, load, stack), stack


def checker(running: Service, load: Load, stack: AsyncExitStack) -> Checker:
    """On the service's own stores, until the stack is closed. Needs a running event loop."""
    database, images = Database(running.metadata_url), FileImageStore(running.image_store)
    index = MilvusIndex(running.milvus_uri)
    for store in (database, images, index):
        stack.push_async_callback(store.close)
    return Checker(load, Verification(SqlMetadataStore(database), images, index), SqlRegistry(database))


def _kill(part: Part, after: float, load: Load, checking: Checker, loop: Loop, result: Result) -> None:
    with load_running(load, loop):
        time.sleep(after)
        part.kill()
        killed = time.monotonic()
        part.start()
        back = time.monotonic()
        result.returns[part.name].append(round(back - killed, 2))
    complaints = until_right(checking, loop, back + PATIENCE)
    result.kills[part.name] += 1
    result.recoveries.append(time.monotonic() - back)
    print(f"kill {result.kills.total()}, of {part.name}: all right {result.recoveries[-1]:.1f} s after", flush=True)
    for complaint in complaints:
        (result.lost if complaint.startswith("LOST") else result.wrong).append(
            f"after a kill of {part.name}: {complaint}"
        )


def until_right(checking: Checker, loop: Loop, limit: float) -> list[str]:
    """What is still not right at a moment of the monotonic clock; returns as soon as all is."""
    while True:
        complaints = loop.run(checking.complaints())
        if not complaints or time.monotonic() > limit:
            return complaints
        time.sleep(POLL)


@contextmanager
def load_running(load: Load, loop: Loop) -> Iterator[None]:
    running = load.running()
    loop.run(running.__aenter__())
    try:
        yield
    finally:
        loop.run(running.__aexit__(None, None, None))


def chosen(seed: int, kills: int) -> list[str]:
    """Parts in random order, each as often as the others."""
    parts = [EVERY_PART[number % len(EVERY_PART)] for number in range(kills)]
    random.Random(seed).shuffle(parts)
    return parts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=160, help="over all parts, with Milvus Lite [160]")
    parser.add_argument("--standalone-kills", type=int, default=48, help="the same with Milvus standalone [48]")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of an earlier run, to see it again")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    total = Result(given.seed)
    programs = postgresql_programs()
    if programs is None:
        sys.exit("neither Debian's postgresql package nor the pgserver wheel is installed")
    amounts: tuple[tuple[MilvusKind, int], ...] = (("lite", given.kills), ("standalone", given.standalone_kills))
    for kind, kills in ((kind, kills) for kind, kills in amounts if kills):
        folder = Path(tempfile.mkdtemp(prefix="semblance-faults-"))
        with postgresql_made(*programs) as database:
            result = run(folder, database, kind, given.seed, chosen(given.seed, kills))
        if result.lost or result.wrong:
            print(f"logs and data of the service: {folder}", flush=True)
        else:
            shutil.rmtree(folder)
        total.kills += Counter({f"{name} ({kind})": number for name, number in result.kills.items()})
        total.recoveries += result.recoveries
        total.returns |= {f"{name} ({kind})": seconds for name, seconds in result.returns.items()}
        total.counts += result.counts
        total.lost += result.lost
        total.wrong += result.wrong
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(summary(total), indent=1) + "\n")
    print(json.dumps(summary(total), indent=1))
    return 0 if total.good else 1


def summary(result: Result) -> dict[str, object]:
    return {
        "name": "faults",
        "value": {
            "kills": result.kills.total(),
            "acknowledged": result.counts["acknowledged"],
            "searches": result.counts["searches"],
            "lost": len(result.lost),
            "wrong": len(result.wrong),
            "recovery_p99": round(result.recovery_p99, 2),
        },
        "target": {"kills": 200, "lost": 0, "wrong": 0, "recovery_p99": RECOVERY},
        "seed": result.seed,
        "kills_of": dict(result.kills),
        "calls": dict(result.counts),
        "found": [*result.lost, *result.wrong],
        "returns": result.returns,
        "samples": [round(seconds, 2) for seconds in result.recoveries],
        "command": f"python -m tests.faults.kills --seed {result.seed}",
    }


if __name__ == "__main__":
    sys.exit(main())
