"""`make test-fuzz`: every target for a while, seeded; writes tests/out/fuzz.json.

    python -m tests.fuzz [--seed N] [--share 0.1] [--only TARGET …]    runs
    python -m tests.fuzz again FILE                                    runs one stored input again

An input that was not handled is stored in tests/out/fuzz/, and the command that runs it again is printed.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc

from tests.fuzz import port, service, structured
from tests.fuzz.targets import TARGETS

OUT = service.ROOT / "tests" / "out"
FOUND = OUT / "fuzz"
# Of one target's process, and of one input in it.
RSS_LIMIT_MB = 768
TIMEOUT_SECONDS = 60
MAX_BYTES = 2**14

GUIDED = {
    "image": 40_000,
    "search": 80_000,
    "put": 30_000,
    "page": 5_000,
    "release": 10_000,
    "infer": 30_000,
    "options": 30_000,
}
STRUCTURED = {"filters": 2_500, "items": 1_000}
PORTS: dict[str, tuple[int, Callable[[Path], AbstractContextManager[service.Served]]]] = {
    "port": (4_000, service.on_fakes),
    "stack": (1_000, service.on_stack),
}
WIRE = {"wire": 500}


@dataclass(slots=True)
class Outcome:
    """Of one target: what was tried, what was not handled, and what to do about it."""

    inputs: int
    unhandled: int = 0
    seconds: float = 0.0
    memory_mb: int | None = None
    findings: list[str] = field(default_factory=list)


def guided(name: str, inputs: int, seed: int) -> Outcome:
    """libFuzzer in a process of its own: a decoder may end it, or fill the memory."""
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="semblance-fuzz-") as corpus:
        for seed_file in TARGETS[name].seeds():
            Path(corpus, seed_file.name).write_bytes(seed_file.read_bytes())
        options = {
            "runs": inputs,
            "seed": seed,
            "max_len": MAX_BYTES,
            "timeout": TIMEOUT_SECONDS,
            "rss_limit_mb": RSS_LIMIT_MB,
            "artifact_prefix": f"{FOUND.relative_to(service.ROOT)}/{name}-",
            "print_final_stats": 1,
        }
        command = [sys.executable, "-m", "tests.fuzz.guided", name, corpus]
        command += [f"-{option}={value}" for option, value in options.items()]
        done = subprocess.run(command, cwd=service.ROOT, capture_output=True, text=True, errors="replace")
    said = done.stdout + done.stderr
    figures = {key: int(value) for key, value in re.findall(r"^stat::(\w+):\s+(\d+)", said, re.MULTILINE)}
    outcome = Outcome(figures.get("number_of_executed_units", 0), memory_mb=figures.get("peak_rss_mb"))
    if done.returncode:
        stored = re.search(r"Test unit written to (\S+)", said)
        again = (
            f"python -m tests.fuzz again {stored[1]}" if stored else f"python -m tests.fuzz --only {name} --seed {seed}"
        )
        outcome.unhandled = 1
        outcome.findings.append(f"{_essence(said)}\n  again: {again}")
    return outcome


def _essence(said: str) -> str:
    """The Python traceback of an input that libFuzzer ended with, or the last lines."""
    _, found, traceback = said.partition("Uncaught Python exception: ===")
    return traceback.partition("==")[0].strip() if found else "\n".join(said.splitlines()[-15:])


def drawn(name: str, inputs: int, seed: int) -> Outcome:
    try:
        structured.explore(name, inputs, seed)
    except Exception as error:
        notes = "\n  ".join([repr(error), *getattr(error, "__notes__", ())])
        return Outcome(inputs, 1, findings=[f"{notes}\n  again: python -m tests.fuzz --only {name} --seed {seed}"])
    return Outcome(inputs)


def called(name: str, inputs: int, seed: int) -> Outcome:
    start = PORTS[name][1] if name in PORTS else service.on_fakes
    with tempfile.TemporaryDirectory(prefix="semblance-fuzz-") as folder, start(Path(folder)) as served:
        if name in WIRE:
            report = asyncio.run(port.explore_wire(served.address, inputs, seed, served.serving))
        else:
            report = asyncio.run(port.explore(served.address, served.pid, inputs, seed))
        findings = [_stored(name, seed, finding) for finding in report.findings]
        # Said of what no answer shows, such as a background task's.
        internal = [line for line in served.log.read_text().splitlines() if "internal error" in line]
    findings += [f"the service's log: {line[:1500]}" for line in internal]
    return Outcome(report.inputs, len(findings), memory_mb=report.memory_bytes // port.MEBIBYTE, findings=findings)


def _stored(name: str, seed: int, finding: port.Finding) -> str:
    if finding.given is None:
        return f"{finding.what}\n  again: python -m tests.fuzz --only {name} --seed {seed}"
    path = FOUND / f"{name}-{seed}-{finding.number}.json"
    finding.given.write(path)
    return f"{finding.what}\n  again: python -m tests.fuzz again {path.relative_to(service.ROOT)}"


def again(path: Path) -> None:
    """Runs a stored input once more, with all that is said about it."""
    name = path.name.partition("-")[0]
    if name in TARGETS:
        TARGETS[name].check(path.read_bytes())
    else:
        with tempfile.TemporaryDirectory(prefix="semblance-fuzz-") as folder, PORTS[name][1](Path(folder)) as served:
            asyncio.run(_send(served.address, port.Input.read(path)))
            print(served.log.read_text())
    print("handled")


async def _send(address: str, given: port.Input) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        await port.send(channel, given)


def run(names: list[str], seed: int, share: float) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    for runner, plan in (
        (guided, GUIDED),
        (drawn, STRUCTURED),
        (called, {name: inputs for name, (inputs, _) in PORTS.items()} | WIRE),
    ):
        for name, inputs in plan.items():
            if names and name not in names:
                continue
            begin = time.monotonic()
            outcome = outcomes[name] = runner(name, max(1, round(inputs * share)), seed)
            outcome.seconds = round(time.monotonic() - begin, 1)
            print(
                f"{name:10} {outcome.inputs:6} inputs {outcome.unhandled:3} unhandled {outcome.seconds:7.1f} s",
                flush=True,
            )
            for finding in outcome.findings:
                print(f"  {finding}", flush=True)
    return outcomes


def main() -> int:
    if sys.argv[1:2] == ["again"]:
        again(Path(sys.argv[2]))
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0, help="of the inputs of a full run")
    parser.add_argument(
        "--only", nargs="*", default=[], choices=[*GUIDED, *STRUCTURED, *PORTS, *WIRE], metavar="TARGET"
    )
    arguments = parser.parse_args()
    outcomes = run(arguments.only, arguments.seed, arguments.share)
    figure = {
        "name": "fuzz",
        "inputs": sum(outcome.inputs for outcome in outcomes.values()),
        "unhandled": sum(outcome.unhandled for outcome in outcomes.values()),
        "seed": arguments.seed,
        "command": " ".join(["python -m tests.fuzz", *sys.argv[1:]]),
        "targets": {name: asdict(outcome) for name, outcome in outcomes.items()},
    }
    OUT.mkdir(exist_ok=True)
    (OUT / "fuzz.json").write_text(json.dumps(figure, indent=1) + "\n")
    print(f"{figure['inputs']} inputs, {figure['unhandled']} unhandled; see {OUT / 'fuzz.json'}")
    return 1 if figure["unhandled"] else 0


if __name__ == "__main__":
    sys.exit(main())
