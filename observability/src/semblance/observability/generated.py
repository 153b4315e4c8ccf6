"""Renders what `deploy/` holds for Grafana, Prometheus and its operator on Kubernetes.

    python -m semblance.observability.generated --check|--write deploy

compares the committed files with a fresh rendering, and has promtool check the rules and the
configuration that names them, where there is one; or writes the files.
"""

from __future__ import annotations

import difflib
import subprocess
from collections.abc import Mapping
from pathlib import Path

import click

from semblance.observability import alerts, board
from semblance.observability.prometheus import MissingProgram, program

DASHBOARD = "grafana/dashboards/semblance.json"
CONFIGURATION = "prometheus/prometheus.yml"
ALERTS = "prometheus/rules/alerts.yml"
ALERTS_OF_KUBERNETES = "kubernetes/components/monitoring/alerts.yaml"
NOTE = "# Generated: change observability/src/semblance/observability, and `make dashboards`.\n"


def rendered() -> Mapping[str, str]:
    """The text of each file by its path below `deploy`."""
    return {
        DASHBOARD: board.render(),
        ALERTS: NOTE + alerts.render(),
        ALERTS_OF_KUBERNETES: NOTE + alerts.render_resource(),
    }


def differences(deploy: Path) -> list[str]:
    """What the committed files say other than a fresh rendering: a unified diff's lines."""
    lines: list[str] = []
    for name, fresh in rendered().items():
        path = deploy / name
        committed = path.read_text(encoding="utf-8") if path.exists() else ""
        lines += difflib.unified_diff(
            committed.splitlines(), fresh.splitlines(), str(path), "a fresh rendering", lineterm=""
        )
    return lines


def write(deploy: Path) -> None:
    for name, text in rendered().items():
        path = deploy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def promtool(deploy: Path) -> str:
    """What promtool says of the configuration, and of the rules that it names.

    Raises:
        MissingProgram: there is none.
        ValueError: it finds something wrong, and says what.
    """
    done = subprocess.run(
        [program("promtool"), "check", "config", deploy / CONFIGURATION],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise ValueError(done.stdout)
    return done.stdout


@click.command()
@click.option("--check/--write", required=True, help="Fail where a file differs or promtool refuses it, or write all.")
@click.argument("deploy", type=click.Path(path_type=Path))
def main(deploy: Path, check: bool) -> None:
    """Write or check the dashboard and the alerts."""
    if not check:
        write(deploy)
        return
    if lines := differences(deploy):
        raise click.ClickException("\n".join([*lines, "Write them anew: `make dashboards`."]))
    try:
        promtool(deploy)
    except MissingProgram as missing:
        click.echo(f"promtool did not check {deploy / 'prometheus'}: {missing}")
    except ValueError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
