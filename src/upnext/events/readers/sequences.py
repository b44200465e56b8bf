"""A line a user: ``user item item ...``, in the order they happened, without times.

Times are made up so that a split by time stays sensible: every user's last event is at noon of 2020-01-01 (UTC),
the one before a day earlier, and so on. So `--until 2020-01-01` holds out the last event of each user (the usual
leave-one-out), `--until 2019-12-31` the last two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from upnext.errors import DataError
from upnext.events.batches import Batch, size_of
from upnext.events.readers.delimited import text_blocks
from upnext.events.schema import LINE
from upnext.events.validate import reject_rows

LAST_EVENT_MS = 1_577_880_000_000  # 2020-01-01T12:00Z
DAY_MS = 86_400_000
_DAYS = 10_000  # older events than these lie a millisecond apart: it must not become 1970
_NAMES = ("sequences.txt", "train.txt")


class Sequences:
    """``PATH`` is the file, or a folder with ``sequences.txt`` or ``train.txt``, and maybe ``attributes.json``
    (item -> list of attribute ids, which become the categories ``attr:<id>``). Events are of type ``click``."""

    def __init__(self, path: Path) -> None:
        self.notes: list[str] = ["times are made up: every user's last event is at 2020-01-01, the others a day apart"]
        self._lines = path if path.is_file() else _found(path)
        attributes = self._lines.parent / "attributes.json"
        self._attributes = attributes if attributes.is_file() else None
        self.name = (path if path.is_dir() else path.with_suffix("")).resolve().name
        self.total = size_of(self._lines, *([attributes] if self._attributes else []))
        if self._lines.name == "train.txt" and (self._lines.parent / "test.txt").is_file():
            self.notes.append("left out test.txt, the half that was held out")

    def __iter__(self) -> Iterator[Batch]:
        if self._attributes:
            yield Batch("items", _items(self._attributes), self._attributes.name, units=size_of(self._attributes))
        for lines in text_blocks(self._lines, self._lines.name):
            words = (
                lines.text.str.replace_all(r"\s", " ").str.split(" ").list.eval(pl.element().filter(pl.element() != ""))
            )
            short = words.list.len() < 2
            bad = zip(lines.number.filter(short), lines.text.filter(short), strict=True)
            rejects = [*lines.rejects, *((number, "", text, "names no item") for number, text in bad)]
            frame = pl.DataFrame({"words": words.filter(~short), LINE: lines.number.filter(~short)})
            yield Batch(
                "events", _events(frame), self._lines.name, reject_rows(self._lines.name, rejects), 0, lines.bytes
            )


def _events(frame: pl.DataFrame) -> pl.DataFrame:
    count = pl.col("words").list.len().cast(pl.Int64) - 1
    rows = frame.select(
        pl.col("words").list.first().alias("user_id"),
        pl.col("words").list.slice(1).alias("item_id"),
        pl.int_ranges(count - 1, -1, -1).alias("before_last"),
        LINE,
    ).explode("item_id", "before_last")
    days = pl.min_horizontal("before_last", _DAYS)
    return rows.select(
        "user_id",
        "item_id",
        pl.lit("click").alias("event_type"),
        (LAST_EVENT_MS - DAY_MS * days - (pl.col("before_last") - days)).alias("happened_at"),
        LINE,
    )


def _items(path: Path) -> pl.DataFrame:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(table, dict) or any(not isinstance(entry, list) for entry in table.values()):
        raise DataError(f'{path}: expected an object of lists, such as {{"12": [3, 7]}}')
    categories = [[f"attr:{attribute}" for attribute in entry] for entry in table.values()]
    frame = pl.DataFrame({"item_id": list(table), "categories": categories}, schema_overrides=_ITEM_TYPES)
    return frame.with_row_index(LINE, offset=1)


_ITEM_TYPES = {"item_id": pl.String(), "categories": pl.List(pl.String())}


def _found(folder: Path) -> Path:
    for name in _NAMES:
        if (folder / name).is_file():
            return folder / name
    names = ", ".join(sorted(entry.name for entry in folder.iterdir())[:20]) or "nothing"
    raise DataError(f"{folder}: has neither {' nor '.join(_NAMES)}; found {names}")
