"""Changes single values of a configuration file and leaves everything else, comments too, as it was written."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from upnext.errors import ConfigError

Path = tuple[str, ...]  # of a setting: ("ranking", "tasks", "click", "weight")

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(#.*)?$")


def edited(text: str, values: Mapping[Path, float]) -> str:
    """The file's text with these numbers set. Raises ConfigError where it is written in a way that is not understood.

    What comes out is read again and compared: nothing but these settings may have changed.
    """
    try:
        before = tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"not valid TOML: {error}") from error
    lines = text.splitlines()
    for path, value in values.items():
        _set(lines, path, value)
    after = "\n".join(lines) + "\n"
    try:
        same = tomllib.loads(after) == _expected(before, values)
    except ValueError:
        same = False
    if not same:
        names = ", ".join(".".join(path) for path in values)
        raise ConfigError(f"the file is written in a way in which {names} cannot be set by a program; edit it by hand")
    return after


def value_at(values: Mapping[str, Any], path: Path) -> object:
    """What a file says of a setting; None where it says nothing."""
    found: Any = values
    for part in path:
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def _set(lines: list[str], path: Path, value: float) -> None:
    """Replace the line of the setting; else add one to its section, or the section at the end."""
    section, name = path[:-1], path[-1]
    first = next((number for number, line in enumerate(lines) if _section(line) == section), None)
    if first is None:
        lines += ["", f"[{'.'.join(map(_key, section))}]", f"{_key(name)} = {value!r}"]
        return
    setting = re.compile(rf"(\s*(?:{re.escape(name)}|\"{re.escape(name)}\")\s*=\s*)[^#]*?(\s*(?:#.*)?)$")
    for number in range(first + 1, len(lines)):
        if _section(lines[number]) is not None or lines[number].lstrip().startswith("[["):
            break
        if found := setting.match(lines[number]):
            lines[number] = f"{found[1]}{value!r}{found[2]}"
            return
    lines.insert(first + 1, f"{_key(name)} = {value!r}")


def _section(line: str) -> Path | None:
    found = _HEADER.match(line)
    return None if found is None else tuple(part.strip().strip('"') for part in found[1].split("."))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'


def _expected(before: Mapping[str, Any], values: Mapping[Path, float]) -> dict[str, Any]:
    expected = _copied(before)
    for path, value in values.items():
        table = expected
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = value
    return expected


def _copied(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _copied(entry) if isinstance(entry, Mapping) else entry for name, entry in table.items()}


def different(one: Mapping[str, Any], other: Mapping[str, Any], paths: Sequence[Path]) -> dict[Path, object]:
    """The settings among ``paths`` of which two files say something else, with what the second says."""
    return {path: value_at(other, path) for path in paths if value_at(one, path) != value_at(other, path)}
