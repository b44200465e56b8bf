"""A played world as the frames that the log and the catalogue take, in memory and as files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from upnext.errors import DataError
from upnext.simulation.choice import REACT_MS
from upnext.simulation.creation import ATTRIBUTES, make_world
from upnext.simulation.log import Played, play
from upnext.simulation.world import ARRAYS, World, WorldConfig
from upnext.storage.log import EVENT_SCHEMA, ITEM_SCHEMA, USER_SCHEMA
from upnext.training.progress import Progress, Silent
from upnext.types import Bool, Int64

SURFACE = "home"
CATEGORY_SHARE = 0.15  # a topic with at least this share of an item is one of its categories


@dataclass(frozen=True)
class SimulatedData:
    """What a home would import, and the truth behind it. Row n of ``items``/``users`` is row n of the truth."""

    items: pl.DataFrame
    users: pl.DataFrame
    events: pl.DataFrame
    truth: World


def simulate(config: WorldConfig, progress: Progress | None = None) -> SimulatedData:
    """A world, its days and its log; the same config gives the same bytes."""
    world = make_world(config)
    events = event_frame(play(world, progress or Silent()), config)
    return SimulatedData(item_frame(world), user_frame(world), events, world)


def item_frame(world: World) -> pl.DataFrame:
    """The catalogue in the columns of ``ITEM_SCHEMA``; the category of largest share comes first."""
    names = pl.Series(world.author_names)
    frame = pl.DataFrame(
        {
            "item_id": _ids("i", np.arange(world.config.items)),
            "title": list(world.title),
            "author": names.gather(world.author),
            "categories": _categories(world),
            "duration": world.duration.astype(np.float64),
            "published_at": world.published_at,
        }
    )
    return _complete(frame, ITEM_SCHEMA)


def user_frame(world: World) -> pl.DataFrame:
    """The users in the columns of ``USER_SCHEMA``, what they said of themselves as a JSON object."""
    named = {
        name: pl.Series(values).gather(world.attribute[:, n]) for n, (name, values) in enumerate(ATTRIBUTES.items())
    }
    frame = pl.DataFrame({**named, "interest": pl.Series(world.topic_names).gather(world.picked)})
    frame = frame.select(
        _ids("u", np.arange(world.config.users)).alias("user_id"),
        pl.struct(pl.all()).struct.json_encode().alias("attributes"),
    )
    return _complete(frame, USER_SCHEMA)


def event_frame(played: Played, config: WorldConfig) -> pl.DataFrame:
    """Impressions and what followed, in the columns of ``EVENT_SCHEMA``, by time."""
    answer = played.response
    shown_at = np.broadcast_to(played.at[:, None], played.slate.shape)
    parts = [
        _events(played, "impression", played.slate >= 0, shown_at),
        _events(played, "click", answer.clicked, answer.clicked_at),
        _events(played, "watch", answer.clicked, answer.watched_at),
        _events(played, "like", answer.liked, answer.watched_at + REACT_MS),
        _events(played, "share", answer.shared, answer.watched_at + 2 * REACT_MS),
    ]
    frame = pl.concat(parts).sort("happened_at", "slate", "position", maintain_order=True)
    frame = frame.with_columns(
        _prefixed("u", "user_id"),
        _prefixed("i", "item_id"),
        _prefixed("s", "session_id"),
        _prefixed("r", "slate").alias("recommendation_id"),
        pl.lit(SURFACE).alias("surface"),
        pl.col("happened_at").alias("received_at"),
    )
    return _complete(frame, EVENT_SCHEMA)


def _events(played: Played, name: str, where: Bool, at: Int64) -> pl.DataFrame:
    slate, position = np.nonzero(where)
    seconds = played.response.seconds[where].astype(np.float64)
    return pl.DataFrame(
        {
            "event_type": pl.repeat(name, len(slate), eager=True),
            "user_id": played.user[slate],
            "item_id": played.slate[where],
            "happened_at": at[where],
            "value": seconds if name == "watch" else pl.repeat(None, len(slate), dtype=pl.Float64, eager=True),
            "session_id": played.session[slate],
            "slate": slate,
            "position": position,
        }
    )


def _categories(world: World) -> pl.Series:
    share = world.item_topic.reshape(-1, world.config.topics, world.config.subtopics).sum(axis=2)
    item, topic = np.nonzero(share >= CATEGORY_SHARE)
    order = np.lexsort((-share[item, topic], item))
    names = pl.Series(world.topic_names).gather(topic[order])
    frame = pl.DataFrame({"item": item[order], "category": names})
    return frame.group_by("item", maintain_order=True).agg("category")["category"]


def _ids(prefix: str, rows: Int64) -> pl.Series:
    return pl.DataFrame({"row": rows}).select(_prefixed(prefix, "row")).to_series()


def _prefixed(prefix: str, column: str) -> pl.Expr:
    return pl.concat_str(pl.lit(prefix), pl.col(column).cast(pl.String)).alias(column)


def _complete(frame: pl.DataFrame, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in schema.items()
    )


def write_world(data: SimulatedData, directory: Path, with_truth: bool = True) -> None:
    """Write items, users and events as Parquet and, if wanted, the truth as npy and JSON below ``directory``."""
    truth = directory / "truth"
    (truth if with_truth else directory).mkdir(parents=True, exist_ok=True)
    for name in ("items", "users", "events"):
        getattr(data, name).write_parquet(directory / f"{name}.parquet")
    if not with_truth:
        return
    for name in ARRAYS:
        np.save(truth / f"{name}.npy", getattr(data.truth, name), allow_pickle=False)
    said = {
        "config": asdict(data.truth.config),
        "topic_names": data.truth.topic_names,
        "author_names": data.truth.author_names,
    }
    (truth / "world.json").write_text(json.dumps(said, indent=1), encoding="utf-8")


def load_truth(directory: Path) -> World:
    """The world that ``write_world`` wrote there. Raises DataError naming the folder if it is none."""
    truth = directory / "truth"
    try:
        said = json.loads((truth / "world.json").read_text(encoding="utf-8"))
        arrays = {name: np.load(truth / f"{name}.npy", allow_pickle=False) for name in ARRAYS}
        title = pl.read_parquet(directory / "items.parquet", columns=["title"])["title"].to_list()
        config = WorldConfig(**said["config"])
        return World(config, tuple(said["topic_names"]), tuple(said["author_names"]), title, **arrays)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{directory}: holds no simulated world ({error}). `upnext simulate DIR` makes one.") from error
