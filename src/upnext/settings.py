"""Reads a home's configuration, and writes the commented file that ``upnext init`` makes.

Defaults < ``upnext.toml`` < environment (``UPNEXT__RANKING__TASKS__CLICK__WEIGHT=2``) < flags
(``--set ranking.tasks.click.weight=2``). Unknown keys are refused with the nearest right name.
"""

from __future__ import annotations

import json
import os
import reprlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from upnext.config import Config, Section, nearest
from upnext.errors import ConfigError

ENV_PREFIX = "UPNEXT__"


def load_config(
    path: Path | None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Defaults, then the file at ``path``, then the environment, then ``key.sub=value`` overrides.

    Raises ConfigError that names the file or flag, the key, the value and what is allowed.
    """
    values = {} if path is None else _read(path)
    origin = {key: str(path) for key in _leaves(values)}
    for name, text in sorted((os.environ if environ is None else environ).items()):
        if name.startswith(ENV_PREFIX):
            key = name[len(ENV_PREFIX) :].lower().replace("__", ".")
            _assign(values, key, text, origin, f"environment variable {name}")
    for item in overrides:
        key, sign, text = item.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--set {item!r}: expected key=value, such as ranking.tasks.click.weight=2")
        _assign(values, key.strip(), text, origin, f"--set {key.strip()}")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error, origin, path))) from None


def render_toml(config: Config) -> str:
    """The commented file that ``upnext init`` writes: every section and field with its description."""
    lines = [
        "# upnext: the configuration of one home. Sections follow the funnel.",
        "# Every value below is the default: delete a line to follow the defaults of later versions.",
    ]
    for path, section in _sections(config, ()):
        doc = (section.__doc__ or "").strip().split("] ", 1)[-1]
        lines += ["", f"# {doc}", f"[{'.'.join(path)}]"]
        for name, info in type(section).model_fields.items():
            value = getattr(section, name)
            if isinstance(value, Section) or _is_table(value):
                continue
            shown = _toml(value)
            lines.append(f"{'# ' if shown is None else ''}{name} = {shown or '...'}  # {info.description}")
    return "\n".join(lines) + "\n"


def _sections(section: Section, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Section]]:
    if path:
        yield path, section
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _sections(value, (*path, name))
        elif _is_table(value):
            for key, entry in value.items():
                yield from _sections(entry, (*path, name, key))


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, Section) for entry in value.values())


def _toml(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(entry) or "" for entry in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). `upnext init DIR` makes one.") from error
    except ValueError as error:  # of TOML, of UTF-8, or of a number with thousands of digits
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _assign(values: dict[str, Any], key: str, text: str, origin: dict[str, str], place: str) -> None:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        value = text  # a bare word is a string
    table = values
    *parents, last = key.split(".")
    for parent in parents:
        entry = table.setdefault(parent, {})
        if not isinstance(entry, dict):
            raise ConfigError(f"{place}: {parent!r} is a value, not a section")
        table = entry
    table[last] = value
    for replaced in [name for name in origin if name.startswith(f"{key}.")]:
        del origin[replaced]
    origin[key] = place


def _explain(error: ValidationError, origin: Mapping[str, str], path: Path | None) -> Iterator[str]:
    for problem in error.errors():
        location = [str(part) for part in problem["loc"]]
        key = str(problem.get("ctx", {}).get("key", ".".join(location)))
        place = _place(key, origin) or ("configuration" if path is None else str(path))
        if problem["type"] == "extra_forbidden":
            yield f"{place}: unknown key {key!r}{nearest(location[-1], _names_at(location[:-1]))}"
        else:
            got = "" if isinstance(problem["input"], dict) else f", got {reprlib.repr(problem['input'])}"
            yield f"{place}: {key}: {problem['msg']}{got}"


def _place(key: str, origin: Mapping[str, str]) -> str | None:
    """Where a key was set; else the table around it, or something beside it."""
    parts = key.split(".")
    for size in range(len(parts), 0, -1):
        around = ".".join(parts[:size])
        if around in origin:
            return origin[around]
        if (beneath := next((name for name in origin if name.startswith(f"{around}.")), None)) is not None:
            return origin[beneath]
    return None


def _names_at(location: Sequence[str]) -> list[str]:
    """The settings of the section at ``location``."""
    found: Any = Config
    for part in location:
        found = get_args(found)[1] if get_origin(found) is dict else found.model_fields[part].annotation
    return list(found.model_fields)
