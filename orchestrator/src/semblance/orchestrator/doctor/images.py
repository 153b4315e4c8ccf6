"""The image store. Its probe writes a file, reads it and removes it."""

import asyncio

from semblance.orchestrator.address import without_password
from semblance.orchestrator.doctor.finding import Check, Finding
from semblance.orchestrator.doctor.looks import ImageLook
from semblance.orchestrator.errors import NotFound, SemblanceError

# Of the whole probe, in seconds.
PATIENCE = 20.0

PROBE = Check(
    "image store", "probe", "a put is acknowledged when its images are durable, and fails where they can't be"
)


async def examine(url: str, images: ImageLook) -> list[Finding]:
    shown = without_password(url)
    mend = (
        "correct SEMBLANCE_IMAGE_STORE, the disk or its rights, or S3's variables (AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)"
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await images.probe()
    except NotFound as error:
        return [PROBE.ok(f"{error} yet; the first put makes it")]
    except TimeoutError:
        return [PROBE.failure(f"{shown} did not answer within {PATIENCE:g} s", mend)]
    except SemblanceError as error:
        return [PROBE.failure(str(error), mend)]
    return [PROBE.ok(f"{shown}: a file was written, read and removed")]
