"""The processes of a Ray cluster on this machine, by the names that Ray gives them: what tests and benchmarks kill."""

from __future__ import annotations

from pathlib import Path


def processes(name: str) -> list[int]:
    """Those whose name begins so."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                told = (folder / "cmdline").read_bytes()
            except OSError:  # it has ended meanwhile
                continue
            if told.startswith(name.encode()):
                found.append(int(folder.name))
    return sorted(found)
