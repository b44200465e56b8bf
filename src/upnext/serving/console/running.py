"""How the server is doing: the last minute, the index, the log, the model versions, and the training report."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upnext.errors import ArtifactError
from upnext.serving.engine import Engine
from upnext.serving.problems import NotFound
from upnext.serving.recent import Recent
from upnext.storage.artifacts import Models

REPORT = Path("var", "report.html")
TICKET_S = 600
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'self'; sandbox"
)


def health(engine: Engine, recent: Recent) -> dict[str, Any]:
    """What /health/ready says, the last minute, and how far the views are behind the log."""
    last = engine.log.last_offset()
    return {
        **engine.health(),
        "log_last": last,
        "lag": max(last - engine.live.offset, 0),
        "impressions_dropped": engine.impressions.dropped,
        "workers": engine.config.serving.workers,
        "recent": recent.summary(),
    }


def versions(engine: Engine) -> dict[str, Any]:
    """The published versions, newest first, with what each learned from and how good it was."""
    models, serving = engine.home.models(), engine.funnels.version
    history = models.history()
    before = next((name for name in history[::-1] if name != history[-1]), None) if history else None
    return {
        "active": models.active(),
        "serving": serving,
        "rollback_to": before if before in models.versions() else None,
        "versions": [_version(models, name) for name in models.versions()[::-1]],
    }


def activate(engine: Engine, version: str | None) -> dict[str, Any]:
    """Let a version serve; None = the one that served before. Raises NotFound."""
    models = engine.home.models()
    try:
        if version is None:
            models.rollback()
        else:
            models.activate(models.find(version))
    except ArtifactError as error:
        raise NotFound(str(error), "version") from error
    engine.reload()
    return versions(engine)


def _version(models: Models, name: str) -> dict[str, Any]:
    try:
        manifest = models.manifest(name)
    except ArtifactError as error:
        return {"version": name, "damaged": str(error)}
    ranker = manifest.metrics.get("ranker")
    figures = ranker.get("validation", {}) if isinstance(ranker, Mapping) else {}
    return {
        "version": name,
        "damaged": None,
        "created_at": manifest.created_at,
        "until": manifest.until_ms,
        "events": manifest.events,
        "bytes": manifest.bytes,
        "warm": "warm" in manifest.details,
        "tasks": list(manifest.tasks),
        "metrics": {key: value for key, value in figures.items() if isinstance(value, float)},
    }


class Report:
    """The page that `upnext evaluate` wrote. A frame sends no key, so it is asked for with a ticket in its address."""

    def __init__(self, engine: Engine) -> None:
        self._file = engine.home.directory / REPORT
        key = engine.config.serving.api_key
        self._secret = None if key is None else key.encode()

    def address(self) -> dict[str, Any]:
        """Where the report is for the next minutes; null = there is none."""
        if not self._file.is_file():
            return {"url": None, "made_at": None}
        made_at = int(self._file.stat().st_mtime * 1000)
        return {"url": f"/v1/console/report/{self._ticket(int(time.time()) + TICKET_S)}", "made_at": made_at}

    def read(self, ticket: str) -> bytes:
        """Raises NotFound."""
        until = ticket.partition(".")[0]
        good = until.isascii() and until.isdigit() and len(until) < 12 and int(until) >= time.time()
        if not good or not hmac.compare_digest(ticket.encode(), self._ticket(int(until)).encode()):
            raise NotFound("this address of the report has expired", "ticket", "GET /v1/console/report gives another")
        try:
            return self._file.read_bytes()
        except OSError:
            raise NotFound("there is no report", "ticket", "`upnext evaluate` makes one") from None

    def _ticket(self, until: int) -> str:
        if self._secret is None:
            return f"{until}.open"
        return f"{until}.{hmac.new(self._secret, f'report {until}'.encode(), hashlib.sha256).hexdigest()}"
