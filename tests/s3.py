"""The S3 server of the tests: moto's, in a process of its own, or none, and then the tests that need it say so."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Iterator

import pytest

from upnext.testing.s3_server import Server


@pytest.fixture(scope="session")
def s3() -> Iterator[Server]:
    """One a test process, and the environment that leads to it."""
    if any(importlib.util.find_spec(name) is None for name in ("moto", "flask_cors", "s3fs")):
        pytest.skip("there is no S3 server: pip install 'moto[s3]' flask flask-cors s3fs")
    server = Server()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
    server.close()


@pytest.fixture
def bucket(s3: Server) -> str:
    """The URL of a bucket of the test's own."""
    url = f"s3://test-{uuid.uuid4().hex}"
    s3.make(url)
    return url
