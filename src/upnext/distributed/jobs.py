"""What a training on a cluster reads: a folder with the examples as Parquet, and all that every worker needs.

examples/part-*.parquet   a row a user (towers) or a request (ranker), with lists of what it has several of
rest.npz, told.json       measured on by the first worker; settings and seed
vocabulary and weights    as in a model version
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from upnext.content import ItemContent, Vocabulary
from upnext.ranking.tokens import Tokens
from upnext.training.ranker_fit import RankerData
from upnext.training.sequences import Sequences
from upnext.types import Int64

EXAMPLES, REST_FILE, TOLD_FILE = "examples", "rest.npz", "told.json"
VISIT = ("item", "weight", "began", "ended", "surface")


@dataclass(frozen=True)
class Job:
    """A folder of one training."""

    folder: Path

    @property
    def examples(self) -> Path:
        return self.folder / EXAMPLES

    def tell(self, rest: Mapping[str, Any], told: Mapping[str, Any], content: ItemContent, words: Vocabulary) -> None:
        columns = {f"content.{name}": column for name, column in content.columns().items()}
        np.savez(self.folder / REST_FILE, allow_pickle=False, **rest, **columns)
        (self.folder / TOLD_FILE).write_text(json.dumps(told), encoding="utf-8")
        words.save(self.folder)

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / TOLD_FILE).read_text(encoding="utf-8"))
        return found

    def rest(self) -> dict[str, Any]:
        with np.load(self.folder / REST_FILE, allow_pickle=False) as stored:
            return dict(stored)

    def write(self, frame: pl.DataFrame, workers: int) -> None:
        """The examples, dealt over as many files: each is read by a process of its own, which has to start first."""
        self.examples.mkdir(parents=True)
        for part in range(workers):
            rows = frame.gather_every(workers, part)
            if len(rows):
                rows.write_parquet(self.examples / f"part-{part:02d}.parquet")


def content_of(rest: Mapping[str, Any]) -> ItemContent:
    return ItemContent(**{field.name: rest[f"content.{field.name}"] for field in fields(ItemContent)})


# -- the towers' examples


def visits_frame(seen: Sequences, rows: Int64) -> pl.DataFrame:
    """A row a user: the visits ``rows``, in order."""
    columns = {name: getattr(seen, name)[rows] for name in ("user", *VISIT)}
    return pl.DataFrame(columns).group_by("user", maintain_order=True).agg(pl.all())


def visits_of(frame: pl.DataFrame) -> Sequences:
    """As ``visits_frame`` made it, of the users that are in ``frame``."""
    sizes = frame["item"].list.len().to_numpy().astype(np.int64)
    flat = frame.explode(VISIT) if len(frame) else frame.with_columns(pl.col(VISIT).list.first())
    start = np.repeat(np.cumsum(sizes) - sizes, sizes)
    return Sequences(start=start, **{name: flat[name].to_numpy() for name in ("user", *VISIT)})


def both(one: Sequences, other: Sequences) -> Sequences:
    """One after the other: whoever is in both has two sequences."""
    joined = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in ("user", *VISIT)}
    return Sequences(start=np.concatenate([one.start, other.start + len(one)]), **joined)


# -- the ranker's


def requests_frame(data: RankerData, requests: slice) -> pl.DataFrame:
    """A row a request, with the columns of its rows as lists."""
    offsets = data.offsets[requests.start : requests.stop + 1]
    rows = slice(int(offsets[0]), int(offsets[-1]))
    of_rows: dict[str, Any] = {"item": data.item, "position": data.position}
    of_rows |= {f"label.{name}": label for name, label in data.labels.items()}
    of_rows |= {} if data.stands_for is None else {"stands_for": data.stands_for}
    request = np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))
    ragged = pl.DataFrame({"request": request, **{name: column[rows] for name, column in of_rows.items()}})
    ragged = ragged.with_columns(pl.Series("features", data.features[rows]))
    frame = ragged.group_by("request", maintain_order=True).agg(pl.all()).drop("request")
    few: dict[str, Any] = {"user": data.user, "surface": data.surface, "attribute": data.attribute}
    few |= {f"history.{name}": getattr(data.history, name) for name in Tokens.__slots__}
    return frame.with_columns(pl.Series(name, column[requests]) for name, column in few.items())


def requests_of(frame: pl.DataFrame, request_features: int) -> RankerData:
    """As ``requests_frame`` made it: all of them to be learned from."""
    sizes = frame["item"].list.len().to_numpy().astype(np.int64)

    def of_rows(name: str) -> Any:
        return frame[name].explode().to_numpy()

    def stacked(column: pl.Series) -> Any:
        rows: Any = column.to_numpy()
        return np.stack(rows)

    labels = [name for name in frame.columns if name.startswith("label.")]
    return RankerData(
        item=of_rows("item"),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        features=stacked(frame["features"].explode()),
        request_features=request_features,
        position=of_rows("position"),
        labels={name.removeprefix("label."): of_rows(name) for name in labels},
        history=Tokens(*(stacked(frame[f"history.{name}"]) for name in Tokens.__slots__)),
        user=frame["user"].to_numpy(),
        attribute=stacked(frame["attribute"]),
        surface=frame["surface"].to_numpy(),
        validation_from=len(frame),
        stands_for=of_rows("stands_for") if "stands_for" in frame.columns else None,
    )


def joined(train: RankerData, validation: RankerData) -> RankerData:
    """The first to be learned from, the second to be measured on."""

    def put(name: str) -> Any:
        return np.concatenate([getattr(train, name), getattr(validation, name)])

    return RankerData(
        **{name: put(name) for name in ("item", "features", "position", "user", "attribute", "surface")},
        offsets=np.concatenate([train.offsets, validation.offsets[1:] + train.offsets[-1]]),
        request_features=train.request_features,
        labels={name: np.concatenate([label, validation.labels[name]]) for name, label in train.labels.items()},
        history=Tokens(
            *(
                np.concatenate([getattr(train.history, name), getattr(validation.history, name)])
                for name in Tokens.__slots__
            )
        ),
        validation_from=train.batch,
        stands_for=None if train.stands_for is None else put("stands_for"),
    )
