"""How many cores torch computes with."""

from __future__ import annotations

import os

import torch


def use_all() -> None:
    """Has torch use every core of this process.

    Ultralytics leaves one free, when it is imported and when its training starts: of two, that is half.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
