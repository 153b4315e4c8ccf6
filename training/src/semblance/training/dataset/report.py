"""What an import found and made: for the terminal, as Markdown, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from semblance.training.dataset.check import Check, Checked
from semblance.training.dataset.dataset import SPLITS, Split
from semblance.training.dataset.division import Division
from semblance.training.dataset.finding import Finding, Severity
from semblance.training.dataset.source import Export

MARKDOWN = "report.md"
JSON = "report.json"

FEW_OBJECTS = 20
"""A class with fewer is hardly learnt, and its figures mean little."""

MISSED = 0.05
"""By how much the share of a split may miss what was asked for before that is said."""

_SHOWN = 3
"""Findings of a kind that the terminal shows; the files have all."""

_ORDER = tuple(Severity)
_STYLE = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


@dataclass(frozen=True)
class SplitSummary:
    """One split. `known_items` are those of its items that train has, too."""

    images: int
    objects: int
    items: int
    known_items: int
    objects_by_class: dict[str, int]


@dataclass(frozen=True)
class Report:
    """What there is to say about an import.

    Attributes:
        images_read: entries of the export with annotations.
        splits: of the dataset; none where the import was refused.
    """

    source: dict[str, str]
    images_read: int
    images_kept: int
    classes: tuple[str, ...]
    splits: dict[Split, SplitSummary]
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        return {"format": 1, **asdict(self)}


def refusal(export: Export, checked: Check, source: dict[str, str]) -> Report:
    """The report of an import that stops at its errors."""
    findings = _ordered([*_remarks(export), *checked.findings])
    return Report(source, len(export.images), len(checked.images), checked.classes, {}, findings)


def summary(
    export: Export,
    checked: Check,
    alike: Sequence[Sequence[int]],
    division: Division,
    source: dict[str, str],
) -> Report:
    """The report of a dataset."""
    images, splits = checked.images, division.splits
    items = {split: _items(images, splits, split) for split in SPLITS}
    summaries: dict[Split, SplitSummary] = {}
    for split in SPLITS:
        if split not in splits:
            continue
        counts = Counter(
            found.class_name
            for image, own in zip(images, splits, strict=True)
            if own == split
            for found in image.objects
        )
        by_class = {name: counts[name] for name in checked.classes}
        known = len(items[split] & items["train"])
        summaries[split] = SplitSummary(splits.count(split), counts.total(), len(items[split]), known, by_class)
    findings = [
        *_remarks(export),
        *checked.findings,
        *_likenesses(images, alike, splits),
        *_shared_items(items),
        *_small_classes(checked.classes, summaries),
        *_missed_shares(division),
    ]
    return Report(source, len(export.images), len(images), checked.classes, summaries, _ordered(findings))


def _ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Worst first, each kind together, otherwise as they came."""
    kinds = {kind: number for number, kind in enumerate(dict.fromkeys(finding.kind for finding in findings))}
    return tuple(sorted(findings, key=lambda finding: (_ORDER.index(finding.severity), kinds[finding.kind])))


def _items(images: Sequence[Checked], splits: Sequence[Split], split: Split) -> set[str]:
    return {item for image, own in zip(images, splits, strict=True) if own == split for item in image.items}


def _remarks(export: Export) -> Iterator[Finding]:
    for remark, times in export.remarks.items():
        yield Finding(Severity.NOTE, "in the export", f"{times} ×", remark)


def _likenesses(
    images: Sequence[Checked], alike: Sequence[Sequence[int]], splits: Sequence[Split]
) -> Iterator[Finding]:
    for group in alike:
        members = [images[index] for index in group]
        same = len({member.photo.sha256 for member in members}) == 1
        where = ", ".join(member.source.where for member in members)
        yield Finding(
            Severity.WARNING,
            "the same photo several times" if same else "photos nearly alike",
            where,
            ", ".join(member.photo.path.name for member in members),
        )
        across = [split for split in SPLITS if split in {splits[index] for index in group}]
        if len(across) > 1:
            problem = f"in {' and '.join(across)}: measured with what was learnt from; --split deals anew"
            yield Finding(Severity.WARNING, "leak: like photos in several splits", where, problem)


def _shared_items(items: dict[Split, set[str]]) -> Iterator[Finding]:
    for split in ("val", "test"):
        shared = items[split] & items["train"]
        if shared:
            yield Finding(
                Severity.WARNING,
                "items of train in another split",
                split,
                f"{len(shared)} of {len(items[split])} items: detection is measured on items that were learnt from; "
                "so is retrieval once an embedder is trained on train",
            )


def _small_classes(classes: Sequence[str], summaries: dict[Split, SplitSummary]) -> Iterator[Finding]:
    for name in classes:
        counts = {split: summary.objects_by_class[name] for split, summary in summaries.items()}
        if (total := sum(counts.values())) < FEW_OBJECTS:
            problem = f"{total} objects; a class wants {FEW_OBJECTS} at the very least"
            yield Finding(Severity.WARNING, "class with few objects", name, problem)
        elif absent := [split for split, count in counts.items() if not count]:
            yield Finding(Severity.WARNING, "class missing from a split", name, f"none in {' and '.join(absent)}")


def _missed_shares(division: Division) -> Iterator[Finding]:
    count = len(division.splits)
    for split, wanted in zip(SPLITS, division.wanted or (), strict=bool(division.wanted)):
        reached = division.splits.count(split) / count
        if abs(reached - wanted) > MISSED:
            problem = f"{reached:.0%} of the images in place of {wanted:.0%}: {division.largest:.0%} are joined"
            yield Finding(Severity.WARNING, "split of another size", split, problem)


def show(report: Report, console: Console) -> None:
    """Prints tables of the splits and of the findings."""
    if report.splits:
        console.print(_split_table(report))
    table = Table("", "finding", "where", "what", title=_title(report), title_justify="left")
    for kind, findings in groupby(report.findings, key=attrgetter("kind")):
        members = list(findings)
        for number, finding in enumerate(members[:_SHOWN]):
            first = number == 0
            table.add_row(
                Text(str(finding.severity), style=_STYLE[finding.severity]) if first else "",
                Text(kind if len(members) == 1 else f"{kind} ({len(members)})") if first else "",
                Text(finding.where),
                Text(finding.problem),
            )
        if len(members) > _SHOWN:
            table.add_row("", "", f"… and {len(members) - _SHOWN} more", "")
    if report.findings:
        console.print(table)


def _title(report: Report) -> str:
    return f"{report.images_kept} of {report.images_read} annotated images can be used"


def _split_table(report: Report) -> Table:
    table = Table(title="dataset", title_justify="left")
    for number, heading in enumerate(_headings(report)):
        table.add_column(Text(heading), justify="left" if number == 0 else "right")
    for row in _rows(report):
        table.add_row(*row)
    return table


def _headings(report: Report) -> list[str]:
    return ["split", "images", "objects", *report.classes, "items", "of them in train"]


def _rows(report: Report) -> Iterator[list[str]]:
    for split, part in report.splits.items():
        classes = [str(part.objects_by_class[name]) for name in report.classes]
        known = "" if split == "train" else str(part.known_items)
        yield [split, str(part.images), str(part.objects), *classes, str(part.items), known]


def markdown(report: Report) -> str:
    """All of it, for people."""
    lines = ["# What was imported", ""]
    lines += [f"- {name}: {_plain(value)}" for name, value in report.source.items()]
    lines += ["", f"{_title(report)}.", ""]
    lines += _markdown_table(_headings(report), _rows(report))
    lines += ["", "## Findings", ""]
    rows = ([str(found.severity), found.kind, found.where, found.problem] for found in report.findings)
    lines += _markdown_table(["", "finding", "where", "what"], rows) if report.findings else ["None."]
    return "\n".join(lines) + "\n"


def _markdown_table(headings: Sequence[str], rows: Iterator[list[str]]) -> list[str]:
    table = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(map(_plain, row))} |" for row in table]


def _plain(text: str) -> str:
    """Text of an export, such as a file's name, that neither ends a cell nor a line."""
    return " ".join(text.replace("|", "\\|").split())
