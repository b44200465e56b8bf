"""``upnext serve --ray``: replicas of the server behind Ray Serve, each the same app over the same home.

Every replica tails the log and takes up new versions by itself, as the workers of one machine do: what one is told the
others know within a tail's round, and a newly published version rolls through them without a request lost.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import serve
from threadpoolctl import threadpool_limits

from upnext.distributed.cluster import LOCAL, cluster
from upnext.distributed.shards import Shards, start_shards
from upnext.errors import ConfigError, UpnextError
from upnext.home import Home
from upnext.serving.app import KEEP_ALIVE_S, create_app, listen, need_key, settle
from upnext.serving.metrics import counting_folder

APPLICATION = "upnext"
QUEUE = 128  # requests that one replica may hold: beyond what it can do in time, it refuses by itself
TARGET = 4  # requests under way in a replica on average, from which on another is started
BUSY_S = 5.0  # that it must have been so for
END_S = 15.0  # for requests under way, when a replica is ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How many replicas at least and at most, and over how many shards the item vectors are spread (0 = none)."""

    least: int = 1
    most: int = 1
    shards: int = 0


def serve_on_ray(
    home: Home,
    overrides: Sequence[str],
    address: str,
    wanted: Wanted,
    host: str | None = None,
    port: int | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
    until: threading.Event | None = None,
) -> None:
    """Serve on the cluster at ``address`` until interrupted, or until ``until`` is set.

    Raises ConfigError for what cannot be served so, UpnextError where no replica gets ready.
    """
    host = home.config.serving.host if host is None else host
    port = home.config.serving.port if port is None else port
    need_key(home, host)
    listener = listen(host, port)  # is the port free?
    port = listener.getsockname()[1]
    listener.close()
    ended = threading.Event() if until is None else until
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # that it is ready is said once, by on_ready
    version = home.models().active()
    with cluster(address, cpus=None if address != LOCAL else _cores(wanted)):
        _check_log(home)
        shards = start_shards(home.directory, overrides, wanted.shards, version) if wanted.shards else []
        try:
            serve.start(
                proxy_location="HeadOnly" if address == LOCAL else "EveryNode",
                http_options={"host": host, "port": port, "keep_alive_timeout_s": KEEP_ALIVE_S},
            )
            _run(home, overrides, wanted)
            on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
            _until(ended)
        finally:
            serve.shutdown()
            for shard in shards:
                ray.kill(shard)


class Replica:
    """One server, without a socket of its own: Ray Serve hands it the requests."""

    def __init__(self, directory: str, overrides: tuple[str, ...], shards: int) -> None:
        self._directory, self._overrides, self._shards = Path(directory), overrides, shards

    def __serve_build_asgi_app__(self) -> Any:
        home = Home.open(self._directory, self._overrides)
        elsewhere = Shards(home.directory, self._shards) if self._shards else None
        threadpool_limits(1, "blas")  # on matrices this small, threads would only wait for each other
        app = create_app(home, keeper=_first(), elsewhere=elsewhere, several=True)
        settle()
        return app


def _run(home: Home, overrides: Sequence[str], wanted: Wanted) -> None:
    environment = {
        "OMP_NUM_THREADS": "1",
        "PROMETHEUS_MULTIPROC_DIR": str(counting_folder(home.directory.resolve())),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    scaling: dict[str, Any] = {"num_replicas": wanted.least}
    if wanted.most > wanted.least:
        bounds = {"min_replicas": wanted.least, "max_replicas": wanted.most, "target_ongoing_requests": TARGET}
        scaling = {"autoscaling_config": {**bounds, "upscale_delay_s": BUSY_S}}
    replicas = serve.deployment(
        name="server",
        ray_actor_options={"num_cpus": 1, "runtime_env": {"env_vars": environment}},
        max_ongoing_requests=QUEUE,
        graceful_shutdown_timeout_s=END_S,
        health_check_period_s=1.0,
        health_check_timeout_s=10.0,
        **scaling,
    )(serve.ingress()(Replica))
    application = replicas.bind(str(home.directory.resolve()), tuple(overrides), wanted.shards)
    try:
        serve.run(application, name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        raise UpnextError(f"no replica got ready: {_why(error)}") from None


def _why(error: RuntimeError) -> str:
    """What the application's status says of it."""
    message = serve.status().applications[APPLICATION].message if APPLICATION in serve.status().applications else ""
    lines = [line for line in (message or str(error)).splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("upnext.errors.")]
    return (ours or lines or ["no reason was given"])[-1].partition("Error: ")[2] or lines[-1]


def _first() -> bool:
    rank = serve.get_replica_context().rank
    return int(getattr(rank, "rank", rank)) == 0


def _cores(wanted: Wanted) -> int:
    """A local cluster has room for whatever is asked of it."""
    return max(os.cpu_count() or 1, wanted.most + wanted.shards + 1)


def _check_log(home: Home) -> None:
    """Raises ConfigError where the log is a file of one machine, and the cluster has several."""
    machines = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if len(machines) > 1 and home.config.storage.log.startswith("sqlite"):
        raise ConfigError(
            f"storage.log {home.config.storage.log!r} is a file of one machine, and the cluster has {len(machines)}. "
            "Move the log to PostgreSQL first: `upnext migrate`, docs/storage.md"
        )


def _until(ended: threading.Event) -> None:
    """Until it is set, or this process is told to end."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
    ended.wait()
