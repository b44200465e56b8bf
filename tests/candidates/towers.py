"""A small world with one right answer: item i is followed by item i + 1 of the same ring."""

from __future__ import annotations

import numpy as np

from upnext.config import TwoTowerConfig
from upnext.content import ItemContent, Vocabulary, build_vocabulary, encode_items, encode_users
from upnext.training.interactions import Interactions
from upnext.training.progress import Silent
from upnext.training.two_tower import TwoTowerModel, fit_two_tower
from upnext.types import Catalogue, Int32, Users

RINGS, LENGTH, USERS, STEPS = 4, 10, 120, 8
ITEMS = RINGS * LENGTH + RINGS  # the last RINGS items are new: nobody has watched them
HOUR = 3_600_000
CONFIG = TwoTowerConfig(
    embedding_size=16, epochs=20, batch_size=128, negatives=32, in_batch_negatives=16, learning_rate=1e-2,
    history_size=6, dropout=0.0, id_dropout=0.3, temperature=0.07,
)  # fmt: skip


def following(item: int) -> int:
    ring, place = divmod(item, LENGTH)
    return ring * LENGTH + (place + 1) % LENGTH


def catalogue() -> Catalogue:
    ring = np.append(np.repeat(np.arange(RINGS), LENGTH), np.arange(RINGS)).astype(np.int32)
    return Catalogue(
        published_at=np.zeros(ITEMS, np.int64),
        duration=np.full(ITEMS, 60, np.float32),
        author=ring,
        category=ring[:, None],
        available=np.ones(ITEMS, np.bool_),
        title=[f"ring {'abcd'[code]}" for code in ring],
    )


def interactions(seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        item = int(rng.integers(RINGS * LENGTH))
        for step in range(STEPS):
            rows.append((step * 1000 + user, user, item))
            item = following(item)
    at, who, what = (np.array(column) for column in zip(*sorted(rows), strict=True))
    return Interactions(
        who.astype(np.int32), what.astype(np.int32), np.ones(len(at), np.float32), at * HOUR, USERS, ITEMS
    )


def world() -> tuple[Interactions, ItemContent, Vocabulary, Int32]:
    seen, items = interactions(), catalogue()
    rings = [f"ring {ring}" for ring in range(RINGS)]
    users = Users(np.zeros((USERS, 1), np.int32))
    words = build_vocabulary(items, rings, rings, users, ["kind=same"], [""], seen.item, seen.user)
    return seen, encode_items(items, rings, rings, words), words, encode_users(users, ["kind=same"], words)


def fit(config: TwoTowerConfig = CONFIG, validation_from: int | None = None, seed: int = 0) -> TwoTowerModel:
    seen, content, words, attributes = world()
    return fit_two_tower(
        seen, content, words, attributes, config,
        seed=seed, threads=1, progress=Silent(), validation_from=validation_from,
    )  # fmt: skip
