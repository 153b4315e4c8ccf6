"""`semblance doctor`."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

import click
from rich.console import Console

from semblance.orchestrator.adapters.images import FileImageStore
from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.adapters.metadata import Database, SqlMetadataStore, SqlRegistry
from semblance.orchestrator.adapters.metadata.inspection import DatabaseInspection
from semblance.orchestrator.adapters.milvus import MilvusIndex
from semblance.orchestrator.adapters.transport import Mode
from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.adapters.triton_inspection import TritonInspection
from semblance.orchestrator.address import is_loopback
from semblance.orchestrator.command import setting_options, settings_of
from semblance.orchestrator.doctor import report
from semblance.orchestrator.doctor.database import Stores
from semblance.orchestrator.doctor.examination import Parts, examine
from semblance.orchestrator.doctor.finding import Finding, Outcome
from semblance.orchestrator.doctor.host import Host
from semblance.orchestrator.doctor.triton import Server
from semblance.orchestrator.settings import Settings

WELL, ILL = 0, 1
# The table's width where the output is none's terminal.
WIDTH = 120


@click.command(short_help="Check all that the service needs.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@setting_options(*Settings.model_fields)
def doctor(as_json: bool, **flags: str | None) -> None:
    """Check all that the service needs, and say how to mend what is wrong.

    It takes the settings of `semblance serve`, and looks at this host, the model repository, Triton, Milvus, the
    database, the image store, the live releases, and the settings against each other, all at once. It may run before
    the service is started and while it runs, and changes nothing, but for two probes: a file is written to the image
    store, read and removed, and a page of shared memory is registered with Triton and unregistered. Models compute
    their golden pictures.

    The exit status is 0 where nothing failed, warnings or not, 1 where something did, and 2 where a setting or an
    argument is wrong.
    """
    # What is logged on the way is in the findings; without a handler it would go to stderr.
    logging.getLogger("semblance").addHandler(logging.NullHandler())
    settings = settings_of(flags)
    try:
        findings = asyncio.Runner().run(_examine(settings))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        click.echo(report.as_json(findings))
    else:
        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        console.print(report.table(findings))
        console.print(report.summary(findings), highlight=False)
    sys.stdout.flush()
    # The interpreter would wait for threads that hang in a store which does not answer.
    os._exit(ILL if any(finding.outcome is Outcome.FAILURE for finding in findings) else WELL)


async def _examine(settings: Settings) -> list[Finding]:
    async with opened(settings) as parts:
        return await examine(settings, parts)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Parts]:
    """Connects to nothing yet. Raises ValueError where an address is not one."""
    async with AsyncExitStack() as stack:
        database = Database(settings.metadata_url, read_only=True)
        stack.push_async_callback(database.close)
        index = MilvusIndex(settings.milvus_uri, settings.milvus_token.get_secret_value())
        stack.push_async_callback(index.close)
        images = FileImageStore(settings.image_store)
        stack.push_async_callback(images.close)
        tritons = []
        for url in settings.triton_url.split(","):
            look, inference = TritonInspection(url), TritonServer(url, Mode.BYTES, slots=0)
            stack.push_async_callback(look.close)
            stack.push_async_callback(inference.close)
            local = await asyncio.to_thread(is_loopback, url)
            tritons.append(Server(f"Triton at {url}", look, inference, local))
        yield Parts(
            Host.read(),
            FileModelRepository(settings.model_repository),
            tritons,
            index,
            await asyncio.to_thread(is_loopback, urlsplit(settings.milvus_uri).netloc),
            Stores(
                DatabaseInspection(settings.metadata_url, database), SqlMetadataStore(database), SqlRegistry(database)
            ),
            images,
        )
