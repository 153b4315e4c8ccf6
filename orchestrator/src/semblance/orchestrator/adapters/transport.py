"""How a request's input reaches Triton: in shared memory where Triton runs on this host, else in the message.

Triton's system shared-memory extension: each slot is a region that is registered once. Triton counts the requests that
use a region and refuses to unregister it before the last one has ended; so the slot of a request that was not answered
is replaced as soon as Triton gives it up.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import grpc
from grpc import StatusCode
from tritonclient.grpc import service_pb2

from semblance.orchestrator.adapters import shared_memory
from semblance.orchestrator.adapters.ring import Ring, Slot
from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable
from semblance.orchestrator.ports import TransportUse

log = logging.getLogger(__name__)

# Holds 8 letterboxed photos of 640 × 640, or 69 crops of 224 × 224.
SLOT_BYTES = 10 * 2**20
# Of one call, in seconds.
CALL_TIMEOUT = 5.0
# Between two looks at a region that Triton still uses, and before another try where it is away or refuses, in seconds.
IN_USE_POLL = 0.02
AWAY_RETRY = 0.5
REFUSED_RETRY = 30.0
# Between two lines of the log about inputs that went in messages, in seconds.
TELL_EVERY = 60.0

# What Triton says, with the status INTERNAL as for much else (`src/shared_memory_manager.cc` of its server).
IN_USE = "currently in use"


class Mode(StrEnum):
    AUTO = "auto"
    SHARED_MEMORY = "shared_memory"
    BYTES = "bytes"


class Way(StrEnum):
    """How an input went, and why in the message."""

    SHARED_MEMORY = "shared_memory"
    # As it was set, or because Triton does not take our memory.
    BYTES = "bytes"
    RING_FULL = "bytes_ring_full"
    TOO_LARGE = "bytes_too_large"
    # Without the rows of a caller who had left.
    PARTIAL = "bytes_partial"
    # Again, because Triton had lost its regions in a restart.
    REPEATED = "bytes_repeated"


class Transport:
    """Keeps slots registered with the Triton behind `stub`, until it is closed."""

    def __init__(self, stub: Any, url: str, mode: Mode, slots: int) -> None:
        self._stub = stub
        self._url = url
        self._mode = mode
        self._slots = slots
        self._ring = Ring(slots)
        # Inputs by the way that they took.
        self.inputs: Counter[Way] = Counter()
        # Whether Triton takes our memory: None before it has said, "" if it does, else why not.
        self._refusal: str | None = None
        self._tell_at = -math.inf
        self._judged = asyncio.Event()
        self._keeping = None if mode is Mode.BYTES else asyncio.create_task(self._keep())

    def __len__(self) -> int:
        """Slots that Triton has."""
        return len(self._ring)

    def use(self) -> TransportUse:
        return TransportUse(
            {str(way): inputs for way, inputs in self.inputs.copy().items()}, len(self), self._ring.free
        )

    async def close(self) -> None:
        if self._keeping is None:
            return
        self._keeping.cancel()
        await asyncio.wait({self._keeping})
        if self._judged.is_set():
            await self._unregister_all(lambda name: name.startswith(shared_memory.own_prefix()))

    def lease(self, size: int) -> Slot | Way:
        """Room for inputs of `size` bytes, which is given back or retired; or why they go in the message. From any
        thread."""
        if self._refusal != "" and not len(self._ring):
            return Way.BYTES
        if size > SLOT_BYTES:
            return Way.TOO_LARGE
        return self._ring.lease() or Way.RING_FULL

    def give_back(self, slot: Slot) -> None:
        """Triton has answered the slot's request, or was never asked."""
        self._ring.give_back(slot)

    def retire(self, slot: Slot) -> None:
        """The slot's request ended in another way, or somebody may still write to the slot."""
        self._ring.retire(slot)

    def lost(self, inputs: int) -> None:
        """Triton has lost its regions, and so many inputs that were in one are sent again."""
        self.count(Way.REPEATED, inputs)
        self._ring.retire_free()

    async def judged(self, timeout: float) -> None:
        """Waits until Triton has said whether it takes our memory.

        Raises ContractMismatch where it has none of it, and nothing else is wanted; DependencyUnavailable where it has
        not said so after `timeout` seconds.
        """
        if self._keeping is None:
            return
        try:
            async with asyncio.timeout(timeout):
                await self._judged.wait()
        except TimeoutError:
            raise DependencyUnavailable(
                f"Triton at {self._url} did not say within {timeout:.3g} s whether it takes shared memory; set "
                "SEMBLANCE_TRANSPORT to bytes where it never will"
            ) from None
        if self._refusal and not len(self._ring) and self._mode is Mode.SHARED_MEMORY:
            raise ContractMismatch(
                f"transport is {self._mode}, and Triton at {self._url} does not take it: {self._refusal}; run both on "
                "one host with one /dev/shm, or set SEMBLANCE_TRANSPORT to auto"
            )

    def count(self, way: Way, inputs: int = 1) -> None:
        """Inputs that went in this way. Tells the operator, now and then, of those that should have gone in shared
        memory."""
        self.inputs[way] += inputs
        if way is not Way.SHARED_MEMORY and self._keeping is not None and time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + TELL_EVERY
            log.warning("inputs so far, by the way they took: %s", {str(each): n for each, n in self.inputs.items()})

    async def _keep(self) -> None:
        """Replaces what is worn, for ever."""
        shared_memory.remove_stale()
        while True:
            worn = await self._ring.worn.get()
            fresh = shared_memory.new_name()
            try:
                if worn is not None:
                    await self._unregister(worn)
                worn = fresh
                self._ring.renewed(await self._register(fresh))
            except (grpc.aio.AioRpcError, OSError) as error:
                self._ring.worn.put_nowait(worn)
                await asyncio.sleep(self._failed(error))
            else:
                await self._accepted()

    async def _register(self, name: str) -> Slot:
        with shared_memory.named(name, SLOT_BYTES) as memory:
            await self._stub.SystemSharedMemoryRegister(
                service_pb2.SystemSharedMemoryRegisterRequest(name=name, key=f"/{name}", byte_size=SLOT_BYTES),
                timeout=CALL_TIMEOUT,
            )
        return Slot(name, memory)

    async def _unregister(self, name: str) -> None:
        """Does nothing where Triton does not know the region."""
        await self._stub.SystemSharedMemoryUnregister(
            service_pb2.SystemSharedMemoryUnregisterRequest(name=name), timeout=CALL_TIMEOUT
        )

    async def _unregister_all(self, chosen: Callable[[str], bool]) -> None:
        """What is registered stays allocated, even where its maker has ended."""
        request = service_pb2.SystemSharedMemoryStatusRequest()
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                for name in (await self._stub.SystemSharedMemoryStatus(request)).regions:
                    if chosen(name):
                        await self._unregister_unless_used(name)
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            log.info("Triton at %s may keep memory that nobody needs: %s", self._url, error)

    async def _unregister_unless_used(self, name: str) -> None:
        try:
            await self._unregister(name)
        except grpc.aio.AioRpcError as error:
            if IN_USE not in (error.details() or ""):
                raise
            log.info("Triton at %s still uses region %s; the next start removes it", self._url, name)

    async def _accepted(self) -> None:
        if self._refusal == "":
            return
        self._refusal = ""
        log.info("inputs reach Triton at %s in shared memory", self._url)
        await self._unregister_all(shared_memory.is_stale)
        self._judged.set()

    def _failed(self, error: grpc.aio.AioRpcError | OSError) -> float:
        """Seconds to the next try."""
        if isinstance(error, OSError):
            reason = f"{shared_memory.FOLDER} has no room for {SLOT_BYTES} bytes more: {error.strerror}"
        elif IN_USE in (error.details() or ""):
            return IN_USE_POLL
        elif error.code() in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED):
            return AWAY_RETRY
        else:
            reason = error.details() or error.code().name
        if not self._refusal:
            log.warning("with %d of %d slots: %s", len(self._ring), self._slots, reason)
        self._refusal = reason
        self._judged.set()
        return REFUSED_RETRY
