"""What the console asks beside the public endpoints: pages, x-rays, dials, searches, and how the server is doing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from pydantic import Field

from upnext.serving.answer_schemas import OVERLOADED, ErrorAnswer
from upnext.serving.console import running, search
from upnext.serving.console.dials import Dials
from upnext.serving.console.kept import Kept, Pages
from upnext.serving.console.page import ROW, home_page
from upnext.serving.console.preview import preview
from upnext.serving.console.xray import funnel, item_path
from upnext.serving.engine import Engine
from upnext.serving.fields import Id, Strict
from upnext.serving.recent import Recent
from upnext.serving.schemas import Weight
from upnext.serving.wire import StrictRoute, server


async def own_page(request: Request) -> None:
    """Refuses what a page of another site makes a browser send: a rollback has no body whose type would betray it."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        detail = {"code": "foreign", "message": "asked by a page of another site", "field": None, "remedy": None}
        raise HTTPException(403, detail)


router = APIRouter(
    prefix="/v1/console",
    route_class=StrictRoute,
    tags=["console"],
    dependencies=[Depends(own_page)],
    responses={"4XX": {"model": ErrorAnswer}},
)


@dataclass(frozen=True, slots=True)
class Console:
    """What the console's routes keep between calls."""

    pages: Pages
    dials: Dials
    recent: Recent
    report: running.Report

    @classmethod
    def of(cls, engine: Engine, recent: Recent) -> Console:
        return cls(Pages(), Dials(engine), recent, running.Report(engine))


class PageRequest(Strict):
    """Whose home page."""

    user_id: Id = Field(description="A new name is a new user.")


class Turned(Strict):
    """Dials by name, as GET /v1/console/dials lists them."""

    dials: dict[Id, Weight] = Field(max_length=100, description="Where each is turned to; others stay.")


class PreviewRequest(Turned):
    """A served page, and dials that are turned."""

    recommendation_id: str = Field("", max_length=64, description="Of the page's first row; left out = made anew.")
    user_id: Id = Field(description="Whose page.")


class Activation(Strict):
    """Which version."""

    version: Id = Field(description="Its name, or how it begins.")


UserId = Annotated[Id, Query(description="Whose page.")]
PageId = Annotated[str, Query(max_length=64, description="recommendation_id of the page's first row.")]
Words = Annotated[str, Query(max_length=200, description="Any part, in any case.")]
Few = Annotated[int, Query(ge=1, le=50, description="How many at most.")]


def _console(request: Request) -> Console:
    found: Console = request.app.state.console
    return found


@router.post("/page", responses=OVERLOADED)
async def page(body: PageRequest, request: Request) -> Response:
    """A home page in rows, for this user, logged as shown."""
    arrived, here, console = time.perf_counter(), server(request), _console(request)
    return await here.read(request, lambda: home_page(here.engine, console.pages, body.user_id, arrived))


@router.get("/xray")
async def xray(request: Request, user_id: UserId, recommendation_id: PageId = "") -> Response:
    """The funnel of a served page, stage by stage."""
    return await _of_page(request, recommendation_id, user_id, lambda page, engine: funnel(page, engine.live))


@router.get("/xray/item")
async def xray_item(
    request: Request, user_id: UserId, item_id: Annotated[Id, Query()], recommendation_id: PageId = ""
) -> Response:
    """One item's path through the funnel of a served page, or where it fell out."""

    def path(page: Kept, engine: Engine) -> dict[str, Any]:
        return item_path(page, engine.ingest.known_item(item_id), engine.live)

    return await _of_page(request, recommendation_id, user_id, path)


@router.get("/dials")
async def dials(request: Request) -> Response:
    """Where the dials stand."""
    console = _console(request)
    return await server(request).aside(console.dials.state)


@router.post("/dials/preview")
async def preview_dials(body: PreviewRequest, request: Request) -> Response:
    """The page's slate under the current dials and under these. Nothing is logged, and nothing saved."""
    return await _of_page(
        request,
        body.recommendation_id,
        body.user_id,
        lambda page, engine: preview(page, engine.config, body.dials, engine.live),
    )


@router.put("/dials")
async def save_dials(body: Turned, request: Request) -> Response:
    """Write dials into the home's configuration, and serve under them from now on."""
    console = _console(request)
    return await server(request).aside(lambda: console.dials.save(body.dials))


@router.post("/dials/undo")
async def undo_dials(request: Request) -> Response:
    """Bring back the dials as they were before the last saving."""
    console = _console(request)
    return await server(request).aside(console.dials.undo)


@router.get("/items")
async def items(request: Request, q: Words = "", n: Few = 20) -> Response:
    """Items by a part of their title or id."""
    here = server(request)
    return await here.aside(lambda: search.items(here.engine, q, n))


@router.get("/users")
async def users(request: Request, q: Words = "", n: Few = 8) -> Response:
    """Users by a part of their id."""
    here = server(request)
    return await here.aside(lambda: search.users(here.engine, q, n))


@router.get("/neighbours")
async def neighbours(request: Request, item_id: Annotated[Id, Query()], n: Few = 6) -> Response:
    """What the two-tower model puts next to an item."""
    here = server(request)
    return await here.aside(lambda: search.neighbours(here.engine, item_id, n))


@router.get("/audience")
async def audience(request: Request, item_id: Annotated[Id, Query()]) -> Response:
    """Users whom an item fits, and where it stands in their answers."""
    here = server(request)
    return await here.aside(lambda: search.audience(here.engine, item_id, ROW))


@router.get("/health")
async def health(request: Request) -> Response:
    """The last minute, the index, the log and how far behind it the views are."""
    here, console = server(request), _console(request)
    return await here.aside(lambda: running.health(here.engine, console.recent))


@router.get("/models")
async def models(request: Request) -> Response:
    """The published versions with their figures."""
    here = server(request)
    return await here.aside(lambda: running.versions(here.engine))


@router.post("/models/activate")
async def activate(body: Activation, request: Request) -> Response:
    """Let this version serve."""
    here = server(request)
    return await here.aside(lambda: running.activate(here.engine, body.version))


@router.post("/models/rollback")
async def rollback(request: Request) -> Response:
    """Let the version that served before serve again."""
    here = server(request)
    return await here.aside(lambda: running.activate(here.engine, None))


@router.get("/report")
async def report(request: Request) -> Response:
    """Where the report of the last evaluation can be read for the next ten minutes."""
    console = _console(request)
    return await server(request).aside(console.report.address)


@router.get("/report/{ticket}", include_in_schema=False)
async def report_page(ticket: str, request: Request) -> Response:
    console = _console(request)
    headers = {"Content-Security-Policy": running.REPORT_POLICY, "Cache-Control": "no-store"}
    return await server(request).aside(
        lambda: Response(console.report.read(ticket), headers=headers, media_type="text/html; charset=utf-8")
    )


async def _of_page(
    request: Request, recommendation_id: str, user_id: str, look: Callable[[Kept, Engine], dict[str, Any]]
) -> Response:
    here, console = server(request), _console(request)

    def work() -> dict[str, Any]:
        return look(console.pages.find_or_make(here.engine, recommendation_id, user_id, ROW), here.engine)

    return await here.aside(work)
