"""What was found, for people and for programs."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Column, Table
from rich.text import Text

from semblance.orchestrator.doctor.finding import Finding, Outcome

STYLES = {Outcome.OK: "green", Outcome.WARNING: "yellow", Outcome.FAILURE: "bold red", Outcome.UNKNOWN: "cyan"}


def table(findings: Sequence[Finding]) -> Table:
    shown = Table("part", "check", "", Column("found", overflow="fold"))
    before = ""
    for finding in findings:
        if finding.part != before and before:
            shown.add_section()
        part = finding.part if finding.part != before else ""
        before = finding.part
        text = Text(finding.found)
        if finding.why:
            text.append(f"\nwhy it matters: {finding.why}", "dim")
        if finding.mend:
            text.append(f"\nmend: {finding.mend}", "bold")
        shown.add_row(Text(part), Text(finding.check), Text(finding.outcome, STYLES[finding.outcome]), text)
    return shown


def summary(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.outcome for finding in findings)
    return ", ".join(
        f"{counts[outcome]} {name if counts[outcome] == 1 else plural}"
        for outcome, name, plural in (
            (Outcome.OK, "ok", "ok"),
            (Outcome.WARNING, "warning", "warnings"),
            (Outcome.FAILURE, "failure", "failures"),
            (Outcome.UNKNOWN, "unknown", "unknown"),
        )
        if counts[outcome] or outcome is not Outcome.UNKNOWN
    )


def as_json(findings: Sequence[Finding]) -> str:
    return json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2)
