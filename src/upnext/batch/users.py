"""Who is asked for: everybody, or a list in a file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import polars as pl

from upnext.errors import ConfigError
from upnext.types import NO_USER

ALL = "all"
Unknown = Literal["refuse", "skip", "answer"]
"""What becomes of ids that the home does not know; ``answer``: as anybody, with popular and new items."""

_NAMED = 3  # unknown ids that an error names


def read_ids(who: str) -> pl.Series | None:
    """The distinct ids that the file ``who`` lists, in its order; None = all. Raises ConfigError.

    A .csv or .parquet file has a column ``user_id``; any other holds one id a line.
    """
    if who == ALL:
        return None
    path = Path(who)
    if not path.is_file():
        raise ConfigError(f"--users {who}: there is no such file. Write `all`, or a file of user ids, one a line.")
    try:
        ids = _column(path)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise ConfigError(f"--users {who}: cannot be read ({str(error).splitlines()[0]}).") from error
    if ids.null_count():
        row = ids.is_null().arg_true()[0] + 1
        raise ConfigError(f"--users {who}: row {row} has no user_id. Leave such rows out.")
    if not len(ids):
        raise ConfigError(f"--users {who}: lists no user. Write one id a line, or `--users all`.")
    return ids.unique(maintain_order=True)


def digest(ids: pl.Series | None, unknown: Unknown) -> str:
    """What tells one list from another."""
    return ALL if ids is None else hashlib.sha256("\n".join([unknown, *ids.to_list()]).encode()).hexdigest()[:16]


def with_codes(ids: pl.Series | None, known: pl.DataFrame, unknown: Unknown, who: str = ALL) -> pl.DataFrame:
    """``user_id``, ``code`` of everybody asked for. ``known`` are the rows of ``Log.read_users``.

    Raises ConfigError where nobody is left, or for ids that are not known, unless ``unknown`` says otherwise.
    """
    known = known.filter(~pl.col("deleted")).select("user_id", "code").sort("code")
    if ids is None:
        if known.is_empty():
            raise ConfigError("--users all: this home knows no user yet. `upnext import` brings users and events in.")
        return known
    found = ids.to_frame("user_id").join(known, on="user_id", how="left", maintain_order="left")
    strangers = found.filter(pl.col("code").is_null())["user_id"]
    if len(strangers) and unknown == "refuse":
        listed = ", ".join(repr(id_) for id_ in strangers[:_NAMED]) + (" ..." if len(strangers) > _NAMED else "")
        raise ConfigError(
            f"--users {who}: {len(strangers):,} of {len(found):,} are unknown to this home: {listed}. "
            "`--unknown skip` leaves them out, `--unknown answer` gives them popular and new items."
        )
    found = found.drop_nulls("code") if unknown == "skip" else found.with_columns(pl.col("code").fill_null(NO_USER))
    if found.is_empty():
        raise ConfigError(f"--users {who}: none of its users is known to this home. Import them first.")
    return found


def _column(path: Path) -> pl.Series:
    if path.suffix not in (".csv", ".parquet"):
        lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
        return pl.Series("user_id", [line for line in lines if line], dtype=pl.String)
    csv = path.suffix == ".csv"
    frame = pl.scan_csv(path, infer_schema=False) if csv else pl.scan_parquet(path)
    names = frame.collect_schema().names()
    if "user_id" not in names:
        raise ConfigError(f"--users {path}: has no column user_id; its columns are {', '.join(names[:8])}.")
    return frame.select(pl.col("user_id").cast(pl.String)).collect()["user_id"]
