"""Makes the secrets that docker-compose.yml mounts, where they are missing: `python3 deploy/credentials.py [FOLDER]`.

A container's user reads its secrets as the host's files are, by no other right than theirs: so everybody may read the
files, and nobody but their owner gets into the folder.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex

FOLDER = Path(__file__).resolve().parent / "secrets"


def contents(standing: Mapping[str, str]) -> dict[str, str]:
    """The text of each file, by the passwords that stand; new ones have 192 random bits, which no URL has to escape."""
    passwords = ("postgresql_password", "milvus_password", "minio_password", "grafana_password")
    database, milvus, minio, grafana = (standing.get(name) or token_hex(24) for name in passwords)
    return {
        "postgresql_password": database,
        "semblance_metadata_url": f"postgresql+psycopg://semblance:{database}@postgresql/semblance",
        "milvus_password": milvus,
        "semblance_milvus_token": f"root:{milvus}",
        "minio_password": minio,
        "grafana_password": grafana,
        "aws_credentials": f"[default]\naws_access_key_id = semblance\naws_secret_access_key = {minio}",
    }


def write(folder: Path) -> list[str]:
    """Writes the files that are missing, and gives their names. What stands stays: the stores know these passwords."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    standing = {path.name: path.read_text().strip() for path in folder.iterdir()}
    missing = {name: text for name, text in contents(standing).items() if name not in standing}
    for name, text in missing.items():
        path = folder / name
        path.write_text(f"{text}\n")
        path.chmod(0o444)
    return list(missing)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    print(f"credentials: made {', '.join(write(folder)) or 'none, all are there'} in {folder}")
