"""Events as the columns that a table holds: codes for ids, and the keys that make an append idempotent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from upnext.storage.event_lists import EventLists, all_null
from upnext.storage.keys import content_keys, given_keys, recommendation_hash, text_hashes
from upnext.storage.log import IdKind
from upnext.types import Float64, Int32, Int64

_AS_GIVEN = ("position", "as_of", "event_id", "session_id", "recommendation_id", "context")


def event_columns(events: EventLists, encode: Callable[[IdKind, Sequence[str]], Int32]) -> dict[str, Sequence[object]]:
    """All columns but ``offset`` and ``received_at``; those that are null throughout are left out."""
    value = np.array(events["value"], np.float64)  # null is NaN
    value[~np.isfinite(value)] = np.nan
    known = np.count_nonzero(~np.isnan(value)) == len(value) - events["value"].count(None)
    codes: dict[str, Int64] = {
        "type": encode("event_type", events["event_type"]).astype(np.int64),
        "user": encode("user", events["user_id"]).astype(np.int64),
        "item": encode("item", events["item_id"]).astype(np.int64),
        "surface": encode("surface", _surfaces(events["surface"])).astype(np.int64),
        "recommendation": recommendation_hash(events["recommendation_id"]),
    }
    high, low = _keys(events, value, codes)
    if not codes["recommendation"].any():
        del codes["recommendation"]
    columns: dict[str, Sequence[object]] = {
        "key_high": high,
        "key_low": low,
        "happened_at": events["happened_at"],
        **{name: column.tolist() for name, column in codes.items()},
    }
    optional = {
        "value": events["value"] if known else [None if number != number else number for number in value.tolist()],
        **{name: events[name] for name in _AS_GIVEN},
    }
    columns.update({name: column for name, column in optional.items() if not all_null(column)})
    return columns


def received_at(events: EventLists, least: int | None) -> list[int | None]:
    """When each event was received, no earlier than ``least``; None where that is when it happened."""
    given, happened_at = events["received_at"], events["happened_at"]
    if least is None and (given == happened_at or all_null(given)):  # as in an import
        return [None] * len(given)
    received = [happened if at is None else at for at, happened in zip(given, happened_at, strict=True)]
    if least is not None:
        received = [max(at, least) for at in received]
    return [None if at == happened else at for at, happened in zip(received, happened_at, strict=True)]


def _surfaces(names: list[str | None]) -> list[str]:
    return [""] * len(names) if all_null(names) else [name or "" for name in names]


def _keys(events: EventLists, value: Float64, codes: Mapping[str, Int64]) -> tuple[list[int], list[int]]:
    """The idempotency keys: of the event_id where one was given, else of the content."""
    event_id, position = events["event_id"], events["position"]
    given = [] if all_null(event_id) else [row for row, name in enumerate(event_id) if name is not None]
    if len(given) == len(value):
        return given_keys(event_id)
    with np.errstate(over="ignore"):  # what is too large for 32 bits is infinite there
        single = value.astype(np.float32) + np.float32(0)  # + 0: one zero
    content = (
        codes["type"],
        (codes["user"] << 32) | codes["item"],
        codes["surface"],
        single.astype(np.float64).view(np.int64),
        codes["recommendation"],
        np.nan_to_num(np.array(position, np.float64), nan=-1).astype(np.int64),  # small numbers: exact in float64
        text_hashes(events["session_id"]),
        text_hashes(events["context"]),
    )
    high, low = (column.tolist() for column in content_keys(np.array(events["happened_at"], np.int64), content))
    for row, given_high, given_low in zip(given, *given_keys([event_id[row] for row in given]), strict=True):
        high[row], low[row] = given_high, given_low
    return high, low
