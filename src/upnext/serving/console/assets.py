"""The console's own files, out of the package: read once, with types, etags and a strict policy of what may load."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # ask each time; unchanged files cost an empty answer
}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent."""

    body: bytes
    kind: str
    etag: str


@cache
def assets() -> Mapping[str, Asset]:
    """All files by their path below the console's folder: only what is listed here can be asked for."""
    return dict(_found(files("upnext") / "console", ""))


@router.get("/")
async def index(request: Request) -> Response:
    return _sent("index.html", request)


@router.get("/console/{path:path}")
async def asset(path: str, request: Request) -> Response:
    return _sent(path, request)


def _sent(path: str, request: Request) -> Response:
    found = assets().get(path)
    if found is None:
        raise HTTPException(404, "the console has no such file")
    headers = {**HEADERS, "ETag": found.etag}
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found.body, headers=headers, media_type=found.kind)


def _found(folder: Traversable, prefix: str) -> list[tuple[str, Asset]]:
    listed: list[tuple[str, Asset]] = []
    for entry in folder.iterdir():
        kind = _TYPES.get(entry.name.rpartition(".")[2])
        if entry.is_dir():
            listed += _found(entry, f"{prefix}{entry.name}/")
        elif kind is not None:
            body = entry.read_bytes()
            listed.append((prefix + entry.name, Asset(body, kind, f'"{hashlib.sha256(body).hexdigest()[:20]}"')))
    return listed
