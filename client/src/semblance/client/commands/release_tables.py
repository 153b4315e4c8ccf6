"""How releases are shown."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Column, Table
from rich.text import Text

from semblance.client._release_types import (
    Canary,
    IndexParameters,
    Release,
    ReleaseModel,
    ReleasePlan,
    ReleaseProgress,
    ReleaseReport,
    ReleaseState,
    ReleaseStatus,
    Switch,
)


def plan_table(plan: ReleasePlan) -> Table:
    both = plan.active_memory + plan.new_memory if plan.new_collection else plan.active_memory
    after = plan.new_memory if plan.new_collection else plan.active_memory
    table = _facts(f"release {plan.release_id}")
    table.add_row("detector", model(plan.detector))
    table.add_row("embedder", f"{model(plan.embedder)}, {plan.dimension} numbers")
    table.add_row("index", index(plan.index))
    table.add_row("collection", "a new one" if plan.new_collection else "the active release's is kept")
    table.add_row("items", f"{plan.items:,}")
    table.add_row("images", f"{plan.images:,}")
    table.add_row("rows", f"{plan.rows:,}")
    table.add_row("memory now", in_bytes(plan.active_memory))
    table.add_row("memory while both stand", in_bytes(both))
    table.add_row("memory after", in_bytes(after))
    table.add_row("query nodes", f"{plan.query_nodes:,} while both stand")
    table.add_row("disk", f"{in_bytes(plan.new_disk)} more")
    table.add_row("time", duration(plan))
    return table


def release_table(releases: Iterable[Release]) -> Table:
    table = Table(
        "release", "state", Column("detector", justify="right"), "embedder", "metric", "traffic", "created", "progress"
    )
    for release in releases:
        table.add_row(
            Text(release.release_id),
            release.state,
            str(release.detector.version),
            f"{release.embedder.version} ({release.dimension})",
            metric(release.index),
            Text(traffic(release)),
            f"{release.created_at:%m-%d %H:%M}",
            Text(progress(release)),
        )
    return table


def release_facts(release: Release) -> Table:
    table = _facts(f"release {release.release_id}")
    table.add_row("state", f"{release.state} since {release.changed_at:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("created", f"{release.created_at:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("detector", model(release.detector))
    table.add_row("", release.detector.sha256)
    table.add_row("embedder", f"{model(release.embedder)}, {release.dimension} numbers")
    table.add_row("", release.embedder.sha256)
    table.add_row("index", index(release.index))
    table.add_row("collection", Text(release.collection))
    table.add_row("traffic", Text(traffic(release) or "none"))
    if release.replaced:
        table.add_row("replaced", Text(release.replaced))
    if release.progress:
        table.add_row("progress", progress(release))
        if release.progress.problem:
            table.add_row("problem", Text(release.progress.problem))
    return table


def report_table(report: ReleaseReport) -> Table:
    title = f"{report.release_id} against {report.against}"
    table = Table("figure", Column("value", justify="right"), "meaning", title=Text(title), title_justify="left")
    for figure in report.figures:
        value = "–" if figure.value is None else f"{figure.value:.4g}"
        table.add_row(Text(figure.name), value, Text(figure.meaning))
    if evaluation := report.evaluation:
        compared = f"against {evaluation.against}" if evaluation.against else "alone"
        table.caption = Text(f"evaluated {compared}, {evaluation.recorded_at:%Y-%m-%d %H:%M} UTC")
        table.caption_justify = "left"
    return table


def status_table(status: ReleaseStatus) -> Table:
    table = Table("part", "what", "should", "has", "")
    for finding in status.findings:
        cells = (Text(text) for text in (finding.part, finding.what, finding.should, finding.has))
        table.add_row(*cells, "good" if finding.good else Text("wrong", style="bold red"))
    return table


def switch_sentence(switch: Switch) -> str:
    before = f", {switch.replaced} is ready" if switch.replaced else ""
    if switch.lagging:
        followed = f"after {switch.seconds:.1f} s these had not followed: {', '.join(switch.lagging)}"
    else:
        followed = f"all orchestrators followed in {switch.seconds:.1f} s"
    return f"{switch.active.release_id} is active{before}; {followed}"


def traffic(release: Release) -> str:
    """Which searches it serves; nothing where none."""
    shares = []
    if release.state is ReleaseState.ACTIVE:
        shares.append("active")
    if release.canary:
        shares.append(f"canary {share(release.canary)}")
    if release.shadow_percent:
        shares.append(f"shadow {release.shadow_percent:g} %")
    return ", ".join(shares)


def share(canary: Canary) -> str:
    """Such as `5 % + alice, bob`."""
    parts = [f"{canary.percent:g} %"] if canary.percent else []
    if canary.callers:
        parts.append(", ".join(canary.callers))
    return " + ".join(parts)


def progress(release: Release) -> str:
    found = release.progress
    if found is None:
        return ""
    if release.state is ReleaseState.BUILDING:
        outside = ", by an outside engine" if found.engine == "outside" else ""
        return f"{found.settled:,} of {found.items:,} items, {rest(found)}{outside}"
    return f"{found.unsettled:,} items to be mended" if found.unsettled else f"{found.items:,} items"


def rest(progress: ReleaseProgress) -> str:
    """How long it takes yet."""
    return "time left unknown" if progress.remaining is None else f"{in_time(progress.remaining)} left"


def index(parameters: IndexParameters) -> str:
    return (
        f"HNSW by {metric(parameters)}, M {parameters.m}, efConstruction {parameters.ef_construction}, "
        f"ef {parameters.ef}"
    )


def metric(parameters: IndexParameters) -> str:
    return parameters.metric.replace("_", " ")


def model(model: ReleaseModel) -> str:
    return f"{model.name} {model.version}"


def duration(plan: ReleasePlan) -> str:
    if plan.seconds is None:
        return "unknown"
    return f"about {in_time(plan.seconds)}" if plan.seconds else "at once"


def in_bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}" if size < 999.5 else f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def in_time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _facts(title: str) -> Table:
    return Table(show_header=False, title=Text(title), title_justify="left")
