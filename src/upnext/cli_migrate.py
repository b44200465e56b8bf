"""``upnext migrate FROM TO``: a home's log and catalogue into another backend."""

from __future__ import annotations

from pathlib import Path

import click

from upnext.cli_shared import HOME, bars, console


@click.command()
@HOME
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def migrate(home: Path, source: str, target: str) -> None:
    """Copy the log and the catalogue FROM one backend TO another, and compare them.

    FROM and TO are URLs as in storage.log: sqlite:///var/log.db, postgresql://user@host/database. A copy that was
    stopped goes on where it was. Codes and offsets stay: models and the saved state fit the copy. Nothing of FROM, and
    no setting, is changed.
    """
    from upnext.home import Home
    from upnext.migrate import migrate as run
    from upnext.storage.open import open_tables

    folder = Home.open(home).directory
    old = open_tables(source, folder, new=False)
    try:
        new = open_tables(target, folder, new=True)
        try:
            console().print(run(old, new, bars()))
            console().print(f"Now set storage.log to {new.shown} ({folder / 'upnext.toml'}) and start the servers.")
        except KeyboardInterrupt:
            console().print("Stopped. What was copied is kept: the same command goes on from there.")
            raise
        finally:
            new.close()
    finally:
        old.close()
