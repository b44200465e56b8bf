"""The dials: what the slate would be under other weights, saving them into the home's configuration, and undoing that.

A saved file is taken up by every process of the server, and so is one whose dials were changed by hand.
"""

from __future__ import annotations

import logging
import os
import threading
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from upnext.config import Config
from upnext.errors import ConfigError
from upnext.home import CONFIG_FILE
from upnext.serving.engine import Engine
from upnext.serving.problems import Invalid
from upnext.settings_edit import Path as Setting
from upnext.settings_edit import different, edited

_LOG = logging.getLogger("upnext.serving")

HISTORY = Path("var", "dials")  # in the home: the file as it was before each saving
REMEMBERED = 50
_FIXED: Mapping[str, Setting] = {
    "choice_power": ("ranking", "choice_power"),
    "diversity": ("reranking", "diversity"),
    "freshness": ("reranking", "freshness_boost"),
    "exploration": ("reranking", "exploration", "budget"),
}


def settings_of(config: Config) -> dict[str, Setting]:
    """Every dial by name, and where the configuration has it."""
    weights = {f"weights.{task}": ("ranking", "tasks", task, "weight") for task in config.ranking.tasks}
    return {**weights, **_FIXED}


def values_of(config: Config) -> dict[str, float]:
    """Where every dial stands."""
    dump = config.model_dump()
    return {name: _at(dump, setting) for name, setting in settings_of(config).items()}


def turned(config: Config, dials: Mapping[str, float]) -> Config:
    """The configuration with these dials turned. Raises Invalid that names the dial."""
    known, values = settings_of(config), config.model_dump()
    for name, value in dials.items():
        if name not in known:
            raise Invalid(f"there is no dial {name!r}", f"dials.{name}", f"There are: {', '.join(known)}")
        table: Any = values
        for part in known[name][:-1]:
            table = table[part]
        table[known[name][-1]] = value
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        place = tuple(map(str, problem["loc"]))
        name = next((dial for dial, setting in known.items() if setting == place), ".".join(place))
        raise Invalid(f"{name}: {problem['msg']}, got {problem['input']!r}", f"dials.{name}") from None


class Dials:
    """Of one process. The file is the truth; ``take_up`` makes the engine follow it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._file = engine.home.directory / CONFIG_FILE
        self._history = engine.home.directory / HISTORY
        self._lock = threading.RLock()
        self._stamp = self._seen_at()
        self._seen = tomllib.loads(self._text())

    def state(self) -> dict[str, Any]:
        """Where the dials stand, how many savings can be undone, and whether a model predicts, and knows of choices."""
        model = self._engine.funnels.model
        return {
            "dials": values_of(self._engine.config),
            "undo": len(self._saved()),
            "model": model is not None,
            "choices": model is not None and model.choice is not None,
        }

    def take_up(self) -> bool:
        """Follow dials that were changed in the file since it was last read. True when there were any."""
        with self._lock:
            stamp = self._seen_at()
            if stamp == self._stamp:
                return False
            self._stamp = stamp  # also of a file that makes no sense: it is said once
            try:
                values = tomllib.loads(self._text())
                dials = self._changes(values)
                config = turned(self._engine.config, dials)
            except (ValueError, Invalid) as error:
                _LOG.warning("%s was changed, and is not followed: %s", self._file, error)
                return False
            if dials:
                self._engine.retune(config)
            self._seen = values
            return bool(dials)

    def save(self, dials: Mapping[str, float]) -> dict[str, Any]:
        """Write these dials into the file and serve under them."""
        with self._lock:
            self.take_up()
            turned(self._engine.config, dials)  # or Invalid
            known, text = self._known(), self._text()
            fresh = self._edited({known[name]: float(value) for name, value in dials.items()})
            if fresh != text:
                self._remember(text)
                self._write(fresh)
            self.take_up()
            return self._saved_state(dials)

    def undo(self) -> dict[str, Any]:
        """Bring back the dials as they were before the last saving; what else is in the file stays as it is."""
        with self._lock:
            self.take_up()
            saved = self._saved()
            if not saved:
                raise Invalid("nothing was saved that could be undone", None, "PUT /v1/console/dials saves")
            known = self._known()
            changes = self._changes(tomllib.loads(saved[-1].read_text(encoding="utf-8")))
            if changes:
                self._write(self._edited({known[name]: value for name, value in changes.items()}))
            saved[-1].unlink()
            self.take_up()
            return self.state()

    def _saved_state(self, dials: Mapping[str, float]) -> dict[str, Any]:
        """The state, and a note where the environment or a flag will win over the file after a restart."""
        variables = {name: f"UPNEXT__{'__'.join(setting).upper()}" for name, setting in self._known().items()}
        notes = [
            f"{variables[name]} is set, and wins at the next start" for name in dials if variables[name] in os.environ
        ]
        return {**self.state(), "notes": notes}

    def _changes(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The dials of which a file says something else than the one that was read last; the default where nothing."""
        known, default = self._known(), values_of(Config())
        names = {setting: name for name, setting in known.items()}
        changed = different(self._seen, values, list(names))
        return {
            names[setting]: default.get(names[setting], 0.0) if value is None else value
            for setting, value in changed.items()
        }

    def _edited(self, values: Mapping[Setting, float]) -> str:
        try:
            return edited(self._text(), values)
        except ConfigError as error:
            raise Invalid(f"{self._file}: {error}", "dials") from error

    def _known(self) -> dict[str, Setting]:
        return settings_of(self._engine.config)

    def _text(self) -> str:
        return self._file.read_text(encoding="utf-8")

    def _seen_at(self) -> tuple[int, int, int]:
        found = self._file.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _write(self, text: str) -> None:
        """At once or not at all."""
        draft = self._file.with_name(f".{CONFIG_FILE}.draft")
        draft.write_text(text, encoding="utf-8")
        draft.chmod(self._file.stat().st_mode & 0o777)
        draft.replace(self._file)

    def _saved(self) -> list[Path]:
        return sorted(self._history.glob("*.toml")) if self._history.is_dir() else []

    def _remember(self, text: str) -> None:
        self._history.mkdir(parents=True, exist_ok=True)
        saved = self._saved()
        number = 1 + (int(saved[-1].stem) if saved else 0)
        path = self._history / f"{number:08d}.toml"
        path.touch(0o600)  # the file may hold the key
        path.write_text(text, encoding="utf-8")
        for old in saved[: max(len(saved) + 1 - REMEMBERED, 0)]:
            old.unlink()


def _at(values: Mapping[str, Any], setting: Setting) -> float:
    found: Any = values
    for part in setting:
        found = found[part]
    return float(found)
