"""Metrics that no host of this project's developers tells, and why: their queries are not expected to have data."""

from __future__ import annotations

from collections.abc import Iterable

_NO_GPU = "Triton tells it of GPUs, and this host has none"

UNSEEN = {
    "nv_gpu_utilization": _NO_GPU,
    "nv_gpu_memory_used_bytes": _NO_GPU,
    "nv_gpu_memory_total_bytes": _NO_GPU,
    "nv_gpu_power_usage": _NO_GPU,
}


def reason(names: Iterable[str]) -> str | None:
    """Why a query of these metrics has no data here, or None where it should have."""
    return next((UNSEEN[name] for name in sorted(names) if name in UNSEEN), None)
