from pathlib import Path

from benchmarks import crash


def test_nothing_acknowledged_is_lost_or_counted_twice_by_ten_kills(tmp_path: Path) -> None:
    found = crash.run(tmp_path / "home", kills=10, seed=1)
    assert found["acknowledged"] > 50
    assert (found["lost"], found["repeated"], found["state differences"]) == (0, 0, 0)
