"""A validation error as a problem: which field, what was found there, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from upnext.events.schema import nearest
from upnext.serving.problems import Invalid, shown


def first_problem(errors: Sequence[Mapping[str, Any]], model: type[BaseModel] | None = None) -> Invalid:
    """The first of pydantic's errors; ``model`` is what was expected, for the names of its fields."""
    error = errors[0]
    place = [str(part) for part in error["loc"]]
    place = place[1:] if place[:1] in (["body"], ["query"], ["path"]) else place
    field = ".".join(place)
    if error["type"] == "extra_forbidden":
        known = list(model.model_fields) if model is not None and len(place) == 1 else []
        return Invalid(f"unknown field {shown(field)}{nearest(field, known) if known else ''}", field)
    if error["type"] == "missing":
        return Invalid(f"{field or 'the body'} is missing", field or None)
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return Invalid(f"{field or 'the body'} {message}, got {shown(error['input'])}", field or None)
