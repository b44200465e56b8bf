"""The snapshot: what is restored and caught up equals what the whole log gives, and nothing unfit is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upnext import snapshot
from upnext.config import Config
from upnext.home import Home
from upnext.live import Live
from upnext.storage.log import Log
from upnext.testing.same_state import differences

MINUTE = 60_000
START = 1_700_000_000_000


def items(number: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(number)],
            "author": [f"a{n % 7}" for n in range(number)],
            "categories": [[f"c{n % 5}", f"c{n % 3}"] for n in range(number)],
        }
    )


def events(number: int, seed: int, start: int = START) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    at = start + np.sort(rng.integers(0, 600 * MINUTE, number))
    return pl.DataFrame(
        {
            "event_id": [f"{seed}-{n}" for n in range(number)],
            "event_type": rng.choice(["impression", "click", "watch", "like", "hide"], number),
            "user_id": [f"u{n}" for n in rng.integers(0, 9, number)],
            "item_id": [f"i{n}" for n in rng.integers(0, 40, number)],
            "happened_at": at,
            "value": rng.uniform(0, 500, number),
            "as_of": [seed if n > number // 2 else None for n in range(number)],
        }
    )


@pytest.fixture
def log(tmp_path: Path) -> Log:
    log = Home.create(tmp_path / "home").log()
    log.upsert_items(items(30))
    log.append_events(events(300, 1))
    return log


def same_state(one: Live, other: Live) -> None:
    assert differences(one, other, START + 99_999 * MINUTE) == []


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=4), ticks=st.integers(0, 700))
def test_a_restored_state_and_the_tail_equal_the_whole_log(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], ticks: int
) -> None:
    folder, config = tmp_path_factory.mktemp("home"), Config()
    log = Home.create(folder / "home").log()
    log.upsert_items(items(30))
    log.append_events(events(300, 0))
    live = Live(log, config)
    live.state.advance(START + ticks * MINUTE)
    for number, size in enumerate(sizes, 1):
        snapshot.save(live, folder / "state.npz")
        log.append_events(events(size, number, START + number * 600 * MINUTE))
        live = Live(log, config, restore=lambda fresh: snapshot.restore(fresh, folder / "state.npz"))
        live.state.advance(START + (number * 600 + ticks) * MINUTE)
    whole = Live(log, config)
    same_state(live, whole)


def test_author_codes_are_those_of_the_counters(log: Log, tmp_path: Path) -> None:
    """An author that comes first in the catalogue after a restart must not inherit another one's counts."""
    live = Live(log, Config())
    live.state.advance(START + 9_999 * MINUTE)
    log.upsert_items(pl.DataFrame({"item_id": ["i0"], "author": ["a new one"]}))
    live.refresh()
    snapshot.save(live, tmp_path / "state.npz")
    again = Live(log, Config(), restore=lambda fresh: snapshot.restore(fresh, tmp_path / "state.npz"))
    assert list(again.catalogue.authors.names) == list(live.catalogue.authors.names)
    np.testing.assert_array_equal(again.catalogue().author, live.catalogue().author)


def _broken(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _nonsense(path: Path) -> None:
    path.write_text("not a snapshot")


@pytest.mark.parametrize("damage", [_broken, _cut, _nonsense])
def test_a_damaged_snapshot_is_not_used(
    damage: object, log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.npz"
    whole = Live(log, Config())
    snapshot.save(whole, path)
    damage(path)  # type: ignore[operator]
    again = Live(log, Config(), restore=lambda fresh: snapshot.restore(fresh, path))
    assert "is not used: it is damaged" in caplog.text
    same_state(again, whole)


def test_a_snapshot_of_other_settings_or_another_log_is_not_used(
    log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.npz"
    snapshot.save(Live(log, Config()), path)
    changed = Config.model_validate({"features": {"tick_seconds": 7}})
    assert Live(log, changed, restore=lambda fresh: snapshot.restore(fresh, path)).offset == 299
    assert "other settings" in caplog.text
    other = Home.create(tmp_path / "other").log()
    other.append_events(events(300, 2))
    assert Live(other, Config(), restore=lambda fresh: snapshot.restore(fresh, path)).offset == 299
    assert "another log" in caplog.text


def test_saving_leaves_one_file_and_replaces_the_last(log: Log, tmp_path: Path) -> None:
    live, path = Live(log, Config()), tmp_path / "state" / "state.npz"
    assert snapshot.save(live, path) == 299
    log.append_events(events(5, 3))
    live.refresh()
    assert snapshot.save(live, path) == 304
    assert [entry.name for entry in path.parent.iterdir()] == ["state.npz"]
