"""The commands `semblance up`, `down` and `status`."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from semblance.serving import launcher, milvus, orchestrator, stack, state, triton
from semblance.serving.plan import LITE, STANDALONE, Plan
from semblance.serving.ports import split
from semblance.serving.process import StartError

data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".semblance"),
    show_default=True,
    help="Folder for Milvus' files, the metadata, the images and the logs.",
)


def address(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        split(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


def milvus_choice(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        uri = urlsplit(value)
        # Reading the port judges it.
        known = value in (LITE, STANDALONE) or (uri.scheme in ("http", "https") and uri.hostname and uri.port != 0)
        if uri.password:
            raise click.BadParameter("it holds a password; set SEMBLANCE_MILVUS_TOKEN=user:password instead")
    except ValueError:
        known = False
    if not known:
        raise click.BadParameter(f"{value!r} is neither lite nor standalone nor http://host:port")
    return value


def port_option(name: str, default: int, what: str) -> Callable[[Any], Any]:
    return click.option(name, type=click.IntRange(1, 65535), default=default, show_default=True, help=what)


@click.command()
@click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Triton's model repository, with `detector` and `embedder`.",
)
@data_option
@click.option(
    "--milvus",
    "vectors",
    default=LITE,
    show_default=True,
    metavar="lite|standalone|URI",
    callback=milvus_choice,
    help="Milvus Lite, the real standalone server (which listens on all interfaces), or one that runs: http://host:port.",
)
@click.option(
    "--listen",
    default=orchestrator.DEFAULT_LISTEN,
    show_default=True,
    callback=address,
    help="Where the orchestrator listens, host:port or [IPv6]:port.",
)
@click.option(
    "--insecure-listen",
    is_flag=True,
    help="Let it listen beyond this host without TLS or without callers: whoever reaches the port may do anything.",
)
@port_option("--milvus-port", milvus.DEFAULT_PORT, "Milvus' port.")
@port_option("--triton-http-port", triton.Ports.http, "Triton's HTTP port.")
@port_option("--triton-grpc-port", triton.Ports.grpc, "Triton's gRPC port.")
@port_option("--triton-metrics-port", triton.Ports.metrics, "Triton's metrics port.")
@click.option(
    "--triton-traces",
    default="",
    metavar="URL",
    help="Where Triton sends traces, by OTLP over HTTP: http://host:4318/v1/traces. The orchestrator's go to "
    "SEMBLANCE_OTLP_ENDPOINT.",
)
def up(
    repository: Path,
    data: Path,
    vectors: str,
    listen: str,
    insecure_listen: bool,
    milvus_port: int,
    triton_http_port: int,
    triton_grpc_port: int,
    triton_metrics_port: int,
    triton_traces: str,
) -> None:
    """Start Triton, Milvus and the orchestrator on this host, and return when they are ready.

    They keep running in the background until `semblance down`. SEMBLANCE_* variables set what has no option here, such
    as TLS and callers: see `semblance serve --help`.
    """
    plan = Plan(
        repository=str(repository.absolute()),
        data=str(data.absolute()),
        milvus=vectors,
        listen=listen,
        milvus_port=milvus_port,
        triton=triton.Ports(triton_http_port, triton_grpc_port, triton_metrics_port),
        insecure_listen=insecure_listen,
        triton_traces=triton_traces,
    )
    console = Console()
    try:
        if is_up(plan, console):
            return
        plan.check_models()
        plan.check_ports()
        plan.check_settings()
        start(plan, console)
    except StartError as error:
        raise click.ClickException(str(error)) from None
    run = state.read(data)
    assert run is not None
    console.print(endpoints(run))
    console.print(f"logs: {Path(plan.data) / 'logs'}   stop it: semblance down")


def is_up(plan: Plan, console: Console) -> bool:
    """Whether the stack runs already; what a killed launcher left of it is cleaned up.

    Raises:
        StartError: one runs on the same data folder that is not the planned one, or not ready.
    """
    data = Path(plan.data)
    run = state.read(data)
    if run is None:
        return False
    if not run.launcher.process():
        console.print("cleaning up after a launcher that was killed")
        stack.stop(data)
        return False
    if run.plan != plan:
        raise StartError(f"a stack with other settings is up on {data}; run `semblance down` first")
    if not all(part.ready for part in stack.conditions(run)):
        raise StartError("already up, but not all of it is ready: see `semblance status`; `semblance down` stops it")
    console.print("already up")
    console.print(endpoints(run))
    return True


def start(plan: Plan, console: Console) -> None:
    """Starts the launcher and shows its progress until all is ready.

    Raises:
        StartError: something did not start; all is stopped again.
    """
    log = launcher.log(plan)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", launcher.__name__, json.dumps(asdict(plan))]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    try:
        follow(process.stdout, console, log)
    except (KeyboardInterrupt, StartError) as error:
        with console.status("stopping"):
            process.terminate()
            process.wait()
        if isinstance(error, KeyboardInterrupt):
            raise StartError("interrupted; everything is stopped") from None
        raise


def follow(events: IO[str], console: Console, log: Path) -> None:
    columns = SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        tasks = {}
        for line in events:
            match json.loads(line):
                case {"event": "started", "step": step}:
                    tasks[step] = progress.add_task(step, total=1)
                case {"event": "done", "step": step}:
                    progress.update(tasks[step], completed=1)
                case {"event": "failed", "message": message}:
                    raise StartError(message)
                case {"event": "up"}:
                    return
    raise StartError(f"the launcher ended without a word; it may have been killed\nlog: {log}")


@click.command()
@data_option
def down(data: Path) -> None:
    """Stop the orchestrator, Triton and Milvus, in this order."""
    console = Console()
    with console.status("stopping"):
        stopped = stack.stop(data.absolute())
    console.print("stopped" if stopped else "not running")


@click.command()
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(data: Path, as_json: bool) -> None:
    """Show the parts, and exit with 0 only if all are ready."""
    run = state.read(data.absolute())
    parts = stack.conditions(run) if run else []
    if as_json:
        click.echo(json.dumps([asdict(part) for part in parts], indent=2))
    elif run:
        Console().print(table(parts))
    else:
        click.echo("not running")
    if not parts or not all(part.ready for part in parts):
        raise SystemExit(1)


def table(parts: list[stack.Condition]) -> Table:
    shown = Table("part", "pid", "endpoint", "state")
    for part in parts:
        shown.add_row(
            part.name, str(part.pid or "–"), escape(part.endpoint or "–"), "ready" if part.ready else "[red]not ready"
        )
    return shown


def endpoints(run: state.Run) -> Table:
    ports = run.plan.triton
    shown = Table("part", "endpoint")
    shown.add_row("orchestrator (gRPC)", escape(run.plan.listen))
    shown.add_row("Triton HTTP, gRPC, metrics", f"127.0.0.1:{ports.http}, {ports.grpc}, {ports.metrics}")
    milvus_part = run.part(launcher.MILVUS)
    shown.add_row(f"Milvus ({run.plan.milvus})", milvus_part.endpoint if milvus_part else run.plan.milvus)
    return shown
