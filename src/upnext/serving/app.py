"""The HTTP server: the app, and running it. Routes are in routes_*.py, the work in engine.py."""

from __future__ import annotations

import errno
import gc
import ipaddress
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from threadpoolctl import threadpool_limits

from upnext import __version__
from upnext.build import Elsewhere
from upnext.errors import ConfigError
from upnext.home import Home
from upnext.serving import failures, routes_console, routes_health, routes_read, routes_write
from upnext.serving.chores import Chore
from upnext.serving.console import assets
from upnext.serving.engine import Engine
from upnext.serving.guard import Guard
from upnext.serving.metrics import Metrics, counting_folder
from upnext.serving.recent import Recent
from upnext.serving.wire import Server
from upnext.serving.workers import Supervisor, end_with_supervisor

_ABOUT = (
    "What should this person see next? Errors are JSON: {error: {code, message, field, remedy}}. Ids are any strings "
    "of yours. Times are Unix milliseconds or seconds, or ISO 8601."
)

NEWS_S, UPKEEP_S, RECALL_S = 0.2, 1.0, 30.0  # between the rounds of a chore
SWITCH_SECONDS = 0.0005
KEEP_ALIVE_S = 75  # longer than the pools of clients and proxies keep an idle connection, mostly 60


def create_app(home: Home, keeper: bool = True, elsewhere: Elsewhere | None = None, several: bool = False) -> FastAPI:
    """The app over a home; it opens it when it starts, and closes it when it ends.

    Of several processes that serve a home one is its ``keeper``: it writes the snapshots. For the rest see Engine.

    Raises what Engine raises: the home is opened before anything listens.
    """
    recent = Recent()
    metrics = Metrics(recent)
    engine = Engine(home, [metrics], elsewhere=elsewhere, several=several)
    here = Server(engine, metrics)
    console = routes_console.Console.of(engine, recent)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        chores = [*chores_of(engine, keeper), Chore("dials", console.dials.take_up, UPKEEP_S)]
        for chore in chores:
            chore.start()
        yield
        for chore in chores:
            chore.stop()
        if keeper:
            engine.save_state()
        here.close()
        engine.close()

    app = FastAPI(
        title="upnext",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.server, app.state.console = here, console
    failures.install(app)
    app.add_middleware(Guard, metrics=metrics, api_key=home.config.serving.api_key)
    app.include_router(routes_read.router)
    app.include_router(routes_write.router)
    app.include_router(routes_health.health, prefix="/v1")
    app.include_router(routes_health.health, include_in_schema=False)
    app.include_router(routes_health.router)
    app.include_router(routes_console.router)
    app.include_router(assets.router)
    return app


def chores_of(engine: Engine, keeper: bool) -> list[Chore]:
    """What a server does beside answering."""

    def news() -> None:
        """What other processes wrote, and ticks that have closed."""
        engine.refresh()
        engine.live.state.advance(engine.clock.now())

    chores = [
        Chore("news", news, NEWS_S),
        Chore("models", engine.reload, engine.home.models().look_s),
        Chore("lists", engine.keep_up, UPKEEP_S),
        Chore("index", engine.rebuild_index, UPKEEP_S, gentle=True),
        Chore("recall", engine.measure_index, RECALL_S, gentle=True),
    ]
    if keeper:
        often = engine.config.storage.snapshot_events
        chores.append(Chore("snapshots", lambda: engine.save_state(often), UPKEEP_S))
    return chores


def run_server(
    home: Home,
    host: str | None = None,
    port: int | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
    worker_command: Sequence[str] | None = None,
) -> None:
    """Serve until interrupted. ``on_ready`` is called with the address once it answers; port 0 = any free one.

    With ``serving.workers`` above 1, ``worker_command`` is what starts each of them. Raises ConfigError when it must
    not or cannot listen there.
    """
    serving = home.config.serving
    host, port = serving.host if host is None else host, serving.port if port is None else port
    need_key(home, host)
    listener = listen(host, port)
    url = _url(host, listener)
    try:
        if serving.workers == 1 or worker_command is None:
            serve_on(home, listener, lambda: on_ready(url))
        else:
            folder = counting_folder(home.directory)
            Supervisor(worker_command, listener, serving.workers, folder).run(lambda: on_ready(url))
    finally:
        listener.close()


def need_key(home: Home, host: str) -> None:
    """Raises ConfigError where others could reach a server that asks for no key."""
    if home.config.serving.api_key is None and not _is_loopback(host):
        raise ConfigError(
            f"serving.host {host!r} can be reached from other machines, and serving.api_key is not set. Set a key "
            "(UPNEXT__SERVING__API_KEY=...), or listen on 127.0.0.1."
        )


def run_worker(home: Home, number: int, listener: int, ready: int, lifeline: int) -> None:
    """One of several processes, with the file descriptors that the supervisor handed down."""
    end_with_supervisor(lifeline)
    serve_on(home, socket.socket(fileno=listener), lambda: os.write(ready, b"."), keeper=number == 0)


def serve_on(home: Home, listener: socket.socket, on_ready: Callable[[], object], keeper: bool = True) -> None:
    """Answer what comes in at ``listener`` until interrupted. One process a home is its ``keeper``."""
    with threadpool_limits(1, "blas"):  # on matrices this small, threads would only wait for each other
        app = create_app(home, keeper)
        settle()
        config = uvicorn.Config(
            app, access_log=False, log_level="warning", timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=10
        )
        _Uvicorn(config, on_ready).run(sockets=[listener])


def settle() -> None:
    """Make this process one that answers: it has opened its home."""
    # A stage that comes back from native code waits this long for the interpreter; the default 5 ms is an answer.
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # the catalogue and the models are never garbage: no answer waits for a look at them


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"port {port} on {host} is in use. Choose another with --port, or 0 for any.") from None
        raise ConfigError(f"cannot listen on {host}:{port} ({error.strerror or error}).") from error


def _url(host: str, listener: socket.socket) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
