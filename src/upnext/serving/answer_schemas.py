"""The shapes of answers, for the OpenAPI description. Answers are not validated against them when sent; tests do it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from upnext.serving.fields import Strict


class AnswerItem(Strict):
    """One place of a slate."""

    item_id: str = Field(description="Your name for the item.")
    position: int = Field(description="Place, counted from 0 over all pages.")
    score: float | None = Field(description="What the slate is ordered by; null where popularity filled up.")
    source: list[str] = Field(description="The sources that proposed it.")
    reasons: list[str] = Field(description="Why, in short sentences for people.")
    explain: dict[str, Any] | None = Field(None, description="The path through the funnel, where asked for.")


class AnswerStage(Strict):
    """What one stage did."""

    stage: str = Field(description="candidates, features, ranking or reranking.")
    name: str = Field(description="Which part of it.")
    rows_in: int = Field(description="Candidates before.")
    rows_out: int = Field(description="Candidates after.")
    ms: float = Field(description="Milliseconds.")
    error: str | None = Field(None, description="Why it failed, where it did.")


class SlateAnswer(Strict):
    """A slate, what it rests on, and how it came about."""

    recommendation_id: str = Field(description="Names this answer: for later events, and for its next page.")
    items: list[AnswerItem] = Field(description="The slate, best first.")
    model_version: str | None = Field(description="The version that served; null = none is published.")
    basis: str = Field(description="What the answer rests on: a history of so many events, a session, nobody...")
    notes: list[str] = Field(description="What was ignored, or filled up.")
    degraded: list[str] = Field(description="What failed or was left out; empty = the full funnel answered.")
    took_ms: float = Field(description="Milliseconds on the server.")
    stages: list[AnswerStage] = Field(description="The trace.")


class Problem(Strict):
    """What is wrong with a request."""

    code: str = Field(description="For programs: invalid, not_found, overloaded, unauthorized, not_json...")
    message: str = Field(description="For people; names the field and the value.")
    field: str | None = Field(description="The field, dotted.")
    remedy: str | None = Field(description="What to do instead.")


class ErrorAnswer(Strict):
    """Every answer that is not 2xx."""

    error: Problem = Field(description="What is wrong.")


OVERLOADED: dict[int | str, dict[str, Any]] = {
    503: {
        "model": ErrorAnswer,
        "description": "Overloaded: the answer would take longer than serving.max_wait_ms. Nothing was computed.",
        "headers": {
            "Retry-After": {"description": "Whole seconds, at least 1.", "schema": {"type": "integer", "minimum": 1}}
        },
    }
}


class Rejection(Problem):
    """What is wrong with one row."""

    row: int = Field(description="Its number, from 0.")


class FatesAnswer(Strict):
    """What became of each row of a batch."""

    accepted: int = Field(description="Rows written.")
    duplicates: int = Field(description="Rows whose event was known already.")
    rejected: int = Field(description="Rows not written.")
    rows: list[str] = Field(description="accepted, duplicate or rejected, in the order sent.")
    rejections: list[Rejection] = Field(description="Why rows were rejected.")
