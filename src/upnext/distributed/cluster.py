"""The Ray cluster that a command works on: joined by its address, or one of this machine's own for as long as it runs.

Ray is an extra: this folder alone imports it, and only where --ray is given.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from upnext.errors import ConfigError, UpnextError

LOCAL = "local"
LOOPBACK = "127.0.0.1"
REACHED_S = 5.0  # a head that takes longer to pick up is away: Ray itself would try for minutes


@contextmanager
def cluster(address: str, cpus: int | None = None) -> Iterator[None]:
    """Be connected to the cluster at ``address`` (host:port of its head); ``local`` starts one, and ends it after.

    ``cpus`` is how many a local one has; None = the machine's. Raises ConfigError where Ray is not installed, and
    UpnextError where no cluster answers at the address.
    """
    need_ray(address)
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == LOCAL:
            ray.init(num_cpus=cpus, include_dashboard=False, _node_ip_address=LOOPBACK, **quiet)
        else:
            _reach(address)
            ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise UpnextError(
            f"--ray {address}: no Ray cluster answers there ({_first_line(error)}). Start one with `ray start --head`, "
            f"and give the address that it prints; or give `{LOCAL}` for one on this machine"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def need_ray(address: str) -> None:
    """Before Ray is imported, which reads its environment once. Raises ConfigError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    if address == LOCAL and "RAY_AUTH_TOKEN" not in os.environ:
        # Ray's processes listen on every address of the machine: only who knows this token is answered.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import ray  # noqa: F401
    except ImportError:
        raise ConfigError("--ray needs ray, which is not installed: pip install 'upnext[ray]'") from None


def _reach(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("expected host:port")
    socket.create_connection((host.strip("[]"), int(port)), REACHED_S).close()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
