"""Data by URL: a copy for as long as it is imported, and nothing of it afterwards."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from upnext.errors import ConfigError, StorageError
from upnext.events.fetched import fetched
from upnext.storage.bucket import Bucket

ITEMS = b"item_id,title\na,first\nb,second\n"


@pytest.fixture
def url() -> str:
    found = f"memory://data-{uuid.uuid4().hex}/today"
    for name, data in {"items.csv": ITEMS, "more/notes.txt": b"x"}.items():
        Bucket(found, "").create(name, data)
    return found


def test_a_folder_comes_as_a_folder(url: str, tmp_path: Path) -> None:
    with fetched(["movielens", f"{url}/"], tmp_path) as (word, path):
        assert word == "movielens"
        assert Path(path).name == "today"
        assert (Path(path) / "items.csv").read_bytes() == ITEMS
        assert (Path(path) / "more" / "notes.txt").read_bytes() == b"x"
        assert Path(path).is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_object_comes_as_a_file(url: str, tmp_path: Path) -> None:
    with fetched([f"{url}/items.csv"], tmp_path) as (path,):
        assert Path(path).name == "items.csv"
        assert Path(path).read_bytes() == ITEMS
    assert list(tmp_path.iterdir()) == []


def test_paths_stay_as_they_are(tmp_path: Path) -> None:
    with fetched(["kuairand", "/a/path", "file:///b/path"], tmp_path) as paths:
        assert paths == ["kuairand", "/a/path", "/b/path"]


def test_what_is_not_there_is_named(url: str, tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=f"{url}/nothing: there is no such object"),
        fetched([f"{url}/nothing"], tmp_path),
    ):
        pass
    with pytest.raises(ConfigError, match=r"import: .* unknown scheme 'ftp'"), fetched(["ftp://x/y"], tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_is_no_more_than_its_settings_takes_data(tmp_path: Path) -> None:
    with fetched(["/a/path"], tmp_path / "var") as paths:
        assert paths == ["/a/path"]
    assert (tmp_path / "var").is_dir()
