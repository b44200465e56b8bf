"""Data sets as splits: leave-last-out sequences, held-out check-ins, and ratings divided in time.

The public ones are known by name; any other folder in one of these formats by the name of the format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.split import Bool, Int64, Lists, Split, Splits

NO_TIMES = np.empty(0, np.int64)
VALIDATION_SHARE = 0.1  # of each user's check-ins
TEST_SHARE = 0.1  # of all ratings, the latest


def sequences(folder: Path) -> Splits:
    """As ``upnext import sequences`` reads them. The last item of each user is the test, the one before it validation.

    Models are fitted on all but the last two, for validation and test alike; the history at test time is all but
    the last.
    """
    lines = [line.split() for line in (folder / "sequences.txt").read_text(encoding="utf-8").splitlines() if line]
    about = folder / "attributes.json"
    table = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
    names = sorted({*table, *(item for line in lines for item in line[1:])}, key=lambda name: (len(name), name))
    code = {name: place for place, name in enumerate(names)}
    coded = [[code[item] for item in line[1:]] for line in lines]

    def split(end: int) -> Split:
        """The item that many places from the end is the truth."""
        return Split(
            users=np.array([line[0] for line in lines]),
            items=np.array(names),
            fit=Lists.of([row[:-2] for row in coded]),
            fit_at=NO_TIMES,
            history=Lists.of([row[:-end] for row in coded]),
            truth=Lists.of([row[-end:][:1] if len(row) > end else [] for row in coded]),
            attributes=Lists.of([table.get(name, []) for name in names]),
            ordered=True,
            now=0,
        )

    return Splits(split(1), split(2))


def check_ins(folder: Path) -> Splits:
    """``train.txt`` and ``test.txt``, as LightGCN's data sets are published: a line a user, without an order in time.

    Validation is a tenth of each user's training check-ins, drawn by seed.
    """
    train, test = (_numbers(folder / name) for name in ("train.txt", "test.txt"))
    users = max(*train, *test) + 1
    items = max(max(row, default=0) for part in (train, test) for row in part.values()) + 1
    known = Lists.of([train.get(user, []) for user in range(users)])
    held = np.random.default_rng(0).random(len(known.item)) < VALIDATION_SHARE

    def split(fit: Lists, truth: Lists) -> Split:
        return Split(
            users=np.arange(users).astype(np.str_),
            items=np.arange(items).astype(np.str_),
            fit=fit,
            fit_at=NO_TIMES,
            history=fit,
            truth=truth,
            attributes=Lists.of([[] for _ in range(items)]),
            ordered=False,
            now=0,
        )

    test_split = split(known, Lists.of([test.get(user, []) for user in range(users)]))
    return Splits(test_split, split(known.only(~held), known.only(held)))


def ratings(folder: Path) -> Splits:
    """``ratings.dat`` and ``movies.dat``. The last tenth by time is the test, the tenth before it validation.

    Any rating is relevant, as ``upnext import movielens`` has it: what somebody went to see and rate. Models know
    all ratings before the period, and everybody is asked at its beginning.
    """
    rows = [line.split("::") for line in (folder / "ratings.dat").read_text(encoding="utf-8").splitlines() if line]
    films = [line.split("::") for line in (folder / "movies.dat").read_text(encoding="utf-8").splitlines() if line]
    genres = {film[0]: [genre for genre in film[2].split("|") if genre] for film in films}
    at: Int64 = np.array([int(row[3]) * 1000 for row in rows], np.int64)
    order = np.argsort(at, kind="stable")
    at = at[order]
    users, user = np.unique(np.array([row[0] for row in rows])[order], return_inverse=True)
    items = np.array(sorted({*genres, *(row[1] for row in rows)}))
    item = np.searchsorted(items, np.array([row[1] for row in rows])[order])
    names = sorted({genre for film in genres.values() for genre in film})
    attributes = Lists.of([[names.index(genre) for genre in genres.get(str(name), [])] for name in items])

    def split(start: int, end: int) -> Split:
        before, within = at < start, (at >= start) & (at < end)
        fit = Lists.grouped(user[before], item[before], len(users))
        again = np.isin(_pairs(user, item), _pairs(user[before], item[before]))
        fresh = within & ~again
        truth = _distinct(user[fresh], item[fresh], len(users))
        return Split(
            users=users,
            items=items,
            fit=fit,
            fit_at=at[before][np.argsort(user[before], kind="stable")],
            history=fit,
            truth=truth,
            attributes=attributes,
            ordered=True,
            now=start,
        )

    test, validation = (int(at[int(len(at) * (1 - share))]) for share in (TEST_SHARE, 2 * TEST_SHARE))
    return Splits(split(test, int(at[-1]) + 1), split(validation, test))


LOADERS: Mapping[str, Callable[[Path], Splits]] = {
    "sequences": sequences,
    "check-ins": check_ins,
    "ratings": ratings,
}
PUBLIC: Mapping[str, str] = {
    "amazon-beauty": "sequences",
    "amazon-toys": "sequences",
    "gowalla": "check-ins",
    "movietweetings": "ratings",
}
NAMES = (*PUBLIC, *LOADERS)


def format_of(name: str) -> str:
    """The format of a data set of ``NAMES``: a key of ``LOADERS``."""
    return PUBLIC.get(name, name)


def load(name: str, folder: Path) -> Splits:
    """Raises SystemExit, which names the folder, where it is not in the format."""
    try:
        return LOADERS[format_of(name)](folder)
    except (OSError, ValueError, LookupError) as error:
        raise SystemExit(f"{folder} is not readable as {format_of(name)}: {type(error).__name__}: {error}") from error


def _numbers(path: Path) -> dict[int, list[int]]:
    rows = [[int(word) for word in line.split()] for line in path.read_text(encoding="utf-8").splitlines() if line]
    return {row[0]: row[1:] for row in rows}


def _pairs(user: NDArray[Any], item: NDArray[Any]) -> Int64:
    return (user.astype(np.int64) << 32) | item.astype(np.int64)


def _distinct(user: NDArray[Any], item: NDArray[Any], users: int) -> Lists:
    pairs = np.unique(_pairs(user, item))
    return Lists.grouped(pairs >> 32, pairs & 0xFFFFFFFF, users)


def warm_pairs(split: Split) -> Mapping[str, Bool]:
    """Masks over the entries of the truth: which of them concern somebody or something new."""
    new_user, new_item = split.cold_users[split.truth.row], split.cold_items[split.truth.item]
    return {"cold users": new_user, "cold items": new_item, "warm users and items": ~new_user & ~new_item}
