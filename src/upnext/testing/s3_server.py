"""A server that speaks S3, as a process of its own, for tests: moto's, which keeps everything in memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request

START_S = 60.0
OPEN, CHECKED = "1000000000", "0"  # after how many calls credentials are looked at


class Server:
    """Runs from the start to ``close``."""

    def __init__(self, checked: bool = False) -> None:
        """``checked`` = it refuses whoever it does not know, which is everybody."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = int(taken.getsockname()[1])
        self._settings = {"INITIAL_NO_AUTH_ACTION_COUNT": CHECKED if checked else OPEN}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        """What leads the tools of S3 here, and away from the credentials of whoever runs the tests."""
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "AKIATESTING",
            "AWS_SECRET_ACCESS_KEY": "not-to-be-shown",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **self._settings}
        )
        until = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("moto did not start")
            time.sleep(0.05)

    def make(self, url: str) -> None:
        """An empty bucket."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{url.removeprefix('s3://')}", method="PUT")
        urllib.request.urlopen(request).close()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True
