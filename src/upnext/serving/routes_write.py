"""Events, items and users. A call that answered 2xx is durable, and counts in every later answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from pydantic import SkipValidation

from upnext.serving.answer_schemas import OVERLOADED, ErrorAnswer, FatesAnswer
from upnext.serving.fields import MAX_LIST, Id
from upnext.serving.ingest import Fates
from upnext.serving.problems import Invalid
from upnext.serving.rows import Event, Item, ItemChanges, ItemContent, ItemName, User, UserContent
from upnext.serving.wire import StrictRoute, json_response, server

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["writing"], responses={"4XX": {"model": ErrorAnswer}})
FATES: dict[int | str, dict[str, Any]] = {200: {"model": FatesAnswer}}

# Rows are validated one by one, so that a bad one does not take the others with it.
Events = Annotated[Event | list[Event], SkipValidation, Body()]
Items = Annotated[list[Item], SkipValidation, Body()]
Names = Annotated[list[ItemName], SkipValidation, Body()]
Users = Annotated[list[User], SkipValidation, Body()]


@router.post("/events", responses=FATES)
async def add_events(body: Events, request: Request) -> Response:
    """What users did: one event, or a list; each row is accepted, a duplicate, or rejected and why."""
    here = server(request)

    def write(rows: Sequence[object]) -> Fates:
        fates = here.engine.ingest.add_events(rows)
        here.metrics.events(fates)
        return fates

    return await here.write_events(_rows(body if isinstance(body, list) else [body], write))


@router.put("/items/{item_id:path}")
async def put_item(item_id: Id, body: ItemContent, request: Request) -> Response:
    """Insert or replace an item; it can be recommended at once."""
    here = server(request)
    return await here.write(lambda: {"item_id": item_id, "changed": here.engine.ingest.put_item(item_id, body)})


@router.patch("/items/{item_id:path}")
async def patch_item(item_id: Id, body: ItemChanges, request: Request) -> Response:
    """Change some fields of an item."""
    here = server(request)
    return await here.write(lambda: {"item_id": item_id, "changed": here.engine.ingest.patch_item(item_id, body)})


@router.delete("/items/{item_id:path}")
async def delete_item(item_id: Id, request: Request) -> Response:
    """Never show an item again."""
    here = server(request)
    return await here.write(lambda: {"item_id": item_id, "deleted": here.engine.ingest.delete_item(item_id)})


@router.get("/items/{item_id:path}", responses=OVERLOADED)
async def get_item(item_id: Id, request: Request) -> Response:
    """What is known of an item."""
    here = server(request)
    return await here.read(request, lambda: here.engine.item(item_id))


@router.post("/items", responses=FATES)
async def add_items(body: Items, request: Request) -> Response:
    """Insert or replace items in bulk."""
    here = server(request)
    return await here.write(_rows(body, here.engine.ingest.add_items))


@router.patch("/items", responses=FATES)
async def patch_items(body: Items, request: Request) -> Response:
    """Change some fields of items in bulk."""
    here = server(request)
    return await here.write(_rows(body, here.engine.ingest.patch_items))


@router.post("/items/delete", responses=FATES)
async def delete_items(body: Names, request: Request) -> Response:
    """Never show these items again."""
    here = server(request)
    return await here.write(_rows(body, here.engine.ingest.delete_items))


@router.put("/users/{user_id:path}")
async def put_user(user_id: Id, body: UserContent, request: Request) -> Response:
    """Insert or replace what is known of a user."""
    here = server(request)
    return await here.write(lambda: {"user_id": user_id, "changed": here.engine.ingest.put_user(user_id, body)})


@router.post("/users", responses=FATES)
async def add_users(body: Users, request: Request) -> Response:
    """Insert or replace users in bulk."""
    here = server(request)
    return await here.write(_rows(body, here.engine.ingest.add_users))


def _rows(rows: object, write: Callable[[Sequence[Any]], Fates]) -> Callable[[], Response]:
    """The work: 200 with the fate of each row; 422 when every row was rejected, with the first one's problem."""
    if not isinstance(rows, list):
        raise Invalid(f"the body is {type(rows).__name__}, expected a list of objects")
    if not 1 <= len(rows) <= MAX_LIST:
        raise Invalid(f"the list has {len(rows)} rows; it must have 1 to {MAX_LIST}", None, "Send several calls")

    def work() -> Response:
        fates = write(rows)
        content, status = fates.as_dict(), 200
        if len(fates.problems) == len(rows):
            content, status = {"error": fates.problems[0].as_dict(), **content}, 422
        return json_response(content, status)

    return work
