"""A log copied into another backend is the same log: it can be stopped, resumed, caught up with, and is compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from tests.postgres import schema_of
from upnext.cli import cli
from upnext.config import Config
from upnext.errors import StorageError
from upnext.home import Home
from upnext.live import Live
from upnext.migrate import Copied, migrate
from upnext.snapshot import restore, save
from upnext.storage.log import DUPLICATE, Log
from upnext.storage.open import open_log, open_tables
from upnext.storage.tables import TABLES, Tables
from upnext.testing.logs import events, some
from upnext.testing.postgres_server import Server
from upnext.testing.same_state import differences


@dataclass
class Two:
    """URLs of a log that holds something of everything, and of one that is to be its copy."""

    home: Path
    source: str
    target: str

    def log(self, url: str) -> Log:
        return open_log(url, self.home)

    def tables(self, url: str) -> Tables:
        return open_tables(url, self.home, new=True)

    def migrate(self, part: int = 7) -> Copied:
        old, new = self.tables(self.source), self.tables(self.target)
        try:
            return migrate(old, new, part=part)
        finally:
            old.close()
            new.close()


@pytest.fixture(params=["sqlite to postgresql", "postgresql to sqlite", "sqlite to sqlite"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Two:
    urls = {"sqlite": "sqlite:///var/{}.db"}
    if "postgresql" in request.param:
        server: Server = request.getfixturevalue("postgres")
        urls["postgresql"] = f"postgresql://{server.rest(schema_of(tmp_path))}{{}}"
    source, _, target = request.param.partition(" to ")
    found = Two(tmp_path, urls[source].format("a"), urls[target].format("b"))
    log = found.log(found.source)
    _fill(log)
    log.close()
    return found


def _fill(log: Log) -> None:
    log.append_events(some(40))
    log.append_events(
        events(
            ("watch", "v\x00", "i3", 100),
            ("watch", "ü", "new", 101),
            event_id=["given", None],
            received_at=[None, 1_650_000_000_500],
            value=[12.5, None],
            session_id=["s", None],
            recommendation_id=[None, "r"],
            position=[3, None],
            surface=["home", None],
            as_of=[7, None],
            context=['{"a": "␀"}', None],
        )
    )
    log.upsert_items(
        pl.DataFrame(
            {
                "item_id": ["i1", "late"],
                "title": ["One", None],
                "categories": [["a", "b"], None],
                "duration": [1.5, None],
                "available": [False, None],
                "vector": [[0.25, -1.0], None],
            }
        )
    )
    log.delete_items(["i2"])
    log.upsert_users(pl.DataFrame({"user_id": ["v\x00"], "attributes": ['{"age": 3}'], "blocked_authors": [["x"]]}))


def test_a_copy_is_the_same_log(two: Two) -> None:
    copied = two.migrate()
    assert copied.rows == copied.fresh | {"surfaces": 2}
    assert copied.rows["events"] == 42
    assert all(copied.checksums.values())
    one, other = two.log(two.source), two.log(two.target)
    assert one.identity()[0] != other.identity()[0]
    assert one.marks() == other.marks()
    assert one.read_items().equals(other.read_items())
    assert one.read_users().equals(other.read_users())
    for name in one.read_events().__slots__:
        assert getattr(one.read_events(), name).tobytes() == getattr(other.read_events(), name).tobytes()
    assert other.append_events(some(40)).status.tolist() == [DUPLICATE] * 40
    given = events(("like", "x", "y", 5), event_id=["given"])
    assert other.append_events(given).duplicates == 1
    assert other.upsert_items(pl.DataFrame({"item_id": ["z"], "vector": [[1.0, 2.0]]})) == 1
    one.close()
    other.close()


def test_a_saved_state_fits_the_copy(two: Two, tmp_path: Path) -> None:
    one = two.log(two.source)
    before = Live(one, Config())
    save(before, tmp_path / "state.npz")
    two.migrate()
    other = two.log(two.target)
    restored: list[bool] = []
    after = Live(other, Config(), restore=lambda live: bool(restored.append(restore(live, tmp_path / "state.npz"))))
    assert restored == [True]
    assert differences(before, after, 1_650_000_900_000) == []
    one.close()
    other.close()


def test_a_copy_that_was_stopped_is_no_log_and_goes_on(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = two.tables(two.target)
    written = type(tables).write
    left = [4]

    def breaking(self: Tables, table: str, rows: pl.DataFrame, notes: dict[str, int]) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        written(self, table, rows, notes)

    tables.close()
    monkeypatch.setattr(type(tables), "write", breaking)
    with pytest.raises(KeyboardInterrupt):
        two.migrate()
    monkeypatch.undo()
    with pytest.raises(StorageError, match=r"a copy into it has not ended.*upnext migrate"):
        two.log(two.target)
    copied = two.migrate()
    assert copied.fresh["events"] == 42 - 3 * 7
    assert copied.rows["events"] == 42
    two.log(two.target).close()


def test_a_copy_is_brought_up_to_date(two: Two) -> None:
    two.migrate()
    log = two.log(two.source)
    log.append_events(events(("click", "w", "i1", 900)))
    log.upsert_items(pl.DataFrame({"item_id": ["i1"], "title": ["Two"]}))
    log.delete_users(["ü"])
    log.close()
    assert two.migrate().fresh == {"events": 1, "event_types": 0, "surfaces": 0, "items": 1, "users": 2}
    assert set(two.migrate().fresh.values()) == {0}


def test_a_source_that_is_written_to_meanwhile_is_copied_the_next_time(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = two.log(two.source)
    tables = two.tables(two.source)
    part = type(tables).part

    def busy(self: Tables, table: str, after: tuple[int, ...] | None, limit: int) -> pl.DataFrame:
        found = part(self, table, after, limit)
        if table == "users" and not len(found):
            writer.append_events(events(("click", "u", "i1", 7_000)))
        return found

    monkeypatch.setattr(type(tables), "part", busy)
    with pytest.raises(StorageError, match=r"is being written to.*same command again"):
        two.migrate()
    monkeypatch.undo()
    writer.close()
    tables.close()
    assert two.migrate().fresh["events"] >= 1


def test_what_is_no_copy_is_left_alone(two: Two) -> None:
    log = two.log(two.target)
    log.upsert_items(pl.DataFrame({"item_id": ["mine"]}))
    log.close()
    with pytest.raises(StorageError, match="not empty, and no copy of"):
        two.migrate()
    with pytest.raises(StorageError, match="is the log that is to be copied"):
        Two(two.home, two.source, two.source).migrate()


def test_a_copy_that_went_on_by_itself_is_left_alone(two: Two) -> None:
    two.migrate()
    log = two.log(two.target)
    log.append_events(events(("click", "w", "i1", 900)))
    log.close()
    with pytest.raises(StorageError, match="has gone on by itself"):
        two.migrate()
    log = two.log(two.source)  # both went on, to the same offset
    log.append_events(events(("click", "other", "i2", 901)))
    log.close()
    with pytest.raises(StorageError, match="has gone on by itself"):
        two.migrate()


def test_a_difference_is_found(two: Two) -> None:
    two.migrate()
    tables = two.tables(two.target)
    items = tables.part("items", None, 100)
    changed = items.filter(pl.col("code") == 20).with_columns(title=pl.lit("changed"))
    tables.write("items", changed, {})
    tables.close()
    with pytest.raises(StorageError, match=r"items differ .*after .*expected 7 with .*Empty it"):
        two.migrate()
    with pytest.raises(StorageError, match="has not ended"):
        two.log(two.target)


def test_the_command(two: Two) -> None:
    Home.create(two.home)
    done = CliRunner().invoke(cli, ["migrate", "--home", str(two.home), two.source, two.target])
    assert done.exit_code == 0, done.output
    assert "events" in done.output
    assert "Now set storage.log" in done.output
    assert all(table in done.output for table in TABLES)


def test_a_source_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere\.db: there is no log"):
        open_tables("sqlite:///nowhere.db", tmp_path, new=False)
    assert not (tmp_path / "nowhere.db").exists()
    empty = Two(tmp_path, "sqlite:///empty.db", "sqlite:///copy.db")
    with pytest.raises(StorageError, match="holds nothing"):
        empty.migrate()
