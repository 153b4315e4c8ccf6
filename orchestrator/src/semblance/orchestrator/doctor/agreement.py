"""The settings against each other. What contradicts itself the service refuses already."""

from semblance.orchestrator.address import is_loopback
from semblance.orchestrator.bootstrap import door
from semblance.orchestrator.doctor.finding import Check, Finding
from semblance.orchestrator.settings import Settings, SettingsError

# A build that has more of the models' time leaves searches a wait of several batches.
MOST_BUILD_SHARE = 0.8
# Loading compiles the graph and warms every batch size.
LEAST_STARTUP_WAIT = 60.0

DOOR = Check("settings", "door", "whoever reaches the port without TLS and callers may search, put, delete and retire")
DEADLINES = Check("settings", "deadlines", "requests are cut short in another place than the caller was told of")
DRAIN = Check("settings", "drain", "searches that were accepted fail when the service is stopped")
STARTUP = Check("settings", "start", "models are compiled and warmed when they are loaded, for minutes on a slow host")
BUILDS = Check("settings", "builds", "searches wait behind the batches of a build, and are refused for it")


def examine(settings: Settings) -> list[Finding]:
    return [entrance(settings), deadlines(settings), drain(settings), startup(settings), builds(settings)]


def entrance(settings: Settings) -> Finding:
    """Reads the files of certificates and callers."""
    try:
        door(settings)
    except SettingsError as error:
        return DOOR.failure(str(error), "correct the file, or the setting that names it; docs/security.md has both")
    shields = [
        name for name, given in (("TLS", settings.tls_certificate), ("callers with tokens", settings.callers)) if given
    ]
    found = f"{settings.listen}, with {' and '.join(shields) or 'neither TLS nor callers'}"
    if is_loopback(settings.listen):
        return DOOR.ok(f"{found}, reached from this host alone")
    if len(shields) < 2:
        return DOOR.warning(
            f"{found}, because SEMBLANCE_INSECURE_LISTEN says so",
            "set SEMBLANCE_TLS_CERTIFICATE, SEMBLANCE_TLS_KEY and SEMBLANCE_CALLERS, unless something before the port "
            "keeps strangers out",
        )
    return DOOR.ok(found)


def deadlines(settings: Settings) -> Finding:
    found = f"{settings.default_deadline:g} s by default, {settings.max_deadline:g} s at most"
    if settings.default_deadline > settings.max_deadline:
        return DEADLINES.warning(found, "set SEMBLANCE_DEFAULT_DEADLINE to no more than SEMBLANCE_MAX_DEADLINE")
    return DEADLINES.ok(found)


def drain(settings: Settings) -> Finding:
    found = f"{settings.drain_grace:g} s for calls in flight, whose deadline is {settings.default_deadline:g} s"
    if settings.drain_grace < min(settings.default_deadline, settings.max_deadline):
        return DRAIN.warning(found, "set SEMBLANCE_DRAIN_GRACE to no less than SEMBLANCE_DEFAULT_DEADLINE")
    return DRAIN.ok(found)


def startup(settings: Settings) -> Finding:
    found = f"waits {settings.startup_wait:g} s for what it needs"
    if settings.startup_wait < LEAST_STARTUP_WAIT:
        return STARTUP.warning(
            found, f"set SEMBLANCE_STARTUP_WAIT to {LEAST_STARTUP_WAIT:g} or more; the default is 600"
        )
    return STARTUP.ok(found)


def builds(settings: Settings) -> Finding:
    found = f"{settings.build_share:.0%} of the models' time while searches are served"
    if settings.build_share > MOST_BUILD_SHARE:
        return BUILDS.warning(found, f"set SEMBLANCE_BUILD_SHARE to {MOST_BUILD_SHARE:g} or less")
    return BUILDS.ok(found)
