"""One event with a list of shown items -> one impression a shown item, each with its position."""

from __future__ import annotations

import json

import polars as pl

from upnext.events.schema import ITEMS

_ROW = "_row"


def explode_items(frame: pl.DataFrame) -> pl.DataFrame:
    """Replace the column ``items`` (a list, ``a|b``, or a JSON list of ids or of objects with an id) by rows.

    An impression with items becomes one event an item. Another event with items (a click, with what was shown)
    stays, and its impressions come before it. They share a recommendation_id, made up where none was given, and
    get event ids of their own. Rows without items are untouched.
    """
    if ITEMS not in frame.columns:
        return frame
    lists = _lists(frame[ITEMS])
    frame = frame.drop(ITEMS).with_row_index(_ROW)
    shown = frame.filter(lists.list.len() > 0)
    if shown.is_empty():
        return frame.drop(_ROW)
    shown = shown.with_columns(lists.filter(lists.list.len() > 0).alias(ITEMS))
    own_item = pl.Series([False] * len(shown))
    if "item_id" in shown.columns:
        own_item = shown["item_id"].cast(pl.String).fill_null("") != ""
    if "recommendation_id" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.String).alias("recommendation_id"))
        shown = shown.with_columns(pl.lit(None, pl.String).alias("recommendation_id"))
    made_up = pl.concat_str(pl.col("user_id").cast(pl.String), pl.lit("@"), pl.col("happened_at").cast(pl.String))
    shown = shown.with_columns(pl.col("recommendation_id").cast(pl.String).fill_null(made_up))
    impressions = _impressions(shown)
    frame = frame.with_columns(_or_null(frame, "item_id", pl.String()), pl.col("recommendation_id").cast(pl.String))
    kept = frame.join(shown.filter(own_item).select(_ROW, "recommendation_id"), on=_ROW, how="left", suffix="_new")
    kept = kept.with_columns(pl.coalesce("recommendation_id_new", "recommendation_id").alias("recommendation_id"))
    gone = shown.filter(own_item.not_())[_ROW]
    kept = kept.drop("recommendation_id_new").filter(pl.col(_ROW).is_in(gone.implode()).not_())
    both = pl.concat([impressions, kept], how="diagonal_relaxed")
    return both.sort(_ROW, maintain_order=True).drop(_ROW)


def _impressions(shown: pl.DataFrame) -> pl.DataFrame:
    """The rows of ``items``, in the order shown. What the outcome carried (its value) is not theirs."""
    shown = shown.with_columns(pl.int_ranges(pl.col(ITEMS).list.len()).alias("position")).drop("value", strict=False)
    rows = shown.explode(ITEMS, "position").with_columns(
        pl.col(ITEMS).alias("item_id"), pl.lit("impression").alias("event_type"), pl.col("position").cast(pl.Int64)
    )
    if "event_id" in rows.columns:
        rows = rows.with_columns(
            pl.concat_str(pl.col("event_id").cast(pl.String), pl.lit("#"), pl.col("position").cast(pl.String))
        )
    return rows.drop(ITEMS)


def _or_null(frame: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype).alias(name)


def _lists(raw: pl.Series) -> pl.Series:
    if isinstance(raw.dtype, pl.List | pl.Array):
        inner = raw.dtype.inner
        lists = raw.cast(pl.List(inner))
        if isinstance(inner, pl.Struct):
            names = [entry.name for entry in inner.fields if entry.name in ("item_id", "id", "item")]
            lists = lists.list.eval(pl.element().struct.field(names[0] if names else inner.fields[0].name))
        return lists.cast(pl.List(pl.String))
    return pl.Series(raw.name, [_parsed(value) for value in raw.cast(pl.String)], dtype=pl.List(pl.String))


def _parsed(value: str | None) -> list[str] | None:
    if not value:
        return None
    if not value.startswith("["):
        return value.split("|")
    try:
        entries = json.loads(value)
    except ValueError:
        return [value]  # kept as an item_id that explains itself in the rejects, should it be too long
    return [_id(entry) for entry in entries]


def _id(entry: object) -> str:
    if isinstance(entry, dict):
        entry = entry.get("item_id", entry.get("id", entry.get("item", "")))
    return entry if isinstance(entry, str) else json.dumps(entry)
