"""A real PostgreSQL server in a folder of its own, for tests and benchmarks: made, started, restarted, killed, removed.

Debian keeps the programs that this needs out of the path: /usr/lib/postgresql/15/bin.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

START_S = 60.0
_SETTINGS = ("listen_addresses=127.0.0.1", "logging_collector=off", "max_connections=50")


def programs() -> Path | None:
    """The newest folder with initdb and postgres; None where PostgreSQL's server is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found and (initdb := shutil.which("initdb")):
        found = [Path(initdb).resolve()]
    return found[-1].parent if found else None


class Server:
    """Runs from the start to ``close``. Trusts whoever connects from this machine."""

    def __init__(self, settings: Sequence[str] = (), folder: Path | None = None, port: int = 0) -> None:
        """``settings`` such as "fsync=off"; ``folder`` for the data, a temporary one by default."""
        found = programs()
        assert found is not None, "PostgreSQL's server is not installed: `make postgres` does it"
        self._programs, self.port = found, port or _free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="upnext-postgres-", dir=folder))
        self._settings = [f"-c{entry}" for entry in (*_SETTINGS, *settings)]
        # The server refuses to run as root: its files and its process belong to the package's user then.
        self._user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        if self._user:
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        self._log = (self._folder / "log").open("wb")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._run("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=upnext")
            self.start()
        except BaseException:
            self.close()
            raise

    def rest(self, schema: str, database: str = "postgres") -> str:
        """What follows ``postgresql://`` in the URL of a log."""
        return f"upnext@127.0.0.1:{self.port}/{database}?schema={schema}"

    def start(self) -> None:
        postgres, data = str(self._programs / "postgres"), str(self._data)
        command = [*self._user, postgres, "-D", data, "-p", str(self.port), "-k", str(self._folder), *self._settings]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, cwd=self._folder)
        until = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT rolls back what is under way and ends; SIGQUIT ends at once, as after a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_S)
            self._process = None

    def close(self) -> None:
        self.stop()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._user, str(self._programs / program), "-D", str(self._data), *arguments]
        subprocess.run(command, check=True, stdout=self._log, stderr=self._log, cwd=self._folder)

    def _answers(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
