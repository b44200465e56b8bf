"""The real server as a process of its own, for benchmarks: started, waited for, asked, weighed, ended, killed."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT_S = 120.0


class ServerProcess:
    """``upnext serve`` over a home, with these other ``words``. ``start_s`` is how long it took until it was ready."""

    def __init__(self, home: Path, settings: Sequence[str] = (), workers: int = 1, words: Sequence[str] = ()) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        overrides = [f"--set={setting}" for setting in settings]
        command = [sys.executable, "-m", "upnext", "serve", "--home", str(home), "--port", str(self.port)]
        if workers > 1:
            words = (*words, "--workers", str(workers))
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, *words, *overrides], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self._wait()
        self.start_s = time.perf_counter() - started

    def client(self) -> Client:
        return Client(self.port)

    def resident_mb(self) -> float:
        """What of its memory is resident now, in MiB: pages of mapped files included, those that workers share once."""
        return sum(_resident_kb(pid) for pid in self._processes()) / 1024

    def cpu_s(self) -> float | None:
        """CPU seconds that it has used until now; None where the system has no /proc to read it from."""
        used = [Path(f"/proc/{pid}/stat") for pid in self._processes()]
        if not used[0].exists():
            return None
        # The name before the last bracket may hold anything.
        fields = [told.read_text(encoding="utf-8").rpartition(")")[2].split() for told in used]
        return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")

    def _processes(self) -> list[int]:
        """The server, and its workers."""
        told = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True).stdout.split()
        children = [pid for pid, parent in zip(told[::2], told[1::2], strict=True) if int(parent) == self.process.pid]
        return [self.process.pid, *(int(pid) for pid in children)]

    def end(self) -> None:
        """In good order."""
        self.process.terminate()
        self.process.communicate()

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.communicate()

    def _wait(self) -> None:
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                said = self.process.communicate()[1].decode()
                raise SystemExit(f"the server ended with status {self.process.returncode}: {said[-2000:]}")
            try:
                with Client(self.port, timeout=5) as client:
                    if client.raw("GET", "/v1/health/ready")[0] == 200:
                        return
            except OSError:
                pass
            time.sleep(0.02)
        self.kill()
        raise SystemExit(f"the server was not ready within {WAIT_S:.0f} s")


class Client:
    """One connection that is kept. Not for several threads."""

    def __init__(self, port: int, timeout: float = 60) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def __call__(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and answer. Raises OSError or http.client.HTTPException when the server is gone."""
        status, answer = self.raw(method, path, body)
        return status, json.loads(answer or b"null")

    def raw(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Status and the bytes of the answer."""
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise


@contextmanager
def serving(home: Path, settings: Sequence[str] = (), workers: int = 1) -> Iterator[ServerProcess]:
    server = ServerProcess(home, settings, workers)
    try:
        yield server
    finally:
        server.end()


def _resident_kb(pid: int) -> int:
    """Of a page that several processes hold, this one's share, where the system tells it."""
    shares = Path(f"/proc/{pid}/smaps_rollup")
    if shares.exists():
        lines = shares.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return int(subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True).stdout)
