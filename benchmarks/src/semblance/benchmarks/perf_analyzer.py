"""Stock perf_analyzer: `python -m semblance.benchmarks.perf_analyzer ARGUMENTS`.

Its own wheel needs glibc 2.38. An older wheel of Triton's client has the program too, and the wheel of the server the
two libraries that it lacks.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from semblance.serving.process import StartError, sibling_environment
from semblance.serving.triton import package

# Under these names the program looks for them; the wheel has a hash in its files' names.
LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}


@dataclass(frozen=True, slots=True)
class PerfAnalyzer:
    """The program, and the environment variables that it runs with."""

    program: Path
    variables: dict[str, str]


@contextmanager
def installed() -> Iterator[PerfAnalyzer]:
    """What runs inside finds its libraries in a folder that goes away afterwards.

    Raises:
        StartError: an environment was not built, or its wheel is without the library.
    """
    program = sibling_environment("perf_analyzer", "setup-bench") / "bin" / "perf_analyzer"
    wheel = package(sibling_environment("triton", "setup")).parent / "nvidia_pytriton.libs"
    with TemporaryDirectory(prefix="semblance-perf-analyzer-") as folder:
        for name, pattern in LIBRARIES.items():
            library = next(wheel.glob(pattern), None)
            if library is None:
                raise StartError(f"perf_analyzer needs {name}, and {wheel} has no {pattern}; run `make setup` again")
            (Path(folder) / name).symlink_to(library)
        yield PerfAnalyzer(program, {**os.environ, "LD_LIBRARY_PATH": folder})


def main() -> None:
    """Runs perf_analyzer with this program's arguments and ends with its status."""
    # Ctrl-C is perf_analyzer's: it reports what it has measured so far.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with installed() as tool:
            status = subprocess.run([tool.program, *sys.argv[1:]], env=tool.variables).returncode
    except StartError as error:
        sys.exit(f"perf_analyzer: {error}")
    sys.exit(status)


if __name__ == "__main__":
    main()
