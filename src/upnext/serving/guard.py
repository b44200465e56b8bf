"""Around every request: the key, the clock, and the last resort for what nobody expected."""

from __future__ import annotations

import hmac
import logging
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from upnext.serving.failures import error_response
from upnext.serving.metrics import Metrics

_LOG = logging.getLogger("upnext.serving")

# Health and the console's own files need no key; the report is asked for with a ticket.
_OPEN = ("/v1/health/", "/health/", "/console/", "/v1/console/report/")


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics, api_key: str | None) -> None:
        self._app, self._metrics = app, metrics
        self._expected = None if api_key is None else f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if self._allowed(scope):
                await self._app(scope, receive, observed)
            else:
                await _refuse(scope, receive, observed)
        except Exception:
            reference = uuid.uuid4().hex
            _LOG.exception("unexpected error %s in %s %s", reference, scope["method"], scope["path"])
            if status == 0:
                message = f"something went wrong that nobody expected; the server's log has it as {reference}"
                await error_response(500, "internal", message)(scope, receive, observed)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.request(scope["method"], route, status, time.perf_counter() - started)

    def _allowed(self, scope: Scope) -> bool:
        if self._expected is None or scope["path"] == "/" or scope["path"].startswith(_OPEN):
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._expected)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    remedy = "Send `Authorization: Bearer KEY` with the key of serving.api_key"
    response = error_response(401, "unauthorized", "the API key is missing or wrong", "Authorization", remedy)
    response.headers["WWW-Authenticate"] = "Bearer"
    await response(scope, receive, send)
