"""The folder of one deployment: ``upnext.toml`` and ``var/`` with the log, the models and what was rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from upnext.config import Config
from upnext.errors import HomeError
from upnext.settings import load_config, render_toml
from upnext.storage.artifacts import Models
from upnext.storage.log import Log
from upnext.storage.open import open_log, open_models

CONFIG_FILE = "upnext.toml"


@dataclass(frozen=True, slots=True)
class Home:
    """A home and its settings; ``log`` and ``models`` open what they name."""

    directory: Path
    config: Config

    @classmethod
    def create(cls, directory: Path) -> Home:
        """Make a new home. Raises HomeError where there is one, or where the folder cannot be made."""
        path = directory / CONFIG_FILE
        if path.exists():
            raise HomeError(f"{directory}: is a home already ({CONFIG_FILE} exists). Nothing was changed.")
        config = Config()
        try:
            (directory / "var").mkdir(parents=True, exist_ok=True)
            path.write_text(render_toml(config), encoding="utf-8")
        except OSError as error:
            raise HomeError(f"{directory}: cannot be made a home ({error.strerror}).") from error
        return cls(directory, config)

    @classmethod
    def open(cls, directory: Path, overrides: Sequence[str] = ()) -> Home:
        """Raises HomeError when the folder is no home, ConfigError when its settings are wrong."""
        path = directory / CONFIG_FILE
        if not path.is_file():
            raise HomeError(f"{directory}: is no home (no {CONFIG_FILE}). `upnext init {directory}` makes one.")
        return cls(directory, load_config(path, overrides))

    def log(self) -> Log:
        return open_log(self.config.storage.log, self.directory)

    def models(self, patience_s: float = 0.0) -> Models:
        """``patience_s`` is how long a bucket that is away is asked again."""
        return open_models(self.config.storage.models, self.directory, patience_s)

    @property
    def rejects(self) -> Path:
        return self.directory / "var" / "rejects"
