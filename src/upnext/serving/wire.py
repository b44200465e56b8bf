"""Between HTTP and the engine: bodies in, JSON out, and the threads on which answers are computed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json, to_json

from upnext.serving.admission import Admission
from upnext.serving.engine import Engine
from upnext.serving.metrics import Metrics

MAX_BODY = 16 * 1024 * 1024  # bytes
EVENT_THREADS = 8  # they mostly wait for the disk, together


class Server:
    """What the routes share. Reads and writes have threads of their own, so neither waits behind the other."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self.engine, self.metrics = engine, metrics
        serving = engine.config.serving
        self.admission = Admission(serving.threads, serving.max_wait_ms / 1000, metrics.shed)
        self._reading = ThreadPoolExecutor(serving.threads, thread_name_prefix="answer")
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="console")
        self._events = ThreadPoolExecutor(EVENT_THREADS, thread_name_prefix="events")

    async def read(self, request: Request, work: Callable[[], Any]) -> Response:
        """Raises Overloaded when the answer is expected to take too long."""
        with self.admission.enter(_route(request)) as task:
            return await _respond(self._reading, lambda: task.run(lambda: _written(work())))

    async def write(self, work: Callable[[], Any]) -> Response:
        return await _respond(self._writing, work)

    async def write_events(self, work: Callable[[], Any]) -> Response:
        """For writes that may be under way at the same time: those that wait for each other become one."""
        return await _respond(self._events, work)

    async def aside(self, work: Callable[[], Any]) -> Response:
        """For what an operator asks, one thing at a time: searching millions of titles keeps no answer waiting."""
        return await _respond(self._aside, work)

    def close(self) -> None:
        for pool in (self._reading, self._writing, self._events, self._aside):
            pool.shutdown()


def server(request: Request) -> Server:
    """The server that a request came to."""
    found: Server = request.app.state.server
    return found


def _route(request: Request) -> str:
    path: str = request.scope["route"].path
    return path


class Unreadable(HTTPException):
    """A body that is no JSON at all."""

    def __init__(self, status: int, code: str, message: str, remedy: str) -> None:
        super().__init__(status, {"code": code, "message": message, "field": None, "remedy": remedy})


class StrictRequest(Request):
    """A request whose body is JSON of bounded size and depth, in UTF-8, without NaN; or else Unreadable."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            received = bytearray()
            async for chunk in self.stream():
                received += chunk
                if len(received) > MAX_BODY:
                    remedy = f"Send at most {MAX_BODY // 2**20} MiB a call"
                    raise Unreadable(413, "too_large", f"the body is larger than {MAX_BODY} bytes", remedy)
            self._body = bytes(received)
            kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
            if self._body and not (kind == "application/json" or kind.endswith("+json")):
                message = f"the content type is {kind[:80] or 'missing'!r}, expected application/json"
                raise Unreadable(415, "content_type", message, "Send `Content-Type: application/json`")
        return self._body

    async def json(self) -> Any:
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise Unreadable(400, "not_json", f"the body is not JSON: {error}", "Send JSON in UTF-8") from None


class StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strictly


class AdmittedRoute(StrictRoute):
    """A route whose answer is read: when the server is overloaded it refuses before it looks at the body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def admitted(request: Request) -> Response:
            server(request).admission.check(_route(request))
            return await handle(request)

        return admitted


def json_response(content: object, status: int = 200) -> Response:
    return Response(to_json(content), status, media_type="application/json")


async def _respond(pool: ThreadPoolExecutor, work: Callable[[], Any]) -> Response:
    """Runs ``work`` and writes its answer as JSON, both off the event loop: health is answered meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(pool, lambda: _written(work()))


def _written(result: object) -> Response:
    return result if isinstance(result, Response) else json_response(result)
