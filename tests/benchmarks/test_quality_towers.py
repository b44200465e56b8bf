from __future__ import annotations

from pathlib import Path

import numpy as np
from benchmarks.quality.towers import TABLES, K, fit

from upnext.content import Vocabulary
from upnext.ids import IdMap

USERS, ITEMS, LENGTH = 400, 60, 10


def test_what_follows_is_foretold_from_files_alone(tmp_path: Path) -> None:
    """Each item leads to the next one: the item after the last is asked for, and no training had seen it."""
    item = (np.arange(USERS)[:, None] + np.arange(LENGTH + 1)) % ITEMS
    none, everybody, everything = IdMap([]), np.arange(USERS, dtype=np.int32), np.arange(ITEMS, dtype=np.int32)
    Vocabulary(
        title=none,
        category=none,
        author=none,
        attribute=none,
        surface=none,
        items=everything,
        users=everybody,
        vector_size=0,
    ).save(tmp_path)
    empty = {name: np.zeros((ITEMS, 1), np.int32) for name in ("title", "category")}
    zeros = {name: np.zeros(ITEMS, np.int32) for name in ("author", "duration")}
    content = {"id": everything + 1, **empty, **zeros, "vector": np.zeros((ITEMS, 0), np.float32)}
    content["has_vector"] = np.zeros(ITEMS, np.float32)
    np.savez(
        tmp_path / TABLES,
        user=np.repeat(everybody, LENGTH),
        item=item[:, :-1].ravel().astype(np.int32),
        weight=np.ones(USERS * LENGTH, np.float32),
        at=np.tile(np.arange(LENGTH, dtype=np.int64) * 86_400_000, USERS),
        users=USERS,
        items=ITEMS,
        attributes=np.zeros((USERS, 1), np.int32),
        asked=everybody.astype(np.int64),
        truth=item[:, -1],
        **{f"content_{name}": column for name, column in content.items()},
    )  # fmt: skip
    found = fit(tmp_path, 16, 10, "transformer", "cpu", 0)
    assert found[f"recall@{K}"] > 0.35  # by chance: a fifth
    assert 0 < found[f"ndcg@{K}"] <= found[f"recall@{K}"]
