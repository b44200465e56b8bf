"""Which home is measured: the one of that size, a new one, or none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from upnext.bench import home as bench_home
from upnext.bench.command import Took
from upnext.bench.home import NOTES_FILE, Size, bytes_on_disk, prepare
from upnext.errors import ConfigError, HomeError
from upnext.home import Home

SIZE = Size(1000, 100, 20_000)


class Commands:
    """Stands in for the real ones: remembers their names, and makes the folders that they would make."""

    def __init__(self, failing: str = "") -> None:
        self.names: list[str] = []
        self._failing = failing

    def __call__(self, arguments: Sequence[str]) -> Took:
        name = arguments[0]
        self.names.append(name)
        if name == self._failing:
            raise HomeError(f"`upnext {name}` ended with status 2; see above")
        if name == "simulate":
            Path(arguments[1]).mkdir()
        if name == "init":
            (Path(arguments[1]) / "upnext.toml").touch()
        return Took(1.0 + len(self.names), 0.5, 100.0)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    fake = Commands()
    monkeypatch.setattr(bench_home, "run_command", fake)
    return fake


def test_a_home_is_made_once_by_the_commands_that_anybody_uses(tmp_path: Path, commands: Commands) -> None:
    said: list[str] = []
    made = prepare(tmp_path / "b", SIZE, said.append)
    assert commands.names == ["simulate", "init", "import", "train"]
    assert any("--items=1000 --users=100 --impressions=20000" in line for line in said)
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [NOTES_FILE, "upnext.toml"]
    again = prepare(tmp_path / "b", SIZE, said.append)
    assert len(commands.names) == 4
    assert (again.took, again.size, again.made_at) == (made.took, SIZE, made.made_at)
    assert again.took["train"] == Took(5.0, 0.5, 100.0)


def test_an_empty_folder_is_taken(tmp_path: Path, commands: Commands) -> None:
    (tmp_path / "b").mkdir()
    prepare(tmp_path / "b", SIZE, lambda text: None)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_home_of_another_size_is_refused_with_both_sizes(tmp_path: Path, commands: Commands) -> None:
    prepare(tmp_path / "b", SIZE, lambda text: None)
    before = (tmp_path / "b" / NOTES_FILE).read_bytes()
    with pytest.raises(HomeError) as refused:
        prepare(tmp_path / "b", Size(2000, 100, 30_000), lambda text: None)
    for number in ("1,000 items", "100 users", "20,000 impressions", "2,000", "30,000", "Name another --home"):
        assert number in str(refused.value)
    assert (tmp_path / "b" / NOTES_FILE).read_bytes() == before
    assert len(commands.names) == 4


def test_settings_are_trained_with_and_belong_to_the_home(tmp_path: Path, commands: Commands) -> None:
    said: list[str] = []
    made = prepare(tmp_path / "b", SIZE, said.append, ["candidates.two_tower.epochs=2"])
    assert "--set=candidates.two_tower.epochs=2" in said[-1]
    assert prepare(tmp_path / "b", SIZE, said.append, ["candidates.two_tower.epochs=2"]).settings == made.settings
    assert made.home.config.candidates.two_tower.epochs == 2
    with pytest.raises(HomeError, match=r"made with the settings candidates\.two_tower\.epochs=2, asked for are those"):
        prepare(tmp_path / "b", SIZE, said.append)
    with pytest.raises(ConfigError, match=r"candidates\.two_tower\.epochs"):
        prepare(tmp_path / "c", SIZE, said.append, ["candidates.two_tower.epochs=0"])
    assert not (tmp_path / "c").exists()


def test_a_folder_with_something_else_is_refused_and_left_as_it_is(tmp_path: Path, commands: Commands) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(HomeError, match="holds something else than a benchmark's home"):
        prepare(tmp_path, SIZE, lambda text: None)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("thesis.txt", "years of work")]
    assert commands.names == []


@pytest.mark.parametrize("failing", ["simulate", "import", "train"])
def test_a_failed_command_leaves_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    monkeypatch.setattr(bench_home, "run_command", Commands(failing))
    with pytest.raises(HomeError, match=f"upnext {failing}"):
        prepare(tmp_path / "b", SIZE, lambda text: None)
    assert not (tmp_path / "b").exists()
    monkeypatch.setattr(bench_home, "run_command", Commands())
    prepare(tmp_path / "b", SIZE, lambda text: None)  # what was left half-made is in nobody's way
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_notes_name_what_was_measured(tmp_path: Path, commands: Commands) -> None:
    prepare(tmp_path / "b", SIZE, lambda text: None)
    notes = json.loads((tmp_path / "b" / NOTES_FILE).read_text())
    assert notes["size"] == {"items": 1000, "users": 100, "impressions": 20_000}
    assert set(notes["took"]) == {"simulate", "init", "import", "train"}


def test_all_bytes_of_a_home_are_counted_once(home: Home) -> None:
    found = bytes_on_disk(home)
    folder, manifest = home.models().open()
    model = sum(size for name, size in found.items() if name.startswith("model"))
    assert model == manifest.bytes
    assert found["model, item index"] >= (folder / "sources/two_tower/index.faiss").stat().st_size
    var = home.directory / "var"
    assert found["log"] == sum(path.stat().st_size for path in var.glob("log.db*"))
    assert found["catalogue"] == sum(path.stat().st_size for path in (var / "catalogue").rglob("*") if path.is_file())
