"""Memory of photos that are gone is used again. In a process of its own: the setting is the whole process'."""

import subprocess
import sys

PROGRAM = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from semblance.orchestrator.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def photos(threads):
    # Made by threads, freed by another one, as the service does; eight of them alive at once.
    for _ in range(200):
        list(threads.map(lambda _: np.ones((480, 640, 3), np.uint8), range(8)))

with ThreadPoolExecutor(2) as threads:
    photos(threads)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    photos(threads)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(setting: str) -> int:
    return int(subprocess.run([sys.executable, "-c", PROGRAM, setting], check=True, capture_output=True).stdout)


def test_the_kernel_clears_no_page_for_the_next_photo() -> None:
    assert page_faults("kept") * 4 < page_faults("returned")
