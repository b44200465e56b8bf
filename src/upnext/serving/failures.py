"""Whatever goes wrong, the answer is JSON with one shape: {"error": {"code", "message", "field", "remedy"}}."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from upnext.errors import ArtifactError, DataError, StorageError, StorageUnavailable, UpnextError
from upnext.serving.admission import Overloaded
from upnext.serving.problems import NotFound, Problem
from upnext.serving.validation import first_problem
from upnext.serving.wire import json_response

_STATUS: tuple[tuple[type[UpnextError], int], ...] = (
    (Overloaded, 503),
    (NotFound, 404),
    (Problem, 422),
    (DataError, 422),
    (StorageError, 503),
    (ArtifactError, 503),
)
_CODES = {404: "not_found", 405: "method_not_allowed"}
_REMEDIES = {404: "GET /docs lists the endpoints", 405: "GET /docs lists the endpoints and their methods"}


def install(app: FastAPI) -> None:
    """Give the app its handlers."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(UpnextError, _known)


def error_response(
    status: int, code: str, message: str, field: str | None = None, remedy: str | None = None
) -> Response:
    return json_response({"error": {"code": code, "message": message, "field": field, "remedy": remedy}}, status)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    body = getattr(request.scope.get("route"), "body_field", None)
    model = getattr(getattr(body, "field_info", None), "annotation", None)
    model = model if isinstance(model, type) and issubclass(model, BaseModel) else None
    return problem_response(first_problem(error.errors(), model))


async def _known(request: Request, error: Exception) -> Response:
    if isinstance(error, Problem):
        response = problem_response(error)
        if isinstance(error, Overloaded):
            response.headers["Retry-After"] = str(error.retry_after_s)
        return response
    status = _status(error)
    response = error_response(status, "unavailable" if status >= 500 else "invalid", str(error))
    if isinstance(error, StorageUnavailable):
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail: Any = error.detail
    if isinstance(detail, dict):
        return json_response({"error": detail}, error.status_code)
    code = _CODES.get(error.status_code, "refused")
    message = f"{request.method} {request.url.path[:200]}: {detail}"
    response = error_response(error.status_code, code, message, remedy=_REMEDIES.get(error.status_code))
    response.headers.update(error.headers or {})
    return response


def problem_response(problem: Problem) -> Response:
    return json_response({"error": problem.as_dict()}, _status(problem))


def _status(error: Exception) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
