"""How what the service needs is put together, and taken apart."""

import asyncio
from pathlib import Path

import pytest

from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.bootstrap import real_ports
from semblance.orchestrator.settings import Settings

PATIENCE = 10.0


async def test_tritons_are_closed_at_once_as_each_may_be_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everyone, close = asyncio.Barrier(3), TritonServer.close

    async def waits_for_the_others(server: TritonServer) -> None:
        async with asyncio.timeout(PATIENCE):
            await everyone.wait()
        await close(server)

    monkeypatch.setattr(TritonServer, "close", waits_for_the_others)
    settings = Settings.read(
        {
            "triton_url": "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3",
            "transport": "bytes",
            "metadata_url": f"sqlite:///{tmp_path / 'metadata.db'}",
            "image_store": f"file://{tmp_path / 'images'}",
            "model_repository": str(tmp_path),
        }
    )
    async with real_ports(settings) as ports:
        assert len(ports.models) == 3
