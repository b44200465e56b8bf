"""What each KuaiRand user saw before the log begins: lists without times, made into events a second apart.

``watch_seq`` are the last 50 or fewer exposures; ``long_watch_seq`` and ``like_seq`` reach further back than that,
so what is in them and not in ``watch_seq`` is put before it. The last exposure is at ``last_time_ms``, or a second
before the user's first row of the log where that is not later: history may not tell the outcome of a row.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from upnext.errors import DataError
from upnext.events.schema import LINE

BEIJING_MS = 8 * 3_600_000

_SEQUENCES = ("like_seq", "long_watch_seq", "watch_seq")  # in the order in which their own items are put
_COLUMNS = ("user_id", "last_time_ms", *_SEQUENCES)


def history_events(path: Path, begins: pl.DataFrame) -> pl.DataFrame:
    """A ``seen`` event an exposure, and a ``long_view`` and a ``like`` at the same time where it was one.

    ``begins`` has the columns user_id and begins: when the user's log does, Unix ms.
    """
    try:
        users = pl.read_parquet(path).with_row_index(LINE, offset=1)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path.name}: cannot be read as Parquet ({error})") from error
    for name in _COLUMNS:
        if name not in users.columns:
            raise DataError(f"{path.name}: column {name!r} is missing; found are {', '.join(users.columns[1:])}")
    latest = pl.min_horizontal("last_time_ms", pl.col("begins") - 1000)
    users = users.with_columns(pl.col("user_id").cast(pl.String)).join(begins, on="user_id", how="left")
    users = users.with_columns(latest.alias("last_time_ms"))
    exposures = pl.concat(
        [_exploded(users, name).with_columns(source=number) for number, name in enumerate(_SEQUENCES)]
    )
    timeline = (
        exposures.group_by("user_id", "item_id", "time_of_many", maintain_order=True)
        .agg(
            pl.col("source").max(),
            pl.col("position").sort_by("source").last(),
            (pl.col("source") == 0).any().alias("like"),
            (pl.col("source") == 1).any().alias("long_view"),
            pl.col("last_time_ms", LINE).first(),
        )
        .sort("user_id", "source", "position")
    )
    before_last = pl.len().cast(pl.Int64) - 1 - pl.int_range(pl.len())
    timeline = timeline.select(
        pl.col("user_id", "item_id", "like", "long_view", LINE),
        (pl.col("last_time_ms") + BEIJING_MS - 1000 * before_last.over("user_id")).alias("happened_at"),
    ).with_row_index("row")
    kept = pl.exclude("like", "long_view")
    parts = [timeline.select(kept, pl.lit("seen").alias("event_type"))]
    parts += [timeline.filter(name).select(kept, pl.lit(name).alias("event_type")) for name in ("long_view", "like")]
    return pl.concat(parts).sort("row", maintain_order=True).drop("row")


def _exploded(users: pl.DataFrame, name: str) -> pl.DataFrame:
    """A row an entry; an item that a user has several times is told apart by ``time_of_many``."""
    rows = users.select("user_id", "last_time_ms", LINE, pl.col(name).alias("item_id"))
    rows = rows.explode("item_id").filter(pl.col("item_id").is_not_null())
    return rows.with_columns(
        pl.int_range(pl.len()).over("user_id").alias("position"),
        pl.int_range(pl.len()).over("user_id", "item_id").alias("time_of_many"),
    )
