import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_all_distributions_and_images_have_one_version() -> None:
    """What CONTRIBUTING.md says of cutting a version: it is the same everywhere."""
    versions = {
        str(path.relative_to(ROOT)): tomllib.loads(path.read_text())["project"]["version"]
        for path in ROOT.glob("*/pyproject.toml")
    }
    assert len(versions) >= 8
    compose = (ROOT / "docker-compose.yml").read_text()
    versions |= dict(re.findall(r"image: (semblance-\w+):(\S+)", compose))
    assert len(set(versions.values())) == 1, versions
