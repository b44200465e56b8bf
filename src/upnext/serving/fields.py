"""The kinds of values that requests and rows are made of, each with its limits."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from upnext.events.columns import MAX_ID
from upnext.events.times import YEAR_2200_S

MAX_LIST = 1000
MAX_JSON = 16_384  # characters of a free JSON object
MAX_ATTRIBUTES = 100
_LARGEST = 2.0**53
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Strict(BaseModel):
    """A row or request: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _id(text: str) -> str:
    if not text.strip() or _CONTROL.search(text):
        raise ValueError("is blank or holds control characters")
    return text


def to_ms(value: object) -> int:
    """Unix ms of a number (up to 7,258,118,400 seconds, above it milliseconds) or an ISO 8601 text (UTC if naive)."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(_NO_TIME) from None
        value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(min(value, _LARGEST)):
        raise ValueError(_NO_TIME)
    ms = value * 1000 if value <= YEAR_2200_S else value
    if not 0 <= ms <= YEAR_2200_S * 1000:
        raise ValueError("is before 1970 or after 2200")
    return round(ms)


_NO_TIME = "is no time; expected Unix seconds or milliseconds, or ISO 8601 such as 2026-01-31T18:00:00Z"


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    try:
        text = json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        raise ValueError("holds a number that is not finite, or is nested too deeply") from None
    if len(text) > MAX_JSON:
        raise ValueError(f"is longer than {MAX_JSON} characters of JSON")
    return value


def _scalars(value: dict[str, Any]) -> dict[str, Any]:
    for name, entry in value.items():
        number = isinstance(entry, int | float) and not isinstance(entry, bool)
        if number and not abs(entry) <= _LARGEST:
            raise ValueError(f"{name!r} is too large or not finite")
        if not (number or entry is None or isinstance(entry, str | bool)):
            raise ValueError(f"{name!r} is a list or an object; expected text, a number, true, false or null")
    return value


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID), AfterValidator(_id)]
Ids = Annotated[list[Id], Field(max_length=MAX_LIST)]
Text = Annotated[str, Field(max_length=10_000)]
Surface = Annotated[str, Field(max_length=64), AfterValidator(lambda text: _id(text) if text else text)]
Time = Annotated[
    int,
    BeforeValidator(to_ms),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "format": "date-time"}]}),
]
JsonObject = Annotated[dict[str, Any], AfterValidator(_json_object)]
Attributes = Annotated[
    dict[Id, Any], Field(max_length=MAX_ATTRIBUTES), AfterValidator(_scalars), AfterValidator(_json_object)
]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]
Component = Annotated[float, Field(allow_inf_nan=False, ge=-1e30, le=1e30)]
