"""KuaiRand (Gao et al., CIKM 2022): a short-video feed with every outcome of every impression.

Times become those of the clock in Beijing (UTC+8), as the data set's own dates are: a day is a day of its users.
A row of the log becomes an impression and, at the same time and with the same recommendation_id, its outcomes.
A row that repeats another exactly is left out; two rows that differ only in their outcomes are two impressions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from upnext.errors import DataError
from upnext.events.batches import BATCH_ROWS, Batch, size_of
from upnext.events.readers.delimited import read_csv
from upnext.events.readers.kuairand_history import BEIJING_MS, history_events
from upnext.events.schema import LINE
from upnext.events.validate import reject_rows

_RAW_COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")  # each has a *_range twin

# Event type -> the column that says it happened, in the order in which the events of one row are written.
_OUTCOMES: Mapping[str, str] = {
    "click": "is_click",
    "watch": "play_time_ms",
    "like": "is_like",
    "share": "is_forward",
    "long_view": "long_view",
    "follow": "is_follow",
    "comment": "is_comment",
    "hide": "is_hate",
}
_NUMBERS = ("time_ms", "duration_ms", *_OUTCOMES.values())


class KuaiRand:
    """The folder of the data set: ``log_standard*.csv``, and, where they are there, ``history_*.parquet``,
    ``user_features*.csv`` and ``video_features_basic*.csv``."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise DataError(f"{path}: is no folder; expected the folder of KuaiRand with its log_standard*.csv")
        self.name = path.resolve().name
        self.notes: list[str] = []
        self._logs = sorted(path.glob("log_standard*.csv"))
        self._histories = sorted(path.glob("history_*.parquet"))
        self._users = sorted(path.glob("user_features*.csv"))
        self._videos = sorted(path.glob("video_features_basic*.csv"))
        if not self._logs:
            names = ", ".join(sorted(entry.name for entry in path.iterdir())[:20]) or "nothing"
            raise DataError(f"{path}: has no log_standard*.csv; found {names}")
        used = [*self._logs, *self._histories, *self._users, *self._videos]
        self.total = size_of(*used)
        others = sorted(entry.name for entry in path.iterdir() if entry not in used)
        if others:
            self.notes.append(f"left out the files {', '.join(others)}")

    def __iter__(self) -> Iterator[Batch]:
        log, duplicates = self._read_log()
        yield from self._items(_durations(log))
        for path in self._users:
            for frame, rejects, units in read_csv(path, path.name):
                yield Batch("users", _users(frame), path.name, rejects, units=units)
        begins = log.group_by("user_id").agg(pl.col("time_ms").min().alias("begins"))
        for path in self._histories:
            yield Batch("events", history_events(path, begins), path.name, units=size_of(path))
        file, units = ", ".join(path.name for path in self._logs), size_of(*self._logs)
        yield Batch("events", _events(log.head(0)), file, self._rejects, duplicates, units)
        for start in range(0, len(log), BATCH_ROWS // 4):
            yield Batch("events", _events(log[start : start + BATCH_ROWS // 4]), file)

    def _read_log(self) -> tuple[pl.DataFrame, int]:
        """The rows of all logs in the order of time, each once, and how many repeated another."""
        frames, rejected = [], []
        for path in self._logs:
            for frame, rejects, _ in read_csv(path, path.name):
                good, bad = _numbers(frame, path.name)
                frames.append(good)
                rejected += [rejects, bad]
        self._rejects = pl.concat(rejected)
        rows = pl.concat(frames, how="diagonal")
        content = [name for name in rows.columns if name != LINE]
        unique = rows.unique(content, keep="first", maintain_order=True)
        unique = unique.sort("time_ms", "user_id", "video_id", *_OUTCOMES.values(), maintain_order=True)
        again = pl.int_range(pl.len()).over("user_id", "video_id", "time_ms")
        return unique.with_columns(again.alias("again")), len(rows) - len(unique)

    def _items(self, durations: pl.DataFrame) -> Iterator[Batch]:
        """The videos with features; then those of the log that have none, for their duration."""
        described = []
        for path in self._videos:
            for frame, rejects, units in read_csv(path, path.name):
                described.append(frame["video_id"])
                yield Batch("items", _items(frame, durations, path.name), path.name, rejects, units=units)
        known = pl.concat(described) if described else pl.Series("video_id", [], dtype=pl.String)
        others = durations.filter(pl.col("video_id").is_in(known.implode()).not_())
        if len(others):
            frame = others.select(pl.col("video_id").alias("item_id"), pl.col("duration_ms") / 1000)
            frame = frame.rename({"duration_ms": "duration"}).with_row_index(LINE, offset=1)
            yield Batch("items", frame, self._logs[0].name)


def _numbers(frame: pl.DataFrame, file: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The log's rows with whole numbers where they belong, and the rejects."""
    _need(frame, ("user_id", "video_id", "tab", *_NUMBERS), file)
    numbers = frame.with_columns(pl.col(_NUMBERS).cast(pl.Int64, strict=False))
    bad = numbers.select(pl.any_horizontal(pl.col(_NUMBERS).is_null())).to_series()
    rejects = []
    for row in numbers.filter(bad).select(LINE, *_NUMBERS).iter_rows(named=True):
        column = next(name for name in _NUMBERS if row[name] is None)
        value = frame.filter(pl.col(LINE) == row[LINE])[column][0]
        rejects.append((row[LINE], column, value, "is not a whole number"))
    return numbers.filter(~bad), reject_rows(file, rejects)


def _durations(log: pl.DataFrame) -> pl.DataFrame:
    """What the log says of each video's duration (``duration_ms``); null where it never does."""
    return log.group_by("video_id", maintain_order=True).agg(
        pl.col("duration_ms").filter(pl.col("duration_ms") > 0).last()
    )


def _items(frame: pl.DataFrame, durations: pl.DataFrame, file: str) -> pl.DataFrame:
    details = ("video_type", "upload_type", "music_type", "music_id")
    _need(frame, ("video_id", "author_id", "tag", "video_duration", "upload_dt", *details), file)
    frame = frame.join(durations, on="video_id", how="left", maintain_order="left")
    own = pl.col("video_duration").cast(pl.Float64, strict=False)
    uploaded = pl.col("upload_dt").str.to_datetime("%Y-%m-%d", time_unit="ms", strict=False).dt.epoch("ms")
    return frame.select(
        pl.col("video_id").alias("item_id"),
        pl.col("author_id").alias("author"),
        pl.when(pl.col("tag") != "").then(pl.col("tag").str.split(",")).alias("categories"),
        (pl.coalesce(pl.when(own > 0).then(own), "duration_ms") / 1000).alias("duration"),
        uploaded.alias("published_at"),
        _attributes(details),
        LINE,
    )


def _users(frame: pl.DataFrame) -> pl.DataFrame:
    names = [name for name in frame.columns if name not in ("user_id", LINE, *_RAW_COUNTS)]
    return frame.select("user_id", _attributes(names), LINE)


def _attributes(names: list[str] | tuple[str, ...]) -> pl.Expr:
    """A JSON object of categories: whole numbers without a fraction, nothing where the source has nothing."""
    clean = [pl.col(name).str.strip_suffix(".0") for name in names]
    pairs = [
        pl.when(value != "").then(pl.format('"{}": {}', pl.lit(name), _quoted(value)))
        for name, value in zip(names, clean, strict=True)
    ]
    inside = pl.concat_str(pairs, separator=", ", ignore_nulls=True)
    return pl.concat_str(pl.lit("{"), inside, pl.lit("}")).alias("attributes")


def _quoted(value: pl.Expr) -> pl.Expr:
    return pl.format(
        '"{}"', value.str.replace_all("\\", "\\\\", literal=True).str.replace_all('"', '\\"', literal=True)
    )


def _events(log: pl.DataFrame) -> pl.DataFrame:
    """One impression a row, followed by what came of it."""
    recommendation = pl.format("kuairand-{}-{}", "user_id", "time_ms")
    again = pl.when(pl.col("again") > 0).then(pl.format("{}-{}", recommendation, pl.col("again") + 1))
    rows = log.select(
        pl.col("user_id"),
        pl.col("video_id").alias("item_id"),
        (pl.col("time_ms") + BEIJING_MS).alias("happened_at"),
        pl.format("tab{}", "tab").alias("surface"),
        pl.coalesce(again, recommendation).alias("recommendation_id"),
        *_OUTCOMES.values(),
        LINE,
    ).with_row_index("row")
    kept = [pl.exclude(*_OUTCOMES.values())]
    parts = [rows.select(*kept, pl.lit("impression").alias("event_type"))]
    for name, column in _OUTCOMES.items():
        value = pl.col(column) / 1000 if name == "watch" else pl.lit(None, pl.Float64)
        parts.append(
            rows.filter(pl.col(column) > 0).select(*kept, pl.lit(name).alias("event_type"), value.alias("value"))
        )
    return pl.concat(parts, how="diagonal").sort("row", maintain_order=True).drop("row")


def _need(frame: pl.DataFrame, names: tuple[str, ...], file: str) -> None:
    for name in names:
        if name not in frame.columns:
            found = ", ".join(column for column in frame.columns if column != LINE)
            raise DataError(f"{file}: column {name!r} is missing; found are {found}. Is this a file of KuaiRand?")
