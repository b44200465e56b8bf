"""Whatever is sent: a 4xx that names the field, or a sensible answer. Never a 5xx."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ENDPOINTS = ("/v1/recommendations", "/v1/events", "/v1/items", "/v1/users")
JSON = {"Content-Type": "application/json"}
DEEP = b'{"user_id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def error(response: httpx.Response) -> dict[str, Any]:
    body = response.json()["error"]
    assert set(body) == {"code", "message", "field", "remedy"}
    return body


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", JSON, 422, "invalid"),
        (b"{", JSON, 400, "not_json"),
        (b'{"user_id": NaN}', JSON, 400, "not_json"),
        (b'{"user_id": "\xff"}', JSON, 400, "not_json"),
        (b'{"user_id": "\\ud800"}', JSON, 400, "not_json"),
        (b'{"n": 1' + b"0" * 5000 + b"}", JSON, 400, "not_json"),
        (DEEP, JSON, 400, "not_json"),
        (b'{"user_id": "u"}', {"Content-Type": "text/plain"}, 415, "content_type"),
        (b'{"user_id": "u"}', {}, 415, "content_type"),
        (b" " * (17 * 2**20), JSON, 413, "too_large"),
        (b"null", JSON, 422, "invalid"),
        (b"7", JSON, 422, "invalid"),
        (b'"text"', JSON, 422, "invalid"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_is_no_request_at_all(
    shared_client: httpx.Client, path: str, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    response = shared_client.post(path, content=body, headers=headers)
    assert (response.status_code, error(response)["code"]) == (status, code)


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"n": 0}, "n", "n should be greater than or equal to 1, got 0"),
        ({"n": 10**30}, "n", "n is 1000000000000000000000000000000; it must be 1 to 500"),
        ({"n": "many"}, "n", "n should be a valid integer, unable to parse string as an integer, got 'many'"),
        ({"usr_id": "u"}, "usr_id", "unknown field 'usr_id'; did you mean 'user_id'?"),
        ({"user_id": ""}, "user_id", "user_id String should have at least 1 character, got ''"),
        ({"user_id": "\x00"}, "user_id", "user_id is blank or holds control characters, got '\\x00'"),
        ({"user_id": "u" * 513}, "user_id", None),
        ({"user_id": 5}, "user_id", "user_id should be a valid string, got 5"),
        ({"exclude_ids": ["i"] * 1001}, "exclude_ids", None),
        ({"exclude_ids": [None]}, "exclude_ids.0", None),
        ({"diversity": 1.5}, "diversity", "diversity should be less than or equal to 1, got 1.5"),
        ({"weights": {"klick": 1}}, "weights.klick", "weights names the unknown task 'klick'; did you mean 'click'?"),
        ({"weights": {"click": 1e300}}, "weights.click", None),
        ({"filter": {"category": ["x"]}}, "filter.category", "unknown field 'filter.category'"),
        ({"user_id": "u", "recent_items": []}, "recent_items", "user_id and recent_items were both given"),
        ({"deadline_ms": -1}, "deadline_ms", None),
        ({"surface": "s" * 65}, "surface", None),
        ({"context": {"x": "y" * 20_000}}, "context", None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_bad_field_of_a_question_is_named(
    shared_client: httpx.Client, body: dict[str, Any], field: str, message: str | None
) -> None:
    response = shared_client.post("/v1/recommendations", json=body)
    assert response.status_code == 422
    found = error(response)
    assert found["field"] == field
    assert message is None or found["message"] == message
    assert len(found["message"]) < 300


def test_a_number_beyond_floats_is_refused(shared_client: httpx.Client) -> None:
    for body in (b'{"diversity": 1e999}', b'{"context": {"x": 1e999}}', b'{"weights": {"click": 1e999}}'):
        assert shared_client.post("/v1/recommendations", content=body, headers=JSON).status_code == 422
    user = b'[{"user_id": "u", "attributes": {"age": 1' + b"0" * 400 + b"}}]"
    response = shared_client.post("/v1/users", content=user, headers=JSON)
    assert response.status_code == 422
    assert "'age' is too large" in error(response)["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nowhere", 404),
        ("GET", "/v1/recommendations", 405),
        ("DELETE", "/v1/events", 405),
        ("GET", "/v1/items/unknown", 404),
        ("DELETE", "/v1/items/unknown", 404),
        ("GET", "/v1/items/%FF%00/similar", 422),
        ("GET", "/v1/trending?n=x", 422),
        ("GET", "/v1/trending?n=100000", 422),
        ("GET", "/v1/explain?user_id=u", 422),
        ("GET", "/v1/explain?user_id=u&item_id=unknown", 404),
        ("GET", "/v1/items/" + "x" * 600, 422),
    ],
)
def test_bad_paths_and_parameters(shared_client: httpx.Client, method: str, path: str, status: int) -> None:
    response = shared_client.request(method, path)
    assert response.status_code == status
    error(response)


def test_patching_or_putting_nonsense(shared_client: httpx.Client) -> None:
    assert error(shared_client.put("/v1/items/i1", json={"titel": "x"}))["message"] == (
        "unknown field 'titel'; did you mean 'title'?"
    )
    assert error(shared_client.patch("/v1/items/i1", json={"duration": 0}))["field"] == "duration"
    assert shared_client.patch("/v1/items/unknown", json={"duration": 1}).status_code == 404
    assert error(shared_client.put("/v1/items/i1", json={"published_at": "yesterday"}))["field"] == "published_at"
    assert shared_client.post("/v1/items", json=[{"item_id": "i"}] * 1001).status_code == 422
    assert shared_client.post("/v1/items", json=[]).status_code == 422


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
ids = st.text(max_size=12) | st.sampled_from(["i1", "i2", "u1", "u2"])
question = st.fixed_dictionaries(
    {},
    optional={
        "user_id": ids,
        "recent_items": st.lists(ids, max_size=4) | anything,
        "n": st.integers(-1, 600) | anything,
        "surface": ids,
        "context": anything,
        "exclude_ids": st.lists(ids, max_size=4) | anything,
        "filter": st.fixed_dictionaries({}, optional={"categories": st.lists(ids, max_size=3)}) | anything,
        "diversity": st.floats(allow_nan=False) | anything,
        "explore": st.floats(0, 1),
        "items": st.lists(ids, max_size=3),
        "weights": st.dictionaries(st.sampled_from(["click", "like", "watch"]) | st.text(max_size=5), st.floats(-9, 9)),
        "explain": st.booleans() | anything,
        "deadline_ms": st.floats(allow_nan=False) | anything,
    },
)
event = st.fixed_dictionaries(
    {"event_type": st.sampled_from(["click", "impression", "watch", "hide", "klick"]) | anything, "user_id": ids},
    optional={
        "item_id": ids | anything,
        "items": st.lists(ids, max_size=3) | anything,
        "timestamp": st.integers() | st.floats(allow_nan=False) | st.datetimes().map(str) | anything,
        "value": st.floats(allow_nan=False) | anything,
        "event_id": ids,
        "position": st.integers() | anything,
        "surface": ids | anything,
        "session_id": anything,
        "recommendation_id": ids,
        "context": anything,
    },
)
item = st.fixed_dictionaries(
    {"item_id": ids},
    optional={
        "title": st.text(max_size=30) | anything,
        "author": ids | anything,
        "categories": st.lists(ids, max_size=12) | anything,
        "duration": st.floats(allow_nan=False) | anything,
        "published_at": st.integers() | st.floats(allow_nan=False) | anything,
        "available": st.booleans() | anything,
        "vector": st.lists(st.floats(allow_nan=False), max_size=3) | anything,
        "attributes": anything,
    },
)
user = st.fixed_dictionaries(
    {"user_id": ids},
    optional={"attributes": st.dictionaries(ids, anything, max_size=3) | anything, "blocked_authors": st.lists(ids)},
)
bodies = {
    "/v1/recommendations": question | anything,
    "/v1/events": event | st.lists(event | anything, max_size=4) | anything,
    "/v1/items": st.lists(item | anything, max_size=4) | anything,
    "/v1/users": st.lists(user | anything, max_size=4) | anything,
}
few = settings(
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_no_json_whatsoever_makes_a_5xx_or_spoils_later_answers(shared_client: httpx.Client, path: str) -> None:
    @few
    @given(bodies[path])
    def send(body: Any) -> None:
        response = shared_client.post(path, content=json.dumps(body).encode(), headers=JSON)
        assert response.status_code < 500, (body, response.text)
        if response.status_code != 200:
            error(response)

    send()
    ready = shared_client.get("/v1/health/ready")
    assert ready.json()["status"] == "ready"
    answer = shared_client.post("/v1/recommendations", json={"user_id": "u1", "n": 20, "deadline_ms": 20_000})
    assert answer.status_code == 200
    assert len(answer.json()["items"]) == 20
    assert answer.json()["degraded"] == []


@few
@given(path=st.sampled_from(ENDPOINTS), body=st.binary(max_size=60))
def test_no_bytes_whatsoever_make_a_5xx(shared_client: httpx.Client, path: str, body: bytes) -> None:
    assert shared_client.post(path, content=body, headers=JSON).status_code < 500
