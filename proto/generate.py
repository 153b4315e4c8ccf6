"""Generates `src/semblance/v1` from the `.proto` files beside this program.

    python proto/generate.py            writes them
    python proto/generate.py --check    fails where the committed ones differ

protoc finds mypy-protobuf's plugins on PATH.
"""

import filecmp
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
COMMITTED = HERE / "src"
PACKAGE = Path("semblance") / "v1"


def generate(destination: Path) -> None:
    sources = sorted((HERE / PACKAGE).glob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    outputs = [f"--{kind}_out=quiet:{destination}" for kind in ("mypy", "mypy_grpc")]
    outputs += [f"--{kind}_out={destination}" for kind in ("python", "grpc_python")]
    arguments = [f"--proto_path={HERE}", f"--proto_path={well_known}", *outputs, *map(str, sources)]
    if status := protoc.main(["protoc", *arguments]):
        sys.exit(f"protoc failed with status {status}")
    # protoc writes a module of stubs for files without a service too.
    for source in sources:
        if "\nservice " not in source.read_text():
            for empty in (destination / PACKAGE).glob(f"{source.stem}_pb2_grpc.py*"):
                empty.unlink()
    (destination / PACKAGE / "__init__.py").write_text(
        '"""Messages and stubs of the `semblance.v1` protocol, generated from `proto/`."""\n'
    )
    (destination / PACKAGE / "py.typed").touch()


def check() -> None:
    """Ends with status 1 where the committed files are not what would be generated now."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = {path.name for path in (Path(folder) / PACKAGE).iterdir()}
        committed = {path.name for path in (COMMITTED / PACKAGE).iterdir() if path.is_file()}
        shared = sorted(fresh & committed)
        _, differ, errors = filecmp.cmpfiles(Path(folder) / PACKAGE, COMMITTED / PACKAGE, shared, shallow=False)
    if stale := sorted({*differ, *errors, *(fresh ^ committed)}):
        sys.exit(f"stale in {COMMITTED.name}/{PACKAGE}: {', '.join(stale)}; run `make proto`")


if __name__ == "__main__":
    check() if sys.argv[1:] == ["--check"] else generate(COMMITTED)
