"""The copy of the catalogue: what is mapped and caught up equals what the log gives, and nothing unfit is used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from upnext import catalogue_copy
from upnext.config import Config
from upnext.home import Home
from upnext.live import Live
from upnext.storage.log import ITEM_SCHEMA, Log

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "item_id": st.integers(0, 15).map("i{}".format),
            "title": st.sampled_from([None, "", "red fox", "ein längerer Titel, der wächst"]),
            "author": st.sampled_from([None, "ann", "bob", "cyd"]),
            "categories": st.lists(st.sampled_from(["news", "sport", "art"]), max_size=3, unique=True),
            "duration": st.sampled_from([None, 1.5, 60.0]),
            "published_at": st.sampled_from([None, 77]),
            "available": st.booleans(),
            "vector": st.sampled_from([None, [1.0, 2.0]]),
        }
    ),
    max_size=12,
)


def change(log: Log, rows: list[dict[str, object]], gone: list[int]) -> None:
    if rows:
        schema = {name: ITEM_SCHEMA[name] for name in rows[0]}
        log.upsert_items(pl.DataFrame(rows, schema=schema))
    log.delete_items([f"i{number}" for number in gone])


def opened(log: Log, folder: Path) -> Live:
    return Live(log, Config(), restore=lambda live: catalogue_copy.restore(live, folder))


def content(live: Live) -> list[tuple[object, ...]]:
    """Every item as names and numbers, whatever the codes of authors and categories."""
    now, names = live.catalogue(), live.catalogue
    # A column in which nobody has a vector any more says the same as none: the length is the log's, and settled.
    rows = np.full((len(now), 1), np.nan) if now.vector is None else now.vector
    vectors = [None if np.isnan(row).all() else str(row) for row in rows]
    return [
        (
            names.ids.names[item], now.title[item], names.authors.decode([a for a in [now.author[item]] if a >= 0]),
            names.categories.decode([c for c in now.category[item] if c >= 0]), str(now.duration[item]),
            now.published_at[item], now.available[item], item in names.deleted, vectors[item],
        )
        for item in range(len(now))
    ]  # fmt: skip


ONE = {"title": None, "author": None, "categories": [], "duration": None, "published_at": None, "available": True}


@example(
    first=[{"item_id": "i0", **ONE, "vector": [1.0, 2.0]}],
    later=[([{"item_id": "i0", **ONE, "vector": None}], [])],  # the only vector goes
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=ROWS, later=st.lists(st.tuples(ROWS, st.lists(st.integers(0, 15), max_size=3)), max_size=3))
def test_a_copy_and_what_changed_since_equal_the_log(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[dict[str, object]],
    later: list[tuple[list[dict[str, object]], list[int]]],
) -> None:
    home = tmp_path_factory.mktemp("home") / "home"
    log, folder = Home.create(home).log(), home / catalogue_copy.FOLDER
    change(log, first, [])
    for rows, gone in later:
        live = opened(log, folder)
        assert catalogue_copy.save(live, folder)
        change(log, rows, gone)
        live.refresh()
        again = opened(log, folder)
        assert again.items_read <= len(rows) + len(gone)
        for other in (live, again):
            assert content(other) == content(Live(log, Config()))
    log.close()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    log = Home.create(tmp_path / "home").log()
    rows = [{"item_id": f"i{n}", "title": f"t{n}", "author": f"a{n % 3}", "categories": ["c"]} for n in range(40)]
    log.upsert_items(pl.DataFrame(rows))
    return log


def test_known_authors_keep_their_codes(log: Log, tmp_path: Path) -> None:
    """The counters of a restored state are kept by codes that another process may have given in another order."""
    catalogue_copy.save(Live(log, Config()), tmp_path / "copy")

    def restore(live: Live) -> bool:
        live.catalogue.authors.extend(["a2", "somebody", "a1"])
        return catalogue_copy.restore(live, tmp_path / "copy")

    live = Live(log, Config(), restore=restore)
    assert live.items_read == 0
    assert list(live.catalogue.authors.names) == ["a2", "somebody", "a1", "a0"]
    assert content(live) == content(Live(log, Config()))


@pytest.mark.parametrize("name", ["author.npy", "item_id_bytes.npy", "title_span.npy"])
def test_a_damaged_copy_is_not_used(name: str, log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "copy"
    live = Live(log, Config())
    catalogue_copy.save(live, folder)
    path = next(folder.glob("columns-*")) / name
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 0xFF
    path.write_bytes(raw)
    again = opened(log, folder)
    assert f"is not used: it is damaged ({name})" in caplog.text
    assert again.items_read == 40
    assert content(again) == content(live)


def test_what_is_unfit_is_not_used(log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "copy"
    catalogue_copy.save(Live(log, Config()), folder)
    other = Home.create(tmp_path / "other").log()
    assert len(opened(other, folder).catalogue()) == 0
    assert "another log" in caplog.text
    about = json.loads((folder / "about.json").read_text())
    for key, value, said in (
        ("revision", 99, "newer than the log"),
        ("format", 0, "format 0"),
        ("size", None, "int()"),
    ):
        (folder / "about.json").write_text(json.dumps({**about, key: value}))
        assert opened(log, folder).items_read == 40
        assert said in caplog.text
    (folder / "about.json").write_text("nonsense")
    assert opened(log, folder).items_read == 40


def test_one_copy_is_kept_and_written_only_when_worth_it(log: Log, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    live = Live(log, Config())
    saved = catalogue_copy.save_if_worth(live, folder, 0)
    assert saved == 40
    first = next(folder.glob("columns-*"))
    for number in range(2):
        log.upsert_items(pl.DataFrame({"item_id": [f"new {number}"]}))
        live.refresh()
        assert catalogue_copy.save_if_worth(live, folder, saved) == 40
    log.upsert_items(pl.DataFrame({"item_id": ["new 2"]}))
    live.refresh()
    assert catalogue_copy.save_if_worth(live, folder, saved) == 43
    assert first not in list(folder.glob("columns-*"))
    assert len(list(folder.iterdir())) == 2
    np.testing.assert_array_equal(opened(log, folder).catalogue().author, live.catalogue().author)
