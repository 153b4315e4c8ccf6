"""A worker of several: `python -m semblance.orchestrator.worker NUMBER`, with SEMBLANCE_* variables."""

import logging
import sys

from semblance.orchestrator.address import AddressInUse
from semblance.orchestrator.errors import SemblanceError
from semblance.orchestrator.logs import log_to_stderr
from semblance.orchestrator.process import serve
from semblance.orchestrator.settings import Settings, SettingsError

log = logging.getLogger(__name__)


def main(number: int) -> None:
    settings = Settings.read({})
    log_to_stderr(settings.log_level)
    try:
        serve(settings, number)
    except (AddressInUse, SemblanceError, SettingsError) as error:
        log.critical("%s", error)
        sys.exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
