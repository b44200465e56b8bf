from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from upnext.config import Config
from upnext.errors import ConfigError, HomeError, StorageError
from upnext.home import Home
from upnext.settings import render_toml


def test_a_new_home_is_a_commented_file_and_a_folder(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "deep" / "shop")
    assert home.config == Config()
    assert (home.directory / "upnext.toml").read_text(encoding="utf-8") == render_toml(Config())
    assert sorted(entry.name for entry in home.directory.iterdir()) == ["upnext.toml", "var"]
    assert Home.open(home.directory) == home


def test_a_folder_that_is_there_may_become_a_home(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    Home.create(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_home_is_never_made_over_another(tmp_path: Path) -> None:
    Home.create(tmp_path)
    settings = tmp_path / "upnext.toml"
    settings.write_text("[training]\nseed = 3\n")
    with pytest.raises(HomeError, match=r"is a home already \(upnext.toml exists\). Nothing was changed."):
        Home.create(tmp_path)
    assert settings.read_text() == "[training]\nseed = 3\n"
    assert Home.open(tmp_path).config.training.seed == 3


def test_a_place_where_no_folder_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match=r"file/home: cannot be made a home \(Not a directory\)"):
        Home.create(tmp_path / "file" / "home")


def test_a_folder_that_is_no_home_says_how_to_make_one(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "absent"):
        with pytest.raises(HomeError, match=r"is no home \(no upnext.toml\). `upnext init .*` makes one."):
            Home.open(directory)


def test_overrides_reach_the_configuration_and_wrong_settings_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Home.create(tmp_path)
    assert Home.open(tmp_path, ["evaluation.k=3"]).config.evaluation.k == 3
    monkeypatch.setenv("UPNEXT__EVALUATION__K", "4")
    assert Home.open(tmp_path).config.evaluation.k == 4
    (tmp_path / "upnext.toml").write_text("[evaluation]\nkk = 3\n")
    with pytest.raises(ConfigError, match=r"upnext.toml: unknown key 'evaluation.kk'"):
        Home.open(tmp_path)


def test_log_models_and_rejects_are_inside_the_home(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "shop")
    log = home.log()
    try:
        assert log.upsert_items(pl.DataFrame({"item_id": ["a"]})) == 1
    finally:
        log.close()
    assert (home.directory / "var" / "log.db").is_file()
    again = Home.open(home.directory).log()
    assert again.read_items()["item_id"].to_list() == ["a"]
    again.close()
    assert home.models().directory == home.directory / "var" / "models"
    assert home.models().active() is None
    assert home.rejects == home.directory / "var" / "rejects"


def test_a_log_elsewhere_is_named_by_its_url(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "shop")
    elsewhere = tmp_path / "elsewhere.db"
    opened = Home.open(home.directory, [f"storage.log=sqlite:///{elsewhere}"])
    opened.log().close()
    assert elsewhere.is_file()
    with pytest.raises((ConfigError, StorageError), match="oracle"):
        Home.open(home.directory, ["storage.log=oracle://host/db"]).log()
