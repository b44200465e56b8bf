from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from upnext.config import Config, RankingConfig, Section, TaskConfig
from upnext.errors import ConfigError
from upnext.settings import load_config, render_toml


def load(text: str | None, tmp_path: Path, *overrides: str, **environ: str) -> Config:
    path = None
    if text is not None:
        path = tmp_path / "upnext.toml"
        path.write_text(text, encoding="utf-8")
    return load_config(path, overrides, environ)


def refused(*overrides: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides, environ)
    return str(caught.value)


def sections(section: BaseModel, path: str = "") -> Iterator[tuple[str, BaseModel]]:
    yield path, section
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from sections(value, f"{path}.{name}".lstrip("."))
        elif isinstance(value, dict):
            for key, entry in value.items():
                yield from sections(entry, f"{path}.{name}.{key}")


EVERY_SECTION = dict(sections(Config()))
EVERY_KEY = [
    f"{path}.{name}"
    for path, section in EVERY_SECTION.items()
    for name in type(section).model_fields
    if path and not isinstance(getattr(section, name), (Section, dict))
]


def at(config: Config, key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    return found


def test_the_written_file_is_the_defaults(tmp_path: Path) -> None:
    text = render_toml(Config())
    assert load(text, tmp_path) == Config()
    assert load("", tmp_path) == Config()
    assert load(None, tmp_path) == Config()
    written = tomllib.loads(text)
    for key in EVERY_KEY:
        if at(Config(), key) is not None:
            table: Any = written
            for part in key.split("."):
                table = table[part]


def test_the_written_file_holds_every_setting_with_its_description() -> None:
    lines = render_toml(Config()).splitlines()
    headings = [line.strip("[]") for line in lines if line.startswith("[")]
    assert headings == [path for path, section in EVERY_SECTION.items() if path and path in headings]
    assert {path.partition(".")[0] for path in headings} == set(Config.model_fields)
    settings = [line.removeprefix("# ") for line in lines if " = " in line and "  # " in line]
    assert len(settings) == len(EVERY_KEY)
    assert all(line.split("  # ")[1].strip().endswith((".", "=")) for line in settings)


def test_a_changed_configuration_can_be_written_and_read_too(tmp_path: Path) -> None:
    odd = 'sqlite:///some "odd" päth 🎬/log.db'
    config = Config.model_validate(
        {"storage": {"log": odd}, "features": {"half_lives_days": [0.25, 1e-5, 30]}, "ranking": {"dropout": 0}}
    )
    assert load(render_toml(config), tmp_path) == config


@pytest.mark.parametrize("section", sorted({type(section) for section in EVERY_SECTION.values()}, key=str))
def test_every_setting_is_described(section: type[BaseModel]) -> None:
    assert section.__doc__
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            assert info.annotation.__doc__, name
        else:
            assert info.description, f"{section.__name__}.{name}"
            assert info.description[0].isupper() or info.description[0].isdigit(), name


@pytest.mark.parametrize("key", EVERY_KEY)
def test_a_misspelt_key_is_refused_with_the_right_name_at_every_level(key: str) -> None:
    path, _, name = key.rpartition(".")
    swapped = name[:-2] + name[:-3:-1]
    misspelt = f"{path}.{swapped if swapped != name else name + 'x'}"
    message = refused(f"{misspelt}=1")
    assert message == f"--set {misspelt}: unknown key {misspelt!r}; did you mean {name!r}?"


@pytest.mark.parametrize(
    ("key", "near"),
    [("rankin.epochs", "ranking"), ("ranking.experts_sizes", "expert_sizes"), ("candidates.als2.quota", "als")],
)
def test_a_misspelt_section_names_the_nearest(key: str, near: str) -> None:
    assert f"did you mean {near!r}?" in refused(f"{key}=1")


def test_an_entry_of_ones_own_is_checked_like_the_others() -> None:
    assert "did you mean 'min_value'?" in refused("events.types.bookmark.min_valu=2")
    assert "did you mean 'weight'?" in refused('ranking.tasks.save={event="like", weigth=2}')
    assert "known are cap, event, kind, weight" in refused('ranking.tasks.save={event="like", zzz=2}')


def test_a_key_without_a_near_one_lists_what_there_is() -> None:
    assert refused("evaluation.qqqqq=1").endswith("unknown key 'evaluation.qqqqq'; known are k, users, watch_cap")


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = "[ranking]\nepochs = 7\nbatch_size = 64\nexperts = 2\n[ranking.tasks.click]\nweight = 5\n"
    environ = {"UPNEXT__RANKING__EPOCHS": "8", "UPNEXT__RANKING__BATCH_SIZE": "128", "OTHER__RANKING__EXPERTS": "9"}
    config = load(file, tmp_path, "ranking.epochs=9", "ranking.tasks.click.weight=6", **environ)
    ranking = config.ranking
    assert (ranking.epochs, ranking.batch_size, ranking.experts) == (9, 128, 2)
    assert ranking.attention_heads == RankingConfig().attention_heads
    assert ranking.tasks["click"].weight == 6
    assert load(file, tmp_path, "ranking.epochs=1", "ranking.epochs=2").ranking.epochs == 2


def test_tasks_and_event_types_are_merged_with_the_defaults(tmp_path: Path) -> None:
    file = """
    [ranking.tasks.like]
    weight = 9
    [ranking.tasks.save]
    event = "bookmark"
    [events.types.bookmark]
    weight = 2
    [events.types.watch]
    min_value = 3
    """
    config, defaults = load(file, tmp_path), Config()
    assert config.ranking.tasks["like"] == TaskConfig(event="like", weight=9)
    assert config.ranking.tasks["save"] == TaskConfig(event="bookmark")
    others = defaults.ranking.tasks.keys() - {"like"}
    assert {name: config.ranking.tasks[name] for name in others} == {
        name: defaults.ranking.tasks[name] for name in others
    }
    assert config.events.types["watch"].min_value == 3
    assert config.events.types["watch"].weight == defaults.events.types["watch"].weight
    assert config.events.types.keys() == defaults.events.types.keys() | {"bookmark"}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("ranking.epochs=many", ["--set ranking.epochs", "valid integer", "got 'many'"]),
        ("ranking.epochs=0", ["ranking.epochs", "greater than or equal to 1", "got 0"]),
        ("ranking.epochs=2.5", ["ranking.epochs", "integer", "got 2.5"]),
        ("candidates.als.enabled=maybe", ["candidates.als.enabled", "boolean", "got 'maybe'"]),
        ("reranking.method=best", ["reranking.method", "'mmr', 'dpp' or 'none'", "got 'best'"]),
        ("features.half_lives_days=[1, 'x']", ["features.half_lives_days.1", "number", "got 'x'"]),
        ("ranking=3", ["--set ranking: ranking: ", "got 3"]),
        ("ranking.tasks.new.weight=3", ["--set ranking.tasks.new.weight: ranking.tasks.new.event: Field required"]),
        ("ranking.tasks.click.weight=nan", ["ranking.tasks.click.weight", "finite", "got nan"]),
        ("serving.api_key=short", ["serving.api_key", "at least 16", "got 'short'"]),
        ("ranking.tasks.click.event=clik", ["ranking.tasks.click.event", "'clik' is no event type", "'click'?"]),
        ("serving.port=" + "9" * 5000, ["serving.port", "integer, exceeded maximum size", "got '999"]),
    ],
)
def test_a_wrong_value_is_refused_with_its_place_its_key_and_itself(override: str, told: list[str]) -> None:
    message = refused(override)
    assert message.startswith(f"--set {override.partition('=')[0]}: ")
    assert all(part in message for part in told), message
    assert "\n" not in message
    assert len(message) < 250


def test_the_place_is_where_it_was_set_last(tmp_path: Path) -> None:
    file = "[ranking]\nepochs = 'x'\nexperts = 'y'\n"
    with pytest.raises(ConfigError) as caught:
        load(file, tmp_path, "ranking.experts=z", UPNEXT__SERVING__PORT="q")
    assert sorted(line.split(": ")[:2] for line in str(caught.value).splitlines()) == [
        ["--set ranking.experts", "ranking.experts"],
        [str(tmp_path / "upnext.toml"), "ranking.epochs"],
        ["environment variable UPNEXT__SERVING__PORT", "serving.port"],
    ]
    with pytest.raises(ConfigError, match=r"^--set ranking: ranking.epochs: .* got 'z'$"):
        load(file, tmp_path, 'ranking={epochs="z"}')


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"UPNEXT__": "1"}, "environment variable UPNEXT__: unknown key ''"),
        ({"UPNEXT__RANKNIG__EPOCHS": "1"}, "unknown key 'ranknig'; did you mean 'ranking'?"),
        ({"UPNEXT__RANKING__": "1"}, "unknown key 'ranking.'"),
        ({"UPNEXT__RANKING": "1", "UPNEXT__RANKING__EPOCHS": "1"}, "'ranking' is a value, not a section"),
        ({"UPNEXT__SERVING__PORT": "a\nb"}, "environment variable UPNEXT__SERVING__PORT: serving.port: "),
    ],
)
def test_a_nonsense_environment_is_refused(environ: dict[str, str], told: str) -> None:
    assert told in refused(**environ)


@pytest.mark.parametrize("override", ["", "=", "=3", "epochs", "  =1"])
def test_an_override_needs_a_key_and_a_value(override: str) -> None:
    assert refused(override) == f"--set {override!r}: expected key=value, such as ranking.tasks.click.weight=2"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.toml: cannot be read \(No such file or directory\)"):
        load_config(tmp_path / "absent.toml", environ={})
    for content in (b"a = [", b"a = \xff", b"a = " + b"9" * 5000):
        path = tmp_path / "bad.toml"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"bad.toml: not valid TOML: "):
            load_config(path, environ={})


def test_the_digest_changes_with_any_setting_and_only_then() -> None:
    assert Config().digest() == load_config(None, environ={}).digest()
    digests = {load_config(None, [f"training.seed={n}"], {}).digest() for n in range(5)}
    assert len(digests) == 5


keys = st.one_of(
    st.sampled_from([*EVERY_KEY, *EVERY_SECTION]),
    st.text(st.sampled_from("abc._ é\n"), max_size=8),
    st.text(max_size=8).filter(lambda text: "=" not in text),
)
values = st.one_of(
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["true", "[]", "{}", "[1, 2]", "{a = 1}", "{a = {b = []}}", '"x"', "1979-05-27", "''", "[[1]]"]),
)


@given(st.lists(st.tuples(keys, values), max_size=4), st.dictionaries(keys, values, max_size=3))
def test_nothing_but_config_errors_comes_of_any_settings(
    overrides: list[tuple[str, str]], environ: dict[str, str]
) -> None:
    variables = {f"UPNEXT__{key.upper().replace('.', '__')}": value for key, value in environ.items()}
    flags = [f"{key}={value}" for key, value in overrides]
    try:
        config = load_config(None, flags, variables)
    except ConfigError:
        return
    assert isinstance(config, Config)
    assert len(config.digest()) == 16


def test_a_home_that_still_names_slots_of_ten_gets_that_budget(tmp_path: Path) -> None:
    section = "[reranking.exploration]\nslots = {}\n"
    assert load(section.format(0), tmp_path).reranking.exploration.budget == 0
    assert load(section.format("2\nbudget = 0.05"), tmp_path).reranking.exploration.budget == 0.05
    assert load(section.format(3), tmp_path).reranking.exploration.budget == pytest.approx(0.3)
    with pytest.raises(ConfigError, match="slots"):
        load(section.format(11), tmp_path)
