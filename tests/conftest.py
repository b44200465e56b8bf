"""Test processes share the cores: each keeps its numerical libraries to one thread, or they wait for each other."""

import os

import pytest
from hypothesis import settings

from tests.command import upnext
from tests.postgres import postgres
from tests.s3 import bucket, s3

__all__ = ["bucket", "postgres", "s3", "upnext"]

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


settings.register_profile("upnext", deadline=None)  # speed is measured in benchmarks, on a machine that is not busy
settings.load_profile("upnext")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The clusters first: workers that share the tests begin at even places, and then steal from the ends.

    Last, they would each start the clusters of what they stole, count the other's processes, and wait for each other.
    """
    items.sort(key=lambda item: not item.nodeid.startswith("tests/distributed/"))
