import sys

from tests.kubernetes import agreement, schemas
from tests.kubernetes.built import BuildError, Built


def main() -> None:
    try:
        built = Built.of()
    except BuildError as error:
        sys.exit(str(error))
    found = [*schemas.problems(built), *agreement.problems(built), *agreement.undocumented(built)]
    if found:
        sys.exit("\n".join(f"deploy/kubernetes: {problem}" for problem in found))


if __name__ == "__main__":
    main()
