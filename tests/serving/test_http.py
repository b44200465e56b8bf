"""The HTTP contract, over TCP against a real server."""

from __future__ import annotations

import json
import re
import threading
import time

import httpx
import pytest

from tests.serving.server import running
from upnext.home import Home
from upnext.serving.answer_schemas import ErrorAnswer, FatesAnswer, SlateAnswer


def test_an_answer_has_what_was_promised(shared_client: httpx.Client) -> None:
    response = shared_client.post("/v1/recommendations", json={"user_id": "u1", "n": 5, "explain": True})
    assert response.status_code == 200
    answer = response.json()
    SlateAnswer.model_validate(answer)
    assert re.fullmatch(r"[0-9a-f]{32}", answer["recommendation_id"])
    row = answer["items"][0]
    assert set(row) == {"item_id", "position", "score", "source", "reasons", "explain"}
    assert row["explain"]["stage"] == "shown"
    assert {"p_click"} <= set(row["explain"]["predictions"])


def test_every_setting_of_the_request_is_taken(shared_client: httpx.Client) -> None:
    body = {
        "recent_items": ["i1", "i2"],
        "n": 3,
        "surface": "home",
        "context": {"device": "tv"},
        "exclude_ids": ["i3"],
        "filter": {"categories": ["Movies", "Dance", "Science", "Fitness"]},
        "diversity": 0.5,
        "explore": 0.2,
        "weights": {"click": 2.0},
        "deadline_ms": 500,
        "log_impressions": False,
    }
    assert shared_client.post("/v1/recommendations", json=body).status_code == 200
    anchored = shared_client.post("/v1/recommendations", json={"items": ["i9"], "n": 2}).json()
    assert anchored["basis"] == "1 named item"


def test_next_pages(shared_client: httpx.Client) -> None:
    first = shared_client.post("/v1/recommendations", json={"user_id": "u2", "n": 4}).json()
    second = shared_client.get(f"/v1/recommendations/{first['recommendation_id']}/next").json()
    assert not {row["item_id"] for row in first["items"]} & {row["item_id"] for row in second["items"]}
    assert [row["position"] for row in second["items"]] == [4, 5, 6, 7]
    gone = shared_client.get("/v1/recommendations/0123/next")
    assert gone.status_code == 404
    ErrorAnswer.model_validate(gone.json())
    assert gone.json()["error"] == {
        "code": "not_found",
        "message": "recommendation '0123' is unknown or has expired",
        "field": "recommendation_id",
        "remedy": "POST /v1/recommendations starts anew",
    }


def test_similar_trending_and_explain(shared_client: httpx.Client) -> None:
    similar = shared_client.get("/v1/items/i1/similar", params={"n": 3}).json()
    assert len(similar["items"]) == 3
    trending = shared_client.get("/v1/trending", params={"n": 2}).json()
    SlateAnswer.model_validate(similar)
    SlateAnswer.model_validate(trending)
    assert len(trending["items"]) == 2
    item = trending["items"][0]["item_id"]
    explained = shared_client.get("/v1/explain", params={"user_id": "u1", "item_id": item}).json()
    assert explained["item_id"] == item
    assert explained["stage"] in ("shown", "reranking", "candidates")
    assert shared_client.get("/v1/items/no such/similar").status_code == 404


def test_items_live_and_die_over_http(client: httpx.Client) -> None:
    path = "/v1/items/a/b c?d".replace("?", "%3F")
    assert client.put(path, json={"title": "Odd id", "categories": ["Movies"]}).json() == {
        "item_id": "a/b c?d",
        "changed": True,
    }
    assert client.patch(path, json={"duration": 12.5}).status_code == 200
    assert client.get(path).json()["duration"] == 12.5
    assert client.get(path).json()["title"] == "Odd id"
    assert client.get(f"{path}/similar").status_code == 200
    assert client.delete(path).json() == {"item_id": "a/b c?d", "deleted": True}
    assert client.get(path).status_code == 404
    assert client.put("/v1/items/x", json={"item_id": "y"}).json()["error"]["field"] == "item_id"
    assert client.put("/v1/users/u/1", json={"attributes": {"plan": "pro"}}).json() == {
        "user_id": "u/1",
        "changed": True,
    }


def test_events_one_and_many(client: httpx.Client) -> None:
    event = {"event_type": "click", "user_id": "h1", "item_id": "i1", "event_id": "one"}
    assert client.post("/v1/events", json=event).json()["rows"] == ["accepted"]
    response = client.post("/v1/events", json=[event, {**event, "event_id": "two"}, {"event_type": "click"}])
    assert response.status_code == 200
    assert response.json()["rows"] == ["duplicate", "accepted", "rejected"]
    FatesAnswer.model_validate(response.json())
    assert client.post("/v1/recommendations", json={"user_id": "h1"}).json()["basis"] == "history of 2 events"
    nothing_good = client.post("/v1/events", json={**event, "event_type": "clikc"})
    assert nothing_good.status_code == 422
    assert nothing_good.json()["error"] == {
        "code": "invalid",
        "message": "event_type 'clikc' is unknown; did you mean 'click'?",
        "field": "event_type",
        "remedy": "[events.types] adds more",
    }


def test_impressions_are_in_the_log_when_the_server_has_stopped(home: Home) -> None:
    with running(home) as client:
        answers = [client.post("/v1/recommendations", json={"user_id": f"u{n}", "n": 7}).json() for n in range(20)]
    log = home.log()
    events = log.read_events()
    log.close()
    assert int((events.as_of >= 0).sum()) == sum(len(answer["items"]) for answer in answers) == 140


def test_health_models_and_metrics(shared_client: httpx.Client) -> None:
    for prefix in ("/v1/health", "/health"):
        assert shared_client.get(f"{prefix}/live").json() == {"status": "alive"}
        ready = shared_client.get(f"{prefix}/ready").json()
        assert (ready["status"], ready["degraded"]) == ("ready", [])
    models = shared_client.get("/v1/models").json()
    assert models["active"] == ready["model_version"] == models["versions"][-1]
    assert "ranker" in models["manifest"]["metrics"]
    shared_client.post("/v1/recommendations", json={"user_id": "u1"})
    shared_client.post("/v1/events", json={"event_type": "clikc", "user_id": "u", "item_id": "i"})
    time.sleep(0.05)  # observers run after the answer
    text = shared_client.get("/metrics").text
    for sample in (
        'upnext_request_seconds_count{method="POST",route="/v1/recommendations",status="200"}',
        'upnext_stage_seconds_bucket{le="0.001",name="multi_task",stage="ranking"}',
        'upnext_source_candidates_count{source="two_tower"}',
        'upnext_filter_removed_total{filter="watched"}',
        'upnext_events_total{fate="rejected"} ',
        f'upnext_model_info{{version="{models["active"]}"}} 1.0',
        "upnext_log_offset ",
        "upnext_items ",
        "upnext_exploration_owed_items ",
        "upnext_exploration_slots_total ",
        "upnext_exploration_cost_share ",
    ):
        assert sample in text


def test_the_docs_page_lists_every_endpoint_and_loads_nothing_from_elsewhere(shared_client: httpx.Client) -> None:
    page = shared_client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    described = shared_client.get("/openapi.json").json()
    for path, methods in described["paths"].items():
        assert f"<code>{path}</code>" in page.text
        assert all(operation["description"] for operation in methods.values())
    assert not re.search(r"(src|href)\s*=\s*['\"]?(https?:)?//", page.text)
    assert "@import" not in page.text
    for schema in described["components"]["schemas"].values():
        fields = schema.get("properties", {}).items()
        undescribed = [name for name, field in fields if "description" not in field]
        assert undescribed == []


def test_health_answers_while_answers_are_computed(home: Home) -> None:
    slow = threading.Event()

    with running(home) as client, httpx.Client(base_url=client.base_url, timeout=30) as other:
        busy = [
            threading.Thread(target=lambda: other.post("/v1/recommendations", json={"user_id": "u1", "n": 400}))
            for _ in range(8)
        ]
        for thread in busy:
            thread.start()
        slow.set()
        started = time.perf_counter()
        assert client.get("/v1/health/live").status_code == 200
        waited = time.perf_counter() - started
        for thread in busy:
            thread.join()
    assert waited < 0.5


@pytest.mark.parametrize("path", ["/metrics", "/docs", "/openapi.json", "/v1/trending", "/v1/models", "/nowhere"])
def test_with_a_key_every_call_but_health_needs_it(home: Home, path: str) -> None:
    secured = Home.open(home.directory, ["serving.api_key=0123456789abcdef"])
    with running(secured) as client:
        for headers in ({}, {"Authorization": "Bearer 0123456789abcdeX"}, {"Authorization": "0123456789abcdef"}):
            refused = client.get(path, headers=headers)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "unauthorized"
        allowed = client.get(path, headers={"Authorization": "Bearer 0123456789abcdef"})
        assert allowed.status_code == (404 if path == "/nowhere" else 200)
        assert client.get("/v1/health/ready").status_code == 200


def test_an_unexpected_error_is_json_with_a_reference_and_no_stack_trace(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from upnext.serving.engine import Engine

    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Engine, "trending", broken)
    with running(home) as client:
        response = client.get("/v1/trending")
    assert response.status_code == 500
    assert "secret" not in response.text
    reference = re.search(r"[0-9a-f]{32}", response.json()["error"]["message"])
    assert reference is not None
    assert any(reference[0] in record.getMessage() for record in caplog.records)
    assert "secret detail" in caplog.text


def test_what_cannot_be_stored_is_503(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from upnext.errors import StorageError
    from upnext.storage.sqlite import SQLiteLog

    def full(*_: object, arriving: bool) -> None:
        raise StorageError("log.db: the disk is full")

    with running(home) as client:
        monkeypatch.setattr(SQLiteLog, "append_events", full)
        response = client.post("/v1/events", json={"event_type": "click", "user_id": "u", "item_id": "i"})
        assert response.status_code == 503
        assert response.json()["error"]["message"] == "log.db: the disk is full"
        assert json.loads(client.post("/v1/recommendations", json={"user_id": "u1", "n": 2}).text)["items"]
