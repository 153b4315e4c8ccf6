"""libFuzzer on one target: `python -m tests.fuzz.guided TARGET [libFuzzer's options and files]`.

What it looks for new ways through is our Python code, protobuf's JSON parser and Pillow's parsers of headers.
"""

import sys

import atheris

with atheris.instrument_imports(include=["semblance.orchestrator", "PIL", "google.protobuf.json_format"]):
    # Pillow loads its formats when it first opens a file, which would be too late.
    from PIL import JpegImagePlugin, MpoImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

    from tests.fuzz.targets import TARGETS


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name].check)
    atheris.Fuzz()
