"""The catalogue's attributes and their types, kept in memory so that a search never waits for the metadata store."""

import asyncio
import logging
from collections.abc import Mapping

from semblance.orchestrator.errors import SemblanceError
from semblance.orchestrator.filter import Filter, check_filter
from semblance.orchestrator.item import Attributes, AttributeType
from semblance.orchestrator.ports import MetadataStore

log = logging.getLogger(__name__)

# How stale another orchestrator's new attribute may be, in seconds.
REFRESH_SECONDS = 1.0


class Schema:
    def __init__(self, metadata: MetadataStore) -> None:
        self._metadata = metadata
        self._types: Mapping[str, AttributeType] = {}

    def check(self, where: Filter) -> None:
        """Raises InvalidFilter where the catalogue can't be filtered like that."""
        check_filter(where, self._types)

    async def learn(self, attributes: Attributes) -> None:
        """Makes attributes that were just put known here at once."""
        if not attributes.keys() <= self._types.keys():
            await self.refresh()

    async def refresh(self) -> None:
        self._types = await self._metadata.attribute_types()

    async def refresh_forever(self) -> None:
        failing = False
        while True:
            try:
                await self.refresh()
                failing = False
            except SemblanceError as error:
                if not failing:
                    log.warning("filters are checked against the attributes known so far: %s", error)
                failing = True
            await asyncio.sleep(REFRESH_SECONDS)
