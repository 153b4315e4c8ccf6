"""The host that the orchestrator runs on, or as much of it as its container has."""

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from semblance.orchestrator.adapters.transport import SLOT_BYTES, Mode
from semblance.orchestrator.bootstrap import ring_slots
from semblance.orchestrator.doctor.finding import Check, Finding, amount
from semblance.orchestrator.settings import Settings

# README: what a decoder may take of memory, in bytes a pixel.
DECODE_BYTES = 24
# Each caller's connection is one, beside some dozens of the service's own.
FEWEST_OPEN_FILES = 4096

CORES = Check("host", "cores", "threads beyond them take turns, and what else runs here waits behind them")
MEMORY = Check(
    "host",
    "memory",
    "a release is built beside the one in use: without room for the collections and models of both, the kernel kills "
    "Milvus or Triton in the middle of it",
)
SHARED_MEMORY = Check(
    "host", "/dev/shm", "pictures that find no room there go in messages, at several times the CPU for each"
)
OPEN_FILES = Check("host", "open files", "each connection of a caller is one; beyond the limit new ones are refused")


@dataclass(frozen=True, slots=True)
class Host:
    """`cores` may be a fraction; `memory` and `shared_memory`, the size of /dev/shm, are bytes."""

    cores: float
    memory: int
    shared_memory: int
    open_files: int

    @classmethod
    def read(cls, root: Path = Path("/")) -> "Host":
        """`root`: where /proc and /sys are."""
        cores = float(len(os.sched_getaffinity(0)))
        memory = _total(root / "proc/meminfo")
        for group in _groups(root):
            if (quota := _words(group / "cpu.max")) and quota[0] != "max":
                cores = min(cores, int(quota[0]) / int(quota[1]))
            if (limit := _words(group / "memory.max")) and limit[0] != "max":
                memory = min(memory, int(limit[0]))
        try:
            shared = os.statvfs(root / "dev/shm")
            shared_memory = shared.f_frsize * shared.f_blocks
        except OSError:
            shared_memory = 0
        return cls(cores, memory, shared_memory, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of this host's memory that the collections and models of two live releases take, and how that was counted.

    `problem`: why they are not known.
    """

    collections: int = 0
    models: int = 0
    counted: str = ""
    problem: str = ""


def examine(host: Host, settings: Settings) -> list[Finding]:
    return [cores(host, settings), shared_memory(host, settings), open_files(host)]


def cores(host: Host, settings: Settings) -> Finding:
    threads = settings.pixel_threads * settings.workers
    found = f"{host.cores:g} cores, {threads} threads that decode"
    if settings.workers > 1:
        found += f", {settings.pixel_threads} in each of {settings.workers} workers"
    if host.cores < 2:
        return CORES.warning(found, "give the orchestrator two cores at least: one decodes while the other one serves")
    if threads > host.cores:
        return CORES.warning(
            found,
            f"set SEMBLANCE_PIXEL_THREADS to {max(1, int(host.cores) // settings.workers)}: more only take turns",
        )
    return CORES.ok(found)


def memory(host: Host, settings: Settings, footprint: Footprint) -> Finding:
    """The service's own part is what it takes at worst."""
    own = settings.workers * (
        settings.pixel_threads * settings.max_image_pixels * DECODE_BYTES + 2 * settings.queue_bytes
    )
    others = footprint.collections + footprint.models
    found = (
        f"{amount(host.memory)}; {amount(footprint.collections)} for two live collections and "
        f"{amount(footprint.models)} for two versions of each model{footprint.counted}; decoding and queues at most "
        f"{amount(own)}"
    )
    if others > host.memory:
        return MEMORY.failure(
            found,
            f"give the host {amount(others + own)}, move Milvus elsewhere, or make vectors shorter: `semblance "
            "export embedder --project`",
        )
    if others + own > host.memory:
        return MEMORY.warning(
            found,
            f"give the host {amount(others + own)}, or lower SEMBLANCE_MAX_IMAGE_PIXELS, SEMBLANCE_PIXEL_THREADS or "
            "SEMBLANCE_QUEUE_BYTES",
        )
    if footprint.problem:
        return MEMORY.unknown(f"{amount(host.memory)}; what two live releases take is not known: {footprint.problem}")
    return MEMORY.ok(found)


def shared_memory(host: Host, settings: Settings) -> Finding:
    mode = Mode(settings.transport)
    if mode is Mode.BYTES:
        return SHARED_MEMORY.ok("not used: pictures go in messages, as SEMBLANCE_TRANSPORT says")
    endpoints = settings.triton_url.count(",") + 1
    needed = ring_slots(settings) * SLOT_BYTES * settings.workers * endpoints
    found = f"{amount(host.shared_memory)}, and {amount(needed)} are needed for pictures"
    if host.shared_memory >= needed:
        return SHARED_MEMORY.ok(found)
    mend = (
        f"enlarge it: `shm_size: {2 * needed // 2**20}m` of the container whose /dev/shm it is; or lower "
        "SEMBLANCE_SEARCH_IN_FLIGHT, or set SEMBLANCE_TRANSPORT=bytes"
    )
    if mode is Mode.SHARED_MEMORY:
        return SHARED_MEMORY.failure(found, mend)
    return SHARED_MEMORY.warning(found, mend)


def open_files(host: Host) -> Finding:
    found = f"{host.open_files:,} at once"
    if 0 <= host.open_files < FEWEST_OPEN_FILES:
        return OPEN_FILES.warning(
            found, "raise the limit to 65536: `ulimit -n`, LimitNOFILE of a systemd unit, or `ulimits` of a container"
        )
    return OPEN_FILES.ok("no limit" if host.open_files < 0 else found)


def _total(meminfo: Path) -> int:
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _groups(root: Path) -> Iterator[Path]:
    """The control group (version 2) of this process, and those around it; in a container that is the root alone."""
    top = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("0::/"):
            group = top / line.removeprefix("0::/")
            yield from (each for each in (group, *group.parents) if each.is_relative_to(top))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
