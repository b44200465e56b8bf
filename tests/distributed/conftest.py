"""Ray's tests are skipped where it is not installed (``make ray``)."""

from __future__ import annotations

from tests.serving.conftest import trained

__all__ = ["trained"]
