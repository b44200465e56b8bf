"""Single settings change in a file; comments, order and everything else stay as they were."""

from __future__ import annotations

import tomllib

import pytest

from upnext.config import Config
from upnext.errors import ConfigError
from upnext.settings import render_toml
from upnext.settings_edit import different, edited, value_at

LIKE = ("ranking", "tasks", "like", "weight")
DIVERSITY = ("reranking", "diversity")


def test_the_file_of_init_changes_in_two_lines_only() -> None:
    before = render_toml(Config())
    after = edited(before, {LIKE: 7.5, DIVERSITY: 0.6})
    lines = [(old, new) for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert [new.split("  #")[0] for _, new in lines] == ["weight = 7.5", "diversity = 0.6"]
    assert all(old.partition("#")[2] == new.partition("#")[2] for old, new in lines)
    assert edited(after, {LIKE: 2.0, DIVERSITY: 0.2}) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[reranking]\npool = 5\n",
        "[reranking]\n# diversity = 0.2\n[serving]\nport = 1\n",
        '[reranking] # how\n"diversity"=0.1# why\n',
        "[ranking.tasks.like]\nweight = 1\n\n\n[reranking]\ndiversity    =    0.1",
    ],
)
def test_what_people_write(text: str) -> None:
    after = tomllib.loads(edited(text, {DIVERSITY: 0.5, LIKE: 3.0}))
    assert value_at(after, DIVERSITY) == 0.5
    assert value_at(after, LIKE) == 3.0
    assert different(tomllib.loads(text), after, [("reranking", "pool"), ("serving", "port")]) == {}


@pytest.mark.parametrize("text", ["reranking = { diversity = 0.1 }\n", "reranking.diversity = 0.1\n"])
def test_what_it_cannot_change_it_refuses(text: str) -> None:
    with pytest.raises(ConfigError, match="edit it by hand"):
        edited(text, {DIVERSITY: 0.5})
