"""MovieLens and MovieTweetings: ``ratings``, ``movies``, ``users`` as ``::`` files or csv; the ``u.`` files of 100K."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from upnext.errors import DataError
from upnext.events.batches import Batch, size_of
from upnext.events.readers.delimited import read_csv, text_blocks
from upnext.events.schema import LINE
from upnext.events.validate import reject_rows

_RATINGS = ("user_id", "item_id", "value", "happened_at")
_MOVIES = ("item_id", "title", "genres")
_USERS = ("user_id", "gender", "age", "occupation", "zip")
_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_LAYOUTS = {  # file -> its separator (a csv's is found out) and its columns
    "ratings.dat": ("::", _RATINGS),
    "ratings.csv": (",", _RATINGS),
    "u.data": ("\t", _RATINGS),
    "movies.dat": ("::", _MOVIES),
    "movies.csv": (",", _MOVIES),
    "u.item": ("|", ("item_id", "title", "release", "video_release", "url", *_GENRES)),  # a 1 in those of its genres
    "users.dat": ("::", _USERS),
    "u.user": ("|", ("user_id", "age", "gender", "occupation", "zip")),
}
_CSV_NAMES = {"userId": "user_id", "movieId": "item_id", "rating": "value", "timestamp": "happened_at"}
_NO_GENRES = "(no genres listed)"

Part = tuple[pl.DataFrame, pl.DataFrame, int]  # rows, rejects, bytes


class MovieLens:
    """Movies are items, ratings events of type ``rating``. The year of a title becomes an attribute:
    it is no date of publication in this system."""

    def __init__(self, path: Path) -> None:
        folder = path if path.is_dir() else path.parent
        self.name = folder.resolve().name
        self.notes: list[str] = []
        ratings = _one_of(folder, "ratings.dat", "ratings.csv", "u.data")
        if ratings is None:
            names = ", ".join(sorted(entry.name for entry in folder.iterdir())[:20]) or "nothing"
            raise DataError(f"{folder}: has no ratings.dat, ratings.csv or u.data; found {names}")
        self._ratings = ratings
        self._movies = _one_of(folder, "movies.dat", "movies.csv", "u.item")
        self._users = _one_of(folder, "users.dat", "u.user")
        used = [path for path in (self._ratings, self._movies, self._users) if path]
        self.total = size_of(*used)
        others = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and entry not in used)
        if others:
            self.notes.append(f"left out the files {', '.join(others[:20])}")

    def __iter__(self) -> Iterator[Batch]:
        if self._movies:
            for rows, rejects, units in self._parts(self._movies):
                yield Batch("items", _items(rows), self._movies.name, rejects, units=units)
        if self._users:
            yield from self._read_users(self._users)
        for rows, rejects, units in self._parts(self._ratings):
            events = rows.select(*_RATINGS, LINE).with_columns(event_type=pl.lit("rating"))
            yield Batch("events", events, self._ratings.name, rejects, units=units)

    def _read_users(self, path: Path) -> Iterator[Batch]:
        """Only MovieLens's users have attributes; zip codes are left out, for hardly two users share one."""
        separator, columns = _LAYOUTS[path.name]
        first = next(iter(text_blocks(path, path.name, encoding="latin-1")), None)
        if first is None or len(first.text) == 0 or first.text[0].count(separator) != len(columns) - 1:
            self.notes.append(f"left out {path.name}: it has no age, gender or occupation")
            return
        for rows, rejects, units in self._parts(path):
            attributes = pl.struct("gender", "age", "occupation").struct.json_encode().alias("attributes")
            yield Batch("users", rows.select("user_id", attributes, LINE), path.name, rejects, units=units)

    def _parts(self, path: Path) -> Iterator[Part]:
        separator, columns = _LAYOUTS[path.name]
        if path.suffix == ".csv":
            return _read_csv(path, columns)
        encoding = _encoding(path)
        if encoding != "utf-8":
            self.notes.append(f"{path.name}: is not UTF-8, read as {encoding}")
        return _read_text(path, columns, separator, encoding)


def _items(rows: pl.DataFrame) -> pl.DataFrame:
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$")
    if "genres" not in rows.columns:
        named = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES[1:]]
        rows = rows.with_columns(genres=pl.concat_str(named, separator="|", ignore_nulls=True).replace("", _NO_GENRES))
    genres = pl.when(pl.col("genres") != _NO_GENRES).then("genres")
    return rows.select(
        "item_id",
        pl.col("title").str.replace(r"\s*\(\d{4}\)\s*$", "").alias("title"),
        genres.alias("categories"),
        pl.when(year.is_not_null()).then(pl.concat_str(pl.lit('{"year": '), year, pl.lit("}"))).alias("attributes"),
        LINE,
    )


def _read_csv(path: Path, columns: tuple[str, ...]) -> Iterator[Part]:
    for frame, rejects, units in read_csv(path, path.name):
        named = frame.rename(_CSV_NAMES, strict=False)
        missing = [name for name in columns if name not in named.columns]
        if missing:
            found = ", ".join(name for name in frame.columns if name != LINE)
            raise DataError(f"{path.name}: no column for {missing[0]!r}; found are {found}; is this a MovieLens file?")
        yield named, rejects, units


def _read_text(path: Path, columns: tuple[str, ...], separator: str, encoding: str) -> Iterator[Part]:
    for lines in text_blocks(path, path.name, encoding=encoding):
        fields = lines.text.str.count_matches(separator, literal=True) + 1
        good = fields == len(columns)
        bad = zip(lines.number.filter(~good), lines.text.filter(~good), fields.filter(~good), strict=True)
        reason = f"fields between {separator!r}, expected {len(columns)} ({', '.join(columns)})"
        rejects = [(number, "", text, f"has {count} {reason}") for number, text, count in bad]
        split = lines.text.filter(good).str.split_exact(separator, len(columns) - 1).struct.unnest()
        frame = split.rename(dict(zip(split.columns, columns, strict=True)))
        yield (
            frame.with_columns(lines.number.filter(good).alias(LINE)),
            reject_rows(path.name, [*lines.rejects, *rejects]),
            lines.bytes,
        )


def _encoding(path: Path) -> str:
    """MovieLens 1M is Latin-1, MovieTweetings UTF-8. One bad line does not make a file Latin-1."""
    bad = sum(len(lines.rejects) for lines in text_blocks(path, path.name))
    return "latin-1" if bad > 1 else "utf-8"


def _one_of(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)
