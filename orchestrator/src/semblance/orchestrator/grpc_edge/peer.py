"""Who calls."""

from semblance.orchestrator.caller import ANYBODY, current
from semblance.orchestrator.grpc_edge.boundary import Context


def caller(context: Context) -> str:
    """Whom admission is fair to: who showed a token or certificate, or the host that the call comes from."""
    known = current.get()
    return context.peer().rpartition(":")[0] if known is ANYBODY else known.name
