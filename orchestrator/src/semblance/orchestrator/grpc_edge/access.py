"""The door: who calls, whether one of its roles opens the method, and whether it calls too often."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from inspect import isasyncgen
from typing import Any

import grpc

from semblance.orchestrator.caller import Caller, Role, current
from semblance.orchestrator.errors import Forbidden, RateLimited, SemblanceError, Unauthenticated
from semblance.orchestrator.grpc_edge.boundary import Behaviour, Context, Handler, around, refuse
from semblance.orchestrator.grpc_edge.callers import Callers

SEARCH = frozenset({Role.SEARCH, Role.ADMIN})
INGEST = frozenset({Role.INGEST, Role.ADMIN})
EVERY = SEARCH | INGEST
ADMIN = frozenset({Role.ADMIN})

# What is not named here, be it added tomorrow, is the admin's.
ROLES: Mapping[str, frozenset[Role]] = {
    "/semblance.v1.SearchService/Search": SEARCH,
    "/semblance.v1.SearchService/SearchStream": SEARCH,
    "/semblance.v1.CatalogService/Get": EVERY,
    "/semblance.v1.CatalogService/Count": EVERY,
    "/semblance.v1.CatalogService/List": EVERY,
    "/semblance.v1.CatalogService/Put": INGEST,
    "/semblance.v1.CatalogService/Delete": INGEST,
    # Of their own, unless they are admins.
    "/semblance.v1.FeedbackService/Give": SEARCH,
    "/semblance.v1.FeedbackService/List": SEARCH,
    "/semblance.v1.FeedbackService/Delete": SEARCH,
    "/inference.GRPCInferenceService/ServerLive": SEARCH,
    "/inference.GRPCInferenceService/ServerReady": SEARCH,
    "/inference.GRPCInferenceService/ServerMetadata": SEARCH,
    "/inference.GRPCInferenceService/ModelReady": SEARCH,
    "/inference.GRPCInferenceService/ModelMetadata": SEARCH,
    "/inference.GRPCInferenceService/ModelConfig": SEARCH,
    "/inference.GRPCInferenceService/ModelStatistics": SEARCH,
    "/inference.GRPCInferenceService/ModelInfer": SEARCH,
    "/inference.GRPCInferenceService/ModelStreamInfer": SEARCH,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": EVERY,
}
# Probes and balancers carry no tokens, and learn no more than whether it serves.
OPEN = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})


class Access(grpc.aio.ServerInterceptor):
    """Stands before all others. Whoever shows a token, or has to, is judged before the body of the request is read."""

    def __init__(self, callers: Callers, certificates: bool) -> None:
        """`certificates`: whoever connects has shown one that is trusted, and may be known by it."""
        self._callers = callers
        self._certificates = certificates

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        method = handler_call_details.method
        if method in OPEN:
            return await continuation(handler_call_details)
        token = _bearer_token(handler_call_details.invocation_metadata)
        try:
            if token is None and self._certificates:
                handler = await continuation(handler_call_details)
                return handler and around(handler, lambda behaviour: self._with_certificate(method, behaviour))
            self._by_token(token)
            handler = await continuation(handler_call_details)
            if handler is not None:
                _enter(partial(self._by_token, token), method)
        except SemblanceError as error:
            return _refusal(error)
        return handler

    def _by_token(self, token: str | None) -> Caller:
        if token is None:
            raise Unauthenticated(
                "this service asks who calls: send your token as metadata, authorization: Bearer <token>"
            )
        caller = self._callers.by_token(token)
        if caller is None:
            raise Unauthenticated("the token is not one of this service, or was revoked; ask its operator for another")
        return caller

    def _by_certificate(self, context: Context) -> Caller:
        names = [name.decode(errors="replace") for name in context.peer_identities() or ()]
        caller = self._callers.by_certificate(names)
        if caller is None:
            raise Unauthenticated(
                f"no caller of this service has the certificate of {', '.join(names) or 'nobody'}; send a token, or "
                "ask its operator to name your certificate"
            )
        return caller

    def _with_certificate(self, method: str, behaviour: Behaviour) -> Behaviour:
        """Judges when the call is answered: only then its connection is known, and with it the certificate."""

        async def answer(request: Any, context: Context) -> Any:
            try:
                _enter(partial(self._by_certificate, context), method)
            except SemblanceError as error:
                await refuse(context, error)
            answered = behaviour(request, context)
            if not isasyncgen(answered):
                return await answered
            # Reflection's is a generator.
            async for response in answered:
                await context.write(response)
            return None

        return answer


def _refusal(error: SemblanceError) -> Handler:
    """Ends a call of any method before its body is read, as only a handler of a stream can."""

    async def answer(requests: AsyncIterator[bytes], context: Context) -> None:
        await refuse(context, error)

    return grpc.stream_stream_rpc_method_handler(answer)


def _enter(find: Callable[[], Caller], method: str) -> None:
    caller = _permitted(find, method)
    if caller.rate is not None and (wait := caller.rate.take()):
        raise RateLimited(f"{caller.name} calls more often than agreed; wait {wait:.3f} s", wait)
    current.set(replace(caller, check=partial(_permitted, find, method)))


def _permitted(find: Callable[[], Caller], method: str) -> Caller:
    """Who calls, as the file of callers says now."""
    caller = find()
    needed = ROLES.get(method, ADMIN)
    if caller.roles.isdisjoint(needed):
        raise Forbidden(f"{caller.name} may not call {method}, which takes the role {' or '.join(sorted(needed))}")
    return caller


def _bearer_token(metadata: Any) -> str | None:
    """RFC 6750's, from the first `authorization`; gRPC has put the keys into lower case, and left in spaces before the
    value, as perf_analyzer sends them."""
    for key, value in metadata:
        if key == "authorization":
            scheme, _, token = str(value).strip().partition(" ")
            return token if scheme.lower() == "bearer" else ""
    return None
