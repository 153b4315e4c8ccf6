"""`make observe`: whether every query of the dashboard and of the alerts has data of a running stack.

Starts Triton, Milvus and the orchestrator with Prometheus scraping them, drives load, asks every query, and draws what
the dashboard would show. Ends with status 1 where a query has no data, nobody tells a metric, or the loss of Triton
raises no alert.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from semblance.benchmarks.host import ROOT
from semblance.benchmarks.world import World
from semblance.observability import drawing, load, stack
from semblance.observability.alerts import ALERTS
from semblance.observability.board import ROWS
from semblance.observability.prometheus import MissingProgram, Prometheus
from semblance.observability.question import Answer, answer, questions, unknown_metrics
from semblance.serving.process import StartError

OUT = ROOT / "observability" / "out"
ITEMS, SCENES = 24, 24
STEP_SECONDS = 1.0
# Of the dashboard's rates: some scrapes.
RATE = "10s"
# What the loss of Triton must raise.
RAISED = ("SemblanceDependencyUnavailable", "SemblanceNotServing", "PartDown")


def main() -> None:
    console = Console()
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        problems = observed(console)
    except (MissingProgram, StartError, load.NotAsExpected) as error:
        sys.exit(f"observe: {error}")
    for problem in problems:
        console.print(problem, style="red", markup=False)
    if problems:
        sys.exit(f"observe: {len(problems)} problems; {OUT} has what was seen")


def observed(console: Console) -> list[str]:
    """What is wrong, a line each."""
    with console.status("drawing catalogue and scenes"):
        world = World.drawn(OUT, ITEMS, SCENES)
    with tempfile.TemporaryDirectory(prefix="semblance-observe-") as folder:
        with console.status("starting Triton, Milvus, the orchestrator and Prometheus"):
            running = stack.started(world, Path(folder))
        with running as service:
            begin = time.time()
            asyncio.run(load.drive(service, world, console.print))
            return judged(service.prometheus, begin, console)


def judged(server: Prometheus, begin: float, console: Console) -> list[str]:
    asked = list(questions(ROWS, ALERTS))
    end = time.time()
    answers = [answer(question, server, begin, end, STEP_SECONDS, RATE) for question in asked]
    raised = server.alerts()
    write(answers, raised)
    drawing.draw([each for each in answers if each.question.legend], begin, OUT / "dashboard.png")
    seen = sum(bool(each.series) for each in answers)
    unseen = {each.question.unseen for each in answers if each.question.unseen and not each.series}
    console.print(f"{seen} of {len(asked)} queries have data; of the others: {', '.join(map(str, unseen)) or 'none'}")
    console.print(f"raised: {', '.join(f'{name} ({state})' for name, state in raised.items())}")
    console.print(f"{OUT / 'dashboard.png'} shows the panels, {OUT / 'queries.json'} has each query's answer")
    return [
        *(f"nobody tells {name}: {', '.join(of)}" for name, of in unknown_metrics(asked, server.names()).items()),
        *(f"{each.question.of}: {each.problem}: {each.question.expression}" for each in answers if each.problem),
        *(f"alert {name}: not raised by the loss of Triton" for name in RAISED if name not in raised),
    ]


def write(answers: Sequence[Answer], raised: Mapping[str, str]) -> None:
    """Each query with how many series and points it has, or why none."""
    told = [
        {
            "of": each.question.of,
            "expression": each.question.expression,
            "series": len(each.series),
            "points": sum(len(series.points) for series in each.series),
            "unseen": each.question.unseen,
            "problem": each.problem,
        }
        for each in answers
    ]
    (OUT / "queries.json").write_text(json.dumps({"queries": told, "raised": raised}, indent=2) + "\n")


if __name__ == "__main__":
    main()
