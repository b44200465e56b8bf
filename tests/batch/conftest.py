"""The trained home of the serving tests."""

from __future__ import annotations

from tests.serving.conftest import bare, home, trained

__all__ = ["bare", "home", "trained"]
