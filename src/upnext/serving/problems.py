"""What a caller asked for that cannot be answered: in words, by field, with the remedy."""

from __future__ import annotations

from typing import Any

from upnext.errors import UpnextError

_SHOWN = 80  # characters of a value


class Problem(UpnextError):
    """``field`` is the input's name (dotted), ``remedy`` what to do instead."""

    code = "invalid"

    def __init__(self, message: str, field: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message if remedy is None else f"{message}. {remedy}")
        self.message, self.field, self.remedy = message, field, remedy

    def as_dict(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "field": self.field, "remedy": self.remedy}


class Invalid(Problem):
    """The input makes no sense."""


class NotFound(Problem):
    """The input names something that is not there."""

    code = "not_found"


def shown(value: object) -> str:
    """A value as it can stand in a sentence: never long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
