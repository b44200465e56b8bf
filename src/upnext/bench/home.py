"""The home that is measured: a world of a given size, imported and trained by the commands that anybody uses."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from upnext.bench.command import Took, run_command
from upnext.errors import HomeError
from upnext.home import Home
from upnext.settings import load_config
from upnext.storage.artifacts import Manifest

NOTES_FILE = "bench.json"
WORLD = "world"

# Training is brief: what is measured afterwards does not depend on how long the weights were trained.
BRIEF = (
    "candidates.als.epochs=4",
    "candidates.two_tower.max_steps=200",
    "ranking.epochs=1",
    "training.max_examples=200000",
)


@dataclass(frozen=True, slots=True)
class Size:
    """How large the world is."""

    items: int
    users: int
    impressions: int


@dataclass(frozen=True)
class Prepared:
    """A trained home of a size, and what each command that made it took, whenever that was."""

    directory: Path
    size: Size
    made_at: float  # Unix seconds
    took: dict[str, Took]  # simulate, import, train
    settings: tuple[str, ...] = ()  # other than the defaults, of training and of everything after it

    @property
    def home(self) -> Home:
        return Home.open(self.directory, self.settings)


def prepare(directory: Path, size: Size, say: Callable[[str], None], settings: Sequence[str] = ()) -> Prepared:
    """Make the home in ``directory``, or take the one that is there. Raises HomeError where it is another one.

    ``settings`` are key=value; ConfigError where they are wrong.
    """
    load_config(None, settings)
    directory = directory.absolute()  # also of "." there is a folder beside
    notes = directory / NOTES_FILE
    if notes.exists():
        return _known(directory, size, tuple(settings), json.loads(notes.read_text(encoding="utf-8")))
    if directory.exists() and any(directory.iterdir()):
        raise HomeError(f"{directory}: holds something else than a benchmark's home. Name a new folder with --home.")
    unfinished = directory.with_name(directory.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    took = _make(unfinished, size, say, settings)
    prepared = Prepared(directory, size, time.time(), took, tuple(settings))
    (unfinished / NOTES_FILE).write_text(json.dumps(asdict(prepared), default=str), encoding="utf-8")
    if directory.exists():
        directory.rmdir()
    unfinished.rename(directory)
    return prepared


def _make(directory: Path, size: Size, say: Callable[[str], None], settings: Sequence[str]) -> dict[str, Took]:
    world, home, took = directory / WORLD, ("--home", str(directory)), dict[str, Took]()
    numbers = [f"--{name}={number}" for name, number in asdict(size).items()]
    directory.mkdir(parents=True)
    for name, arguments in {
        "simulate": (str(world), "--no-truth", *numbers),
        "init": (str(directory),),
        "import": (*home, str(world)),
        "train": (*home, *(f"--set={setting}" for setting in (*BRIEF, *settings))),
    }.items():
        say(f"upnext {name} {' '.join(arguments)}")
        took[name] = run_command([name, *arguments])
    shutil.rmtree(world)  # the log has it all
    return took


def _known(directory: Path, size: Size, settings: tuple[str, ...], notes: dict[str, Any]) -> Prepared:
    made, before = Size(**notes["size"]), tuple(notes.get("settings", ()))
    if made != size:
        raise HomeError(
            f"{directory}: was made with {made.items:,} items, {made.users:,} users and {made.impressions:,} "
            f"impressions, asked for are {size.items:,}, {size.users:,} and {size.impressions:,}. Name another --home."
        )
    if before != settings:
        raise HomeError(
            f"{directory}: was made with the settings {', '.join(before) or 'of a new home'}, asked for are "
            f"{', '.join(settings) or 'those of a new home'}. Name another --home."
        )
    took = {name: Took(**figures) for name, figures in notes["took"].items()}
    return Prepared(directory, size, float(notes["made_at"]), took, before)


def bytes_on_disk(home: Home) -> dict[str, int]:
    """Bytes of the log, the catalogue's copy, the saved state and each part of the active model version."""
    var = home.directory / "var"
    _, manifest = home.models().open()
    parts = {f"model, {name}": size for name, size in _by_part(manifest).items()}
    beside = {"log": "log.db*", "catalogue": "catalogue*", "state": "state*"}
    return {**{name: _bytes(var, pattern) for name, pattern in beside.items()}, **parts}


def _by_part(manifest: Manifest) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, entry in manifest.files.items():
        part = "item index" if Path(name).name.startswith("index") else "/".join(Path(name).parts[:-1])
        found[part] = found.get(part, 0) + entry.bytes
    return found


def _bytes(folder: Path, pattern: str) -> int:
    paths = [path for top in folder.glob(pattern) for path in (top, *(top.rglob("*") if top.is_dir() else ()))]
    return sum(path.stat().st_size for path in paths if path.is_file())
