"""Questions: what to show, what goes with an item, what is trending, and why."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from upnext.serving.answer_schemas import OVERLOADED, ErrorAnswer, SlateAnswer
from upnext.serving.fields import MAX_LIST, Id, Surface
from upnext.serving.schemas import RecommendationRequest
from upnext.serving.wire import AdmittedRoute, server

router = APIRouter(
    prefix="/v1",
    route_class=AdmittedRoute,
    tags=["questions"],
    responses={"4XX": {"model": ErrorAnswer}, **OVERLOADED},
)
SLATE: dict[int | str, dict[str, Any]] = {200: {"model": SlateAnswer}}

N = Annotated[int, Query(ge=1, description="How many items, at most serving.max_k.")]
ItemId = Annotated[Id, Query(description="Your name for the item.")]


@router.post("/recommendations", responses=SLATE)
async def recommendations(body: RecommendationRequest, request: Request) -> Response:
    """What should this user, or this session, see next?"""
    arrived, here = time.perf_counter(), server(request)
    return await here.read(request, lambda: here.engine.answer(body.question(), arrived))


@router.get("/recommendations/{recommendation_id}/next", responses=SLATE)
async def next_page(recommendation_id: Id, request: Request) -> Response:
    """The next page: more of the same, without what was shown before."""
    arrived, here = time.perf_counter(), server(request)
    return await here.read(request, lambda: here.engine.next_page(recommendation_id, arrived))


@router.get("/items/{item_id:path}/similar", responses=SLATE)
async def similar(item_id: Id, request: Request, n: N = 10) -> Response:
    """Items that go with this one."""
    here = server(request)
    return await here.read(request, lambda: here.engine.similar(item_id, n))


@router.get("/trending", responses=SLATE)
async def trending(
    request: Request,
    n: N = 10,
    category: Annotated[
        list[Id] | None, Query(max_length=MAX_LIST, description="Only these; repeat for several.")
    ] = None,
) -> Response:
    """What everybody turns to now."""
    here = server(request)
    return await here.read(request, lambda: here.engine.trending(n, category))


@router.get("/explain")
async def explain(
    request: Request,
    user_id: Annotated[Id, Query(description="For whom.")],
    item_id: ItemId,
    n: N = 10,
    surface: Annotated[Surface, Query(description="Where it would be shown.")] = "",
) -> Response:
    """Why this item is shown to this user, or at which stage it falls out. Nothing is logged."""
    here = server(request)
    return await here.read(request, lambda: here.engine.explain(user_id, item_id, n, surface))
