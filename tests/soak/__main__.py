"""`make test-soak`: callers of every kind for an hour, while the service must hold no more than before.

    python -m tests.soak [--minutes 60] [--seed 1]

Writes tests/out/soak.json, and ends with 1 where something grew above its bound or failed as it must not.
"""

import argparse
import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semblance.benchmarks import null_models
from semblance.serving import milvus, orchestrator, triton
from tests.fuzz import port
from tests.soak.load import Load
from tests.soak.watch import BOUNDS, Ended, Watch

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "out"
# The services' stores and logs, kept where the run did not end well.
FOLDER = OUT / "soak"
# Of the time: caches fill, every thread and every slot of shared memory is used once.
WARM_UP = 1 / 3
SAMPLES = 300


@contextmanager
def started(folder: Path) -> Iterator[tuple[str, Watch]]:
    """The whole service with null models, whose rate shows a leak sooner, and a watch on it."""
    repository = folder / "models"
    null_models.publish(repository)
    tasks = folder / "tasks"
    with (
        triton.running(repository, folder / "triton") as inference,
        milvus.lite(folder / "milvus") as index,
        orchestrator.running(
            folder / "orchestrator",
            repository=repository,
            triton=inference.grpc,
            milvus=index.uri,
            settings={"PYTHONPATH": str(HERE / "inside"), "SOAK_TASKS": str(tasks)},
        ) as service,
    ):
        yield service.address, Watch(service.process, inference.process, tasks)


async def soak(load: Load, watch: Watch, seconds: float) -> None:
    running = [asyncio.create_task(load.run()), asyncio.create_task(watch.look(seconds / SAMPLES))]
    done, pending = await asyncio.wait(running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        try:
            task.result()
        except Ended as error:
            # The callers' failures follow from it.
            load.failures.insert(0, str(error))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    seconds = arguments.minutes * 60
    shutil.rmtree(FOLDER, ignore_errors=True)
    with started(FOLDER) as (address, watch):
        load = Load(address, arguments.seed, port.methods(address))
        asyncio.run(soak(load, watch, seconds))
    growth = {name: round(value, 2) for name, value in watch.growth(WARM_UP).items()}
    above = [name for name, value in growth.items() if value > BOUNDS[name]]
    figure = {
        "name": "soak",
        "value": growth,
        "target": BOUNDS,
        "minutes": arguments.minutes,
        "seed": arguments.seed,
        "calls": dict(load.calls),
        "failures": load.failures,
        "command": " ".join(["python -m tests.soak", *sys.argv[1:]]),
        "samples": {"seconds": watch.seconds, **watch.samples},
    }
    OUT.mkdir(exist_ok=True)
    (OUT / "soak.json").write_text(json.dumps(figure) + "\n")
    for name, value in growth.items():
        mark = "  <- ABOVE" if name in above else ""
        print(f"{name:16} grew by {value:8.2f} to {watch.samples[name][-1]:8.1f}; at most {BOUNDS[name]:g}{mark}")
    print(f"{sum(load.calls.values())} calls: {dict(load.calls)}")
    for failure in load.failures[:20]:
        print(f"failed: {failure}")
    if above or load.failures:
        return 1
    shutil.rmtree(FOLDER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
