"""Connections to PostgreSQL through ADBC: columns go in and come out as Arrow. What breaks is said in a sentence.

A connection that was lost while it lay idle is replaced without a word; one that is lost in the middle of a call is
StorageUnavailable for that call, and the next one connects again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import Any

import polars as pl

from upnext.errors import ConfigError, StorageError, StorageUnavailable
from upnext.storage.postgres_url import Address

BUSY_SECONDS = 60  # a writer waits for its turn so long
STALLED_SECONDS = 30  # a writer that says nothing for so long loses its turn, or all others would wait for it

# Durable means durable, whatever the server's default is. `off` alone is raised: others are its administrator's choice.
_SETTINGS = f"""
SELECT set_config(name, value, false) FROM (VALUES ('search_path', '{{schema}}'), ('lock_timeout', '{BUSY_SECONDS}s'),
  ('idle_in_transaction_session_timeout', '{STALLED_SECONDS}s'), ('jit', 'off'), ('synchronous_commit',
  CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END)
) AS settings (name, value)"""

# SQLSTATEs after which the same call may succeed, with the remedy; the first that a state begins with counts.
_PASSING = {
    "08": "The connection was lost; send it again: what was written all the same counts once, by its id or content.",
    "57P": "The database is starting or shutting down; send it again.",
    "55P03": f"Others have been writing for {BUSY_SECONDS} s. Send it again.",
    "25P03": f"This transaction stood still for {STALLED_SECONDS} s and lost its turn. Send it again.",
    "25006": "The database takes no writes: it is a standby. Send it again when the primary is back.",
    "40": "Another transaction was in the way; send it again.",
    "53": "The server has too little memory or disk, or too many connections. See to it, then send it again.",
}
_LASTING = {
    "28": "Check user and password: in storage.log, or out of the file in PGPASSWORD or ~/.pgpass.",
    "3D": "Make it first: createdb NAME.",
    "42501": "GRANT this user the right, or let it own the schema.",
    "42P01": "Its tables were removed. Restore them from a backup, or name another schema in storage.log.",
}
_CONNECTING = {  # by what libpq says, which knows no SQLSTATE before it is connected
    "does not exist": "Make it first: createdb NAME, createuser NAME.",
    "authentication failed": _LASTING["28"],
    "no password supplied": _LASTING["28"],
    "pg_hba.conf": _LASTING["28"],
    "invalid": "Check storage.log.",
}


class Session:
    """One connection. ``rows`` is one statement; a frame is bound as $1, $2...: one value a column.

    What ``copy`` reads comes as a stream of columns (COPY): for many rows. An error in it has no SQLSTATE.
    """

    def __init__(self, driver: Any, database: Any, address: Address) -> None:
        self._driver, self._address = driver, address
        self.lost = False
        try:
            self._connection = driver.AdbcConnection(database)
        except driver.Error as error:
            raise _unreachable(error, address) from error
        try:
            self.rows(_SETTINGS.format(schema=address.schema))
        except BaseException:
            self.close()
            raise

    def rows(self, statement: str, values: pl.DataFrame | None = None, copy: bool = False) -> pl.DataFrame:
        """What a statement answers; no columns where it answers nothing. StorageError names what went wrong."""
        try:
            prepared = self._driver.AdbcStatement(self._connection)
            try:
                prepared.set_sql_query(statement)
                prepared.set_options(**{"adbc.postgresql.use_copy": "true" if copy else "false"})
                if values is not None:
                    prepared.bind_stream(values)
                stream, _ = prepared.execute_query()
                return pl.DataFrame(stream)
            finally:
                prepared.close()
        except (self._driver.Error, pl.exceptions.ComputeError) as error:  # polars, where a stream breaks off
            raise self._explained(error) from error

    def roll_back(self) -> None:
        """A connection that cannot even do that is given up; the server rolls back then."""
        try:
            self.rows("ROLLBACK")
        except StorageError:
            self.lost = True

    def close(self) -> None:
        with suppress(self._driver.Error):
            self._connection.close()

    def _explained(self, error: Exception) -> StorageError:
        state, text = getattr(error, "sqlstate", None) or "", _first_line(error, self._address)
        if not state and getattr(error, "status_code", None) == self._driver.AdbcStatusCode.IO:
            state = "08"
        if isinstance(error, pl.exceptions.ComputeError):
            state = "08"
        for start, remedy in _PASSING.items():
            if state.startswith(start):
                self.lost |= start in ("08", "57P", "25P03")
                return StorageUnavailable(f"{self._address.shown}: {text}. {remedy}")
        lasting = next((remedy for start, remedy in _LASTING.items() if state.startswith(start)), None)
        return StorageError(f"{self._address.shown}: {text}. {lasting or 'Nothing of this call was written.'}")


class Pool:
    """Sessions for the threads of one process: an idle one, or a new one."""

    def __init__(self, address: Address) -> None:
        """Raises ConfigError where the driver is not installed. Connects with the first call."""
        self.address = address
        self._driver, open_database = _drivers()
        try:
            self._database = open_database(address.uri)
        except self._driver.Error as error:
            raise _unreachable(error, address) from error
        self._idle: list[Session] = []
        self._closed = Event()

    def rows(self, statement: str, values: pl.DataFrame | None = None, copy: bool = False) -> pl.DataFrame:
        """One statement that only reads: tried once more where an idle connection turns out to be lost."""
        session, found = self._first(statement, values, copy)
        self._give_back(session)
        return found

    @contextmanager
    def transaction(self, begin: str) -> Iterator[Session]:
        """All or nothing: committed at the end, rolled back on any error. ``begin`` is the statement that starts it."""
        session, _ = self._first(begin)
        try:
            yield session
            session.rows("COMMIT")
        except BaseException:
            if not session.lost:
                session.roll_back()
            raise
        finally:
            self._give_back(session)

    def close(self) -> None:
        """Calls that are still running end first; later ones raise StorageError."""
        self._closed.set()
        self._drop_idle()

    def _first(
        self, statement: str, values: pl.DataFrame | None = None, copy: bool = False
    ) -> tuple[Session, pl.DataFrame]:
        """A session, and what it answers to the first statement of a call."""
        while True:
            session, idle = self._take()
            try:
                return session, session.rows(statement, values, copy)
            except BaseException:
                self._give_back(session)
                if not (idle and session.lost):
                    raise

    def _take(self) -> tuple[Session, bool]:
        if self._closed.is_set():
            raise StorageError(f"{self.address.shown}: the log was closed; open it again.")
        with suppress(IndexError):
            return self._idle.pop(), True
        return Session(self._driver, self._database, self.address), False

    def _give_back(self, session: Session) -> None:
        if session.lost:  # those that lay idle meanwhile most probably are, too
            session.close()
            self._drop_idle()
        else:
            self._idle.append(session)
        if self._closed.is_set():
            self._drop_idle()

    def _drop_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):  # another thread took the last one
                self._idle.pop().close()


def _drivers() -> tuple[Any, Any]:
    try:
        import adbc_driver_manager
        import adbc_driver_postgresql
    except ImportError as error:
        raise ConfigError(
            f"storage.log: postgresql:// needs {error.name}, which is not installed: pip install 'upnext[postgres]'"
        ) from None
    return adbc_driver_manager, adbc_driver_postgresql.connect


def _first_line(error: Exception, address: Address) -> str:
    """What happened, without the driver's own words around it, the statement, or a secret."""
    text = str(error).partition("\n\nQuery was:")[0].partition(" SQLSTATE:")[0]
    _, fatal, said = text.partition("ERROR:  ")
    if not fatal:
        _, fatal, said = text.partition("FATAL:  ")
    line = (said if fatal else text.removeprefix("IO: ").removeprefix("[libpq] ")).strip().splitlines()
    return address.cleaned(line[0] if line else text).rstrip(" .")


def _unreachable(error: Exception, address: Address) -> StorageError:
    text = _first_line(error, address)
    for word, remedy in _CONNECTING.items():
        if word in text:
            return StorageError(f"{address.shown}: {text}. {remedy}")
    return StorageUnavailable(
        f"{address.shown}: {text}. Start the database, or check storage.log; nothing of this call was written."
    )
