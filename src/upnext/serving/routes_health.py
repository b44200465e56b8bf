"""Is it alive, is it ready, what does it serve with, and what has it counted."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from prometheus_client import CONTENT_TYPE_LATEST

from upnext.serving.answer_schemas import OVERLOADED
from upnext.serving.docs import docs_page
from upnext.serving.wire import Server, json_response, server

health = APIRouter(tags=["running"])
router = APIRouter(tags=["running"])


@health.get("/health/live")
async def live() -> Response:
    """The process answers."""
    return json_response({"status": "alive"})


@health.get("/health/ready")
async def ready(request: Request) -> Response:
    """It answers questions; with which model, and what is degraded."""
    return json_response(server(request).engine.health())


@router.get("/v1/models", responses=OVERLOADED)
async def models(request: Request) -> Response:
    """The version that serves, its metrics, and the other published versions."""
    here = server(request)
    return await here.read(request, lambda: _models(here))


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counters and latencies for Prometheus."""
    here = server(request)
    return Response(here.metrics.render(here.engine), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
async def docs(request: Request) -> Response:
    return HTMLResponse(docs_page(request.app.openapi()))


def _models(here: Server) -> dict[str, Any]:
    manifest = here.engine.funnels.manifest
    return {
        "active": here.engine.funnels.version,
        "manifest": None if manifest is None else manifest.model_dump(mode="json", exclude={"files"}),
        "versions": here.engine.home.models().versions(),
    }
