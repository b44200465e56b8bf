"""Writing: rows are checked one by one, written durably together, and seen by the views before the call returns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeVar

import polars as pl
from pydantic import ValidationError

from upnext.config import Config
from upnext.errors import DataError
from upnext.events.schema import nearest
from upnext.live import Live
from upnext.serving.clock import Clock
from upnext.serving.fields import Strict
from upnext.serving.problems import Invalid, NotFound, Problem, shown
from upnext.serving.rows import Event, Item, ItemChanges, ItemContent, ItemName, User, UserContent
from upnext.serving.together import Together
from upnext.serving.validation import first_problem
from upnext.storage.log import ACCEPTED, ITEM_SCHEMA, USER_SCHEMA, Appended, EventColumns, Log

DAY_MS = 86_400_000
Row = TypeVar("Row", bound=Strict)


@dataclass(slots=True)
class Fates:
    """What became of each row: accepted, duplicate, or rejected with the problem."""

    rows: list[str]
    problems: dict[int, Problem] = field(default_factory=dict)

    def count(self, fate: str) -> int:
        return self.rows.count(fate)

    def as_dict(self) -> dict[str, Any]:
        rejections = [{"row": row, **problem.as_dict()} for row, problem in sorted(self.problems.items())]
        counts = {"accepted": self.count("accepted"), "duplicates": self.count("duplicate")}
        return {**counts, "rejected": len(rejections), "rows": self.rows, "rejections": rejections}


class Ingest:
    """All writes of a server go through here. ``refresh`` brings the views up to the log."""

    def __init__(self, log: Log, live: Live, config: Config, clock: Clock, refresh: Callable[[], None]) -> None:
        self._log, self._live, self._config = log, live, config
        self._clock, self._refresh = clock, refresh
        self._together = Together(self._append)

    def append(self, columns: EventColumns) -> Appended:
        """Append events as columns of EVENT_SCHEMA, received now, together with what others append meanwhile."""
        return self._together(columns)

    def add_events(self, rows: Sequence[object]) -> Fates:
        """Write events; the next request of their users sees them."""
        parsed, fates = _parsed(Event, rows, self._refuse_event)
        values: list[tuple[object, ...]] = []
        owner: list[int] = []
        for row, event in parsed.items():
            written = _event_values(event)
            values.extend(written)
            owner.extend([row] * len(written))
        if owner:
            columns = dict(zip(_EVENT_COLUMNS, zip(*values, strict=True), strict=True))
            accepted = self.append(columns).status == ACCEPTED
            for row, new in zip(owner, accepted.tolist(), strict=True):
                if new:
                    fates.rows[row] = "accepted"
        return fates

    def put_item(self, item_id: str, content: ItemContent) -> bool:
        """Insert or replace an item. True when that changed something."""
        _same(item_id, content.item_id, "item_id")
        return self._upsert_items([{**content.model_dump(), "item_id": item_id}], ITEM_SCHEMA.keys())

    def patch_item(self, item_id: str, changes: ItemChanges) -> bool:
        """Change some fields of an item that is there. True when that changed something. Raises NotFound."""
        self.known_item(item_id)
        fields = changes.model_dump(exclude_unset=True)
        return self._upsert_items([{**fields, "item_id": item_id}], ["item_id", *fields])

    def add_items(self, rows: Sequence[object]) -> Fates:
        """Insert or replace items."""
        size = self._vector_size(rows)

        def refuse(item: Item) -> Problem | None:
            if item.vector is None or len(item.vector) == size:
                return None
            return Invalid(f"vector has {len(item.vector)} numbers, the catalogue's have {size}", "vector")

        parsed, fates = _parsed(Item, rows, refuse)
        if parsed:
            self._upsert_items([item.model_dump() for item in parsed.values()], ITEM_SCHEMA.keys())
        return _all_accepted(fates, parsed)

    def patch_items(self, rows: Sequence[object]) -> Fates:
        """Change some fields of items that are there; what a row leaves out stays as it was."""
        parsed, fates = _parsed(Item, rows, lambda item: self._missing(item.item_id))
        alike: dict[frozenset[str], list[Mapping[str, object]]] = {}  # rows that change the same fields
        for item in parsed.values():
            alike.setdefault(frozenset(item.model_fields_set), []).append(item.model_dump(exclude_unset=True))
        for fields, items in alike.items():
            self._upsert_items(items, fields)
        return _all_accepted(fates, parsed)

    def delete_items(self, rows: Sequence[object]) -> Fates:
        """Never show these again; events about them stay."""
        parsed, fates = _parsed(ItemName, rows, lambda item: self._missing(item.item_id))
        if parsed:
            self._log.delete_items([item.item_id for item in parsed.values()])
            self._refresh()
        return _all_accepted(fates, parsed)

    def delete_item(self, item_id: str) -> bool:
        """Never show an item again; events about it stay. Raises NotFound."""
        self.known_item(item_id)
        deleted = self._log.delete_items([item_id])
        self._refresh()
        return deleted > 0

    def put_user(self, user_id: str, content: UserContent) -> bool:
        """Insert or replace what is known of a user. True when that changed something."""
        _same(user_id, content.user_id, "user_id")
        return self._upsert_users([{**content.model_dump(), "user_id": user_id}])

    def add_users(self, rows: Sequence[object]) -> Fates:
        parsed, fates = _parsed(User, rows)
        if parsed:
            self._upsert_users([user.model_dump() for user in parsed.values()])
        return _all_accepted(fates, parsed)

    def known_item(self, item_id: str) -> int:
        """The code of an item that is in the catalogue. Raises NotFound that names the id."""
        code = self._live.catalogue.ids.code(item_id)
        if code < 0 or code in self._live.catalogue.deleted:
            gone = "was deleted" if code >= 0 else "is unknown"
            raise NotFound(f"item {shown(item_id)} {gone}", "item_id", "PUT /v1/items/{item_id} makes it")
        return code

    def _append(self, columns: EventColumns) -> Appended:
        with self._clock.arrival() as now:
            arrived = {**columns, "received_at": [now] * len(columns["event_type"])}
            arrived["happened_at"] = [now if at is None else at for at in columns["happened_at"]]
            appended = self._log.append_events(arrived, arriving=True)
            self._refresh()
        return appended

    def _missing(self, item_id: str) -> Problem | None:
        try:
            self.known_item(item_id)
        except NotFound as problem:
            return problem
        return None

    def _refuse_event(self, event: Event) -> Problem | None:
        types = self._config.events.types
        if event.event_type not in types:
            near = nearest(event.event_type, types)
            return Invalid(
                f"event_type {shown(event.event_type)} is unknown{near}", "event_type", "[events.types] adds more"
            )
        if event.timestamp is not None and event.timestamp > self._clock.now() + DAY_MS:
            return Invalid(f"timestamp {event.timestamp} is more than a day in the future", "timestamp")
        return None

    def _upsert_items(self, items: Sequence[Mapping[str, object]], names: Iterable[str]) -> bool:
        columns = {name: [_stored(name, item.get(name)) for item in items] for name in names}
        try:
            changed = self._log.upsert_items(
                pl.DataFrame(columns, schema={name: ITEM_SCHEMA[name] for name in columns})
            )
        except DataError as error:
            raise Invalid(str(error), "vector" if "vector" in str(error) else None) from error
        self._refresh()
        return changed > 0

    def _upsert_users(self, users: Sequence[Mapping[str, object]]) -> bool:
        columns = {name: [_stored(name, user.get(name)) for user in users] for name in USER_SCHEMA}
        changed = self._log.upsert_users(pl.DataFrame(columns, schema=dict(USER_SCHEMA)))
        self._refresh()
        return changed > 0

    def _vector_size(self, rows: Sequence[object]) -> int | None:
        """The length of the catalogue's vectors; where it has none, of the first row's that has one."""
        known = self._live.catalogue().vector
        if known is not None:
            return int(known.shape[1])
        vectors = (row.get("vector") for row in rows if isinstance(row, dict))
        return next((len(vector) for vector in vectors if isinstance(vector, list) and vector), None)


_EVENT_COLUMNS = (
    "event_id",
    "event_type",
    "user_id",
    "item_id",
    "happened_at",
    "value",
    "session_id",
    "recommendation_id",
    "position",
    "surface",
    "context",  # the last: it becomes JSON
)


_EVENT_FIELDS = attrgetter(*("timestamp" if name == "happened_at" else name for name in _EVENT_COLUMNS))


def _event_values(event: Event) -> list[tuple[object, ...]]:
    """What _EVENT_COLUMNS hold for an event: a row, or one a shown item where it has several."""
    if event.items is not None:
        return [
            row for position, item in enumerate(event.items) for row in _event_values(_of_one(event, position, item))
        ]
    values: tuple[object, ...] = _EVENT_FIELDS(event)
    return [values if event.context is None else (*values[:-1], _stored("context", event.context))]


def _of_one(event: Event, position: int, item: str) -> Event:
    event_id = None if event.event_id is None else f"{event.event_id}#{position}"
    return event.model_copy(update={"items": None, "item_id": item, "position": position, "event_id": event_id})


def _parsed(
    model: type[Row], rows: Sequence[object], refuse: Callable[[Row], Problem | None] = lambda row: None
) -> tuple[dict[int, Row], Fates]:
    """The rows that are good by number, and the fate of those that are not; the good ones count as duplicates."""
    good: dict[int, Row] = {}
    fates = Fates(["duplicate"] * len(rows))
    for number, row in enumerate(rows):
        try:
            parsed = model.model_validate(row)
            problem = refuse(parsed)
        except ValidationError as error:
            problem = first_problem(error.errors(include_url=False), model)
        if problem is None:
            good[number] = parsed
        else:
            fates.rows[number], fates.problems[number] = "rejected", problem
    return good, fates


def _all_accepted(fates: Fates, parsed: Mapping[int, object]) -> Fates:
    for row in parsed:
        fates.rows[row] = "accepted"
    return fates


def _same(path: str, body: str | None, field: str) -> None:
    if body is not None and body != path:
        raise Invalid(f"{field} is {shown(body)} in the body and {shown(path)} in the path", field, "Leave it out")


def _stored(name: str, value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if name in ("attributes", "context") and value is not None else value
