"""`semblance bench`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from semblance.benchmarks.host import ROOT

HOME = ROOT / "benchmarks"
# Of tables in a file or a log.
PRINTED_WIDTH = 120


@click.group()
def bench() -> None:
    """Measure the service against the floor of this host."""


@bench.command()
@click.argument("names", nargs=-1)
@click.option(
    "--suite",
    type=click.Path(dir_okay=False, path_type=Path),
    default=HOME / "scenarios.toml",
    help="The file that declares what is measured.  [default: benchmarks/scenarios.toml]",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=HOME / "out",
    help="Where results are written.  [default: benchmarks/out]",
)
def run(names: tuple[str, ...], suite: Path, out: Path) -> None:
    """Measure the figures and scenarios NAMES, or all of them."""
    from semblance.benchmarks import runner, scenario

    try:
        runner.run(
            names, scenario.Suite.read(suite), out, Console(width=None if sys.stdout.isatty() else PRINTED_WIDTH)
        )
    except (scenario.ScenarioError, runner.UnknownName) as error:
        raise click.ClickException(str(error)) from None


@bench.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=HOME / "out",
    help="Where the results are.  [default: benchmarks/out]",
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=HOME,
    help="Where REPORT.md and results/ are written.  [default: benchmarks]",
)
def report(out: Path, home: Path) -> None:
    """Draw the plots and write REPORT.md from what was measured."""
    from semblance.benchmarks import report as reports

    try:
        click.echo(reports.write(out, home))
    except (reports.NothingMeasured, ValueError) as error:
        raise click.ClickException(str(error)) from None


@bench.command()
@click.argument("a", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("b", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tolerance", type=click.FloatRange(0, 1), default=0.02, show_default=True, help="How much is allowed.")
def compare(a: Path, b: Path, tolerance: float) -> None:
    """Say whether figure B is worse than figure A, beyond noise and tolerance; exit status 1 if so."""
    from semblance.benchmarks import comparison
    from semblance.benchmarks.figure import Figure

    try:
        figure = Figure.read(a)
        verdicts = comparison.compare(figure, Figure.read(b), tolerance)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    Console().print(comparison.table(verdicts))
    judged = {verdict.name for verdict in verdicts}
    # A measure without a name stands alone, and has been judged.
    if left_out := [name for name in figure.measures if name and name not in judged]:
        click.echo(f"not judged, of less than {comparison.MIN_SAMPLES} samples: {', '.join(left_out)}")
    sys.exit(any(verdict.is_worse for verdict in verdicts))
