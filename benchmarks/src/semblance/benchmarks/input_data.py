"""Photos as perf_analyzer reads them: `python -m semblance.benchmarks.input_data FOLDER FILE`."""

import base64
import json
import sys
from collections.abc import Iterable
from pathlib import Path


def write(photos: Iterable[Path], file: Path) -> None:
    """Writes what `--input-data` takes: perf_analyzer sends one photo after another, and begins again at the end.

    perf_analyzer sends decoded base64 as it is, and an element of a BYTES tensor begins with its length, four bytes
    little-endian.
    """
    contents = [photo.read_bytes() for photo in photos]
    elements = [len(content).to_bytes(4, "little") + content for content in contents]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"data": [{"image": {"b64": base64.b64encode(e).decode()}} for e in elements]}))


def main(folder: Path, file: Path) -> None:
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    if not photos:
        sys.exit(f"input_data: {folder} has no .jpg, .jpeg, .png or .webp files")
    write(photos, file)
    print(f"{len(photos)} photos in {file}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: input_data FOLDER FILE")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
