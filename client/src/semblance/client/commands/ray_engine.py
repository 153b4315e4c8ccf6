"""Ray Data as what carries a command's tasks to many processes, on this host or on a cluster."""

from __future__ import annotations

import logging
import math
import os
import pickle
import secrets
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import wraps
from importlib.util import find_spec
from itertools import islice
from typing import Any, TypeVar

import click

Task = TypeVar("Task")
Result = TypeVar("Result")

BLOCK = 256
"""Tasks in a block at most: a stream's beginning and end, where fewer are in flight, cost little, and a worker that is
killed has little to do again."""

PAGE = 100_000
"""Tasks that are given to Ray at a time, so that it holds no more of them; between pages workers wait for seconds."""

BLOCKS_EACH = 4
"""Blocks for each worker at least: none is idle for long while another one does the last."""

RETRIES = 3
"""How often Ray gives a block to another worker after one that died with it. Ray Data's own default is without end,
which a file that kills whatever reads it would make use of."""

LOST_BLOCKS = 8
"""Blocks of a page that may be lost so before the job ends: more are no matter of some files."""

_ENDED = -1
"""In place of a task's position: the error that ends the job."""


class WorkerLostError(Exception):
    """No worker survived a task."""


@dataclass(frozen=True, slots=True)
class RayEngine:
    """`workers` do tasks at a time; as many as Ray has CPUs where it is None."""

    workers: int | None

    @contextmanager
    def started(self) -> Iterator[RayJob]:
        """Connects to the cluster that RAY_ADDRESS names, or starts Ray on this host for as long as the block takes.

        Raises click.ClickException where that fails.
        """
        local = not os.environ.get("RAY_ADDRESS")
        _restrain(local)
        import ray
        import ray.data

        where = {"address": "local", "num_cpus": self.workers, "include_dashboard": False} if local else {}
        # What Ray says is in its session's logs too; it prints some of it to stdout, which is the command's.
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            try:
                ray.init(**where, log_to_driver=False, logging_level=logging.CRITICAL)
            except Exception as error:  # Ray has no narrower type for it.
                place = "on this host" if local else f"at {os.environ['RAY_ADDRESS']} (RAY_ADDRESS)"
                raise click.ClickException(f"Ray did not start {place}: {_first_line(error)}") from error
            try:
                yield RayJob(self.workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
            finally:
                ray.shutdown()


@dataclass(frozen=True, slots=True)
class RayJob:
    """A connection to Ray with so many workers."""

    workers: int

    def map(
        self,
        work: Callable[[Sequence[Task]], Sequence[Result]],
        tasks: Iterable[Task],
        name: Callable[[Task], str],
    ) -> Iterator[tuple[Task, Result | WorkerLostError]]:
        """Has workers do the tasks in blocks, and yields each with its result, as blocks end. `tasks` are taken as they
        are needed.

        A block whose worker dies, with its host or alone, is done again by another one, up to `RETRIES` times; `work`
        must bear that. What a block of several is lost for is found by doing its tasks one by one: one that no worker
        survives has a WorkerLostError for its result.

        Args:
            work: gives the result of each task of a block; is pickled, and so are tasks and results.
            name: what a person calls a task.

        Raises:
            Exception: what `work` raised, which ends the job.
            click.ClickException: more than `LOST_BLOCKS` blocks were lost, or Ray itself failed.
        """
        upcoming = iter(tasks)
        while page := list(islice(upcoming, PAGE)):
            yield from self._page(work, page, name)

    def _page(
        self,
        work: Callable[[Sequence[Task]], Sequence[Result]],
        tasks: Sequence[Task],
        name: Callable[[Task], str],
    ) -> Iterator[tuple[Task, Result | WorkerLostError]]:
        import ray

        waiting = dict(enumerate(tasks))
        size = min(BLOCK, math.ceil(len(tasks) / (self.workers * BLOCKS_EACH)))
        errors = _LostBlocks()
        logger = logging.getLogger("ray.data")
        logger.addHandler(errors)
        try:
            for each in dict.fromkeys((size, 1)):
                for position, result in self._results(work, waiting, each):
                    yield waiting.pop(position), result
                if not waiting:
                    return
        except ray.exceptions.RayError as error:
            reason = _first_line(error)
            if errors.count > LOST_BLOCKS:
                first = name(next(iter(waiting.values())))
                reason = f"{errors.count} blocks killed their workers again and again, the first with {first}: {reason}"
            raise click.ClickException(f"Ray gave the job up: {reason}") from error
        finally:
            logger.removeHandler(errors)
        for task in waiting.values():
            yield task, WorkerLostError(f"{1 + RETRIES} workers died with it, one after another: {errors.last}")

    def _results(
        self, work: Callable[[Sequence[Task]], Sequence[Result]], tasks: Mapping[int, Task], size: int
    ) -> Iterator[tuple[int, Result]]:
        """Results by the tasks' positions; nothing of the blocks that were lost."""
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.max_errored_blocks = LOST_BLOCKS
        rows = [{"position": position, "task": pickle.dumps(task)} for position, task in tasks.items()]
        with warnings.catch_warnings():
            # Ray Data has no other place for the retries of a task, but says that it will have one.
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
            results = ray.data.from_items(rows, override_num_blocks=math.ceil(len(rows) / size)).map_batches(
                do_block,
                batch_size=None,
                batch_format="pyarrow",
                fn_kwargs={"work": work},
                # Tasks rather than actors: only what a worker was doing counts as tried when it dies, not what waits.
                compute=ray.data.TaskPoolStrategy(size=self.workers),
                max_retries=RETRIES,
            )
        for batch in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for position, pickled in zip(batch["position"].to_pylist(), batch["result"].to_pylist(), strict=True):
                result = pickle.loads(pickled)
                if position == _ENDED:
                    raise result
                yield position, result


def do_block(block: Any, work: Callable[[Sequence[Any]], Sequence[Any]]) -> Any:
    """In a worker: a table of positions and tasks becomes one of positions and results."""
    import pyarrow

    positions = block["position"].to_pylist()
    try:
        results = work([pickle.loads(task) for task in block["task"].to_pylist()])
    except Exception as error:
        # As a row, and not raised: Ray would do without the block, and tell of the error in its own words.
        positions, results = [_ENDED], [error]
    return pyarrow.table({"position": positions, "result": [pickle.dumps(result) for result in results]})


class _LostBlocks(logging.Handler):
    """Hears from Ray Data's log what blocks were lost for, which it tells nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count, self.last = 0, ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1]:
            self.count, self.last = self.count + 1, _first_line(record.exc_info[1])


def _restrain(local: bool) -> None:
    """Sets what Ray reads from the environment when it is imported, unless the user has, and has it log into files."""
    # By default a task is retried without end where its worker is killed for want of memory.
    os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))
    if local:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Nobody else of this host may run code in it. Ray would keep a token of its own in the user's home.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray.data  # noqa: F401

    logger = logging.getLogger("ray.data")
    for handler in logger.handlers[:]:
        if handler.name == "console":
            logger.removeHandler(handler)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def engine_options(function: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of an engine, and passes what they name as `engine`, None where they name none."""

    @wraps(function)
    def command(engine: str | None, workers: int | None, **others: Any) -> None:
        if workers is not None and engine is None:
            raise click.UsageError("--workers is of --engine ray")
        if engine is not None and find_spec("ray") is None:
            raise click.ClickException(
                "--engine ray needs Ray Data, which is not installed here: pip install 'semblance-client[ray]'"
            )
        function(engine=RayEngine(workers) if engine else None, **others)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(["ray"]),
        help="Have many processes do it, as a Ray Data job: on the cluster that RAY_ADDRESS names, or on this host.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Processes of --engine ray at a time.  [default: as many as Ray has CPUs]",
    ),
)
