"""Test processes share the cores: each keeps its numerical libraries to one thread, or they wait for each other."""

import os

from tests.command import upnext
from tests.postgres import postgres
from tests.s3 import bucket, s3

__all__ = ["bucket", "postgres", "s3", "upnext"]

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
