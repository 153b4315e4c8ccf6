"""How many items each live release's collection lacks, looked at now and then by the keeper."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from semblance.orchestrator.errors import SemblanceError
from semblance.orchestrator.ports import Ports
from semblance.orchestrator.release import LIVE

log = logging.getLogger(__name__)

# Between two looks, in seconds: the metadata store counts.
LOOK_SECONDS = 5.0


class Backlog:
    def __init__(self, ports: Ports, keeps: Callable[[], bool]) -> None:
        """`keeps` tells whether this process is the keeper; of all orchestrators one counts."""
        self._ports = ports
        self._keeps = keeps
        # By the release's id; empty where another orchestrator counts.
        self.items: Mapping[str, int] = {}

    async def watch_forever(self) -> None:
        while True:
            try:
                await self.look()
            except SemblanceError as error:
                # The probe of the metadata store tells of it.
                self.items = {}
                log.debug("unsettled items could not be counted: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        found = {}
        if self._keeps():
            for each in await self._ports.registry.releases():
                if each.state in LIVE:
                    found[each.release_id] = await self._ports.metadata.count_unsettled(
                        each.release.collection, datetime.now(UTC)
                    )
        self.items = found
