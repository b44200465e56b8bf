"""What the console asks of the server, without a browser: shapes, errors, searches, dials and versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.console.server import copied
from tests.serving.server import running
from tests.waiting import wait_for
from upnext.home import Home
from upnext.packed import Texts
from upnext.serving.recent import Recent


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Home:
    return copied(trained, tmp_path / "home")


@pytest.fixture
def client(home: Home) -> Iterator[httpx.Client]:
    with running(home) as opened:
        yield opened


def test_choices_of_no_weight_are_not_spoken_of(client: httpx.Client) -> None:
    client.put("/v1/console/dials", json={"dials": {"choice_power": 0.0}})
    page = client.post("/v1/console/page", json={"user_id": "u1"}).json()
    best = page["rows"][0]["items"][0]["item_id"]
    asked = {"user_id": "u1", "recommendation_id": page["rows"][0]["recommendation_id"], "item_id": best}
    path = client.get("/v1/console/xray/item", params=asked).json()
    assert path["held"] is None
    np.testing.assert_allclose(path["value"], sum(part["part"] for part in path["value_parts"]), rtol=1e-3)


def test_a_search_looks_at_every_text_and_stops_in_time() -> None:
    texts = Texts(["Alpha", "beta ALPHABET", "gamma", "", "ÄPFEL"])
    assert texts.containing("alpha", 10, 5.0)[0].tolist() == [0, 1]
    assert texts.containing("ALPHA", 1, 5.0)[0].tolist() == [0]
    assert texts.containing("äp", 10, 5.0)[0].tolist() == [4]
    assert texts.containing("longer than any of them", 10, 5.0)[0].tolist() == []
    found, complete = texts.containing("a", 10, 0.0)
    assert (found.tolist(), complete) == ([], False)


def test_pages_are_whole_and_of_one_user(client: httpx.Client) -> None:
    page = client.post("/v1/console/page", json={"user_id": "u1"}).json()
    assert [row["key"] for row in page["rows"]][:2] == ["for_you", "because"]
    items = [item["item_id"] for row in page["rows"] for item in row["items"]]
    assert len(items) == len(set(items))
    wrong = client.post("/v1/console/page", json={"user": "u1"})
    assert wrong.status_code == 422
    assert set(wrong.json()["error"]) == {"code", "message", "field", "remedy"}


def test_the_xray_is_of_the_page_or_says_that_it_is_not(client: httpx.Client, home: Home) -> None:
    page = client.post("/v1/console/page", json={"user_id": "u1"}).json()
    asked = {"user_id": "u1", "recommendation_id": page["rows"][0]["recommendation_id"]}
    xray = client.get("/v1/console/xray", params=asked).json()
    assert (xray["fresh"], xray["stages"]) == (False, page["stages"])
    assert client.get("/v1/console/xray", params={**asked, "user_id": "u2"}).json()["fresh"]
    assert client.get("/v1/console/xray/item", params={**asked, "item_id": "none"}).status_code == 404
    best = page["rows"][0]["items"][0]["item_id"]
    path = client.get("/v1/console/xray/item", params={**asked, "item_id": best}).json()
    assert path["position"] == 0
    parts, held = sum(part["part"] for part in path["value_parts"]), path["held"]
    assert set(path["predictions"]) >= {"p_click", "watch_seconds"}
    assert "choice" not in path["predictions"], "it is no task"
    assert 0 < held["choice"] == path["choice"] <= 1
    np.testing.assert_allclose(held["sum"], parts, rtol=1e-4)
    np.testing.assert_allclose(held["factor"], held["choice"] ** held["power"], rtol=1e-4)
    np.testing.assert_allclose(path["value"], parts * held["factor"], rtol=1e-3)
    assert xray["choice_power"] == held["power"] == home.config.ranking.choice_power > 0
    assert max(row["choice"] for row in xray["candidates"]) <= 1
    effects = [abs(feature["effect"]) for feature in path["features"]]
    assert effects == sorted(effects, reverse=True)


def test_a_preview_of_nothing_turned_is_the_page_itself(client: httpx.Client) -> None:
    page = client.post("/v1/console/page", json={"user_id": "u1"}).json()
    asked = {"user_id": "u1", "recommendation_id": page["rows"][0]["recommendation_id"], "dials": {}}
    same = client.post("/v1/console/dials/preview", json=asked).json()
    shown = [item["item_id"] for item in page["rows"][0]["items"]]
    assert [item["item_id"] for item in same["now"]["items"]] == shown
    assert (same["now"]["expected"], same["moved"], same["entered"]) == (same["then"]["expected"], 0, 0)
    likes = client.post("/v1/console/dials/preview", json={**asked, "dials": {"weights.like": 50.0}}).json()
    assert likes["then"]["expected"]["like"] >= likes["now"]["expected"]["like"]
    free = client.post("/v1/console/dials/preview", json={**asked, "dials": {"choice_power": 0.0}}).json()
    held, freed = ({item["item_id"]: item["utility"] for item in free[which]["items"]} for which in ("now", "then"))
    assert all(freed[item] >= held[item] for item in held.keys() & freed.keys())
    assert held != freed


def test_dials_that_make_no_sense_are_refused(client: httpx.Client, home: Home) -> None:
    before = (home.directory / "upnext.toml").read_text()
    for dials, field in (({"diversity": 2}, "dials.diversity"), ({"volume": 1}, "dials.volume")):
        refused = client.put("/v1/console/dials", json={"dials": dials})
        assert (refused.status_code, refused.json()["error"]["field"]) == (422, field)
    assert client.post("/v1/console/dials/undo").status_code == 422
    assert (home.directory / "upnext.toml").read_text() == before


def test_where_the_dials_stand(client: httpx.Client, home: Home) -> None:
    standing = client.get("/v1/console/dials").json()
    assert (standing["undo"], standing["model"], standing["choices"]) == (0, True, True)
    assert standing["dials"]["choice_power"] == home.config.ranking.choice_power


def test_saved_dials_serve_and_survive(client: httpx.Client, home: Home) -> None:
    saved = client.put("/v1/console/dials", json={"dials": {"weights.like": 9.5, "exploration": 0.0}}).json()
    assert (saved["dials"]["weights.like"], saved["undo"]) == (9.5, 1)
    config = Home.open(home.directory).config
    assert (config.ranking.tasks["like"].weight, config.reranking.exploration.budget) == (9.5, 0.0)
    answer = client.post("/v1/recommendations", json={"user_id": "u1", "n": 1, "explain": True}).json()
    explained = answer["items"][0]["explain"]
    predictions = explained["predictions"]
    expected = predictions["p_click"] + 9.5 * predictions.get("p_like", 0) + 4 * predictions.get("p_share", 0)
    expected += 0.01 * predictions["watch_seconds"]
    expected *= explained["choice"] ** home.config.ranking.choice_power
    assert abs(explained["value"] - expected) < 1e-3 * max(expected, 1)
    undone = client.post("/v1/console/dials/undo").json()
    assert (undone["dials"]["weights.like"], undone["dials"]["exploration"], undone["undo"]) == (2.0, 0.1, 0)


def test_dials_changed_by_hand_are_followed(client: httpx.Client, home: Home) -> None:
    file = home.directory / "upnext.toml"
    client.put("/v1/console/dials", json={"dials": {"diversity": 0.3}})
    file.write_text(file.read_text().replace("diversity = 0.3", "diversity = 0.4"))
    client.put("/v1/console/dials", json={"dials": {"freshness": 0.2}})
    standing = client.get("/v1/console/dials").json()["dials"]
    assert (standing["diversity"], standing["freshness"]) == (0.4, 0.2)


@pytest.mark.parametrize("broken", ["diversity = ", "diversity = 7.0", 'diversity = "much"'])
def test_a_file_that_makes_no_sense_changes_nothing(client: httpx.Client, home: Home, broken: str) -> None:
    file = home.directory / "upnext.toml"
    client.put("/v1/console/dials", json={"dials": {"diversity": 0.3}})
    good = file.read_text()
    file.write_text(good.replace("diversity = 0.3", broken))
    refused = client.put("/v1/console/dials", json={"dials": {"freshness": "much"}})
    assert refused.status_code == 422
    if broken == "diversity = ":
        refused = client.put("/v1/console/dials", json={"dials": {"freshness": 0.2}})
        assert "not valid TOML" in refused.json()["error"]["message"]
        assert file.read_text() == good.replace("diversity = 0.3", broken)
    assert client.get("/v1/console/dials").json()["dials"]["diversity"] == 0.3
    file.write_text(good.replace("diversity = 0.3", "diversity = 0.5"))
    client.put("/v1/console/dials", json={"dials": {"freshness": 0.3}})
    assert client.get("/v1/console/dials").json()["dials"]["diversity"] == 0.5


def test_versions_are_listed_and_rolled_back(client: httpx.Client, home: Home) -> None:
    models = home.models()
    first = models.active()
    assert first is not None
    listed = client.get("/v1/console/models").json()
    assert (listed["serving"], listed["rollback_to"], len(listed["versions"])) == (first, None, 1)
    assert client.post("/v1/console/models/rollback").status_code == 404
    folder, manifest = models.open(first)
    with models.draft() as draft:
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "manifest.json":
                (draft / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
                (draft / path.relative_to(folder)).write_bytes(path.read_bytes())
        second = models.publish(draft, manifest)
    assert client.post("/v1/console/models/activate", json={"version": second}).json()["serving"] == second
    back = client.post("/v1/console/models/rollback").json()
    assert (back["serving"], back["active"]) == (first, first)
    assert client.post("/v1/console/models/activate", json={"version": "none"}).status_code == 404


def test_pages_of_other_sites_are_refused(client: httpx.Client) -> None:
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 404), (None, 404)):
        headers = {} if site is None else {"Sec-Fetch-Site": site}
        answer = client.post("/v1/console/models/rollback", headers=headers)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"code", "message", "field", "remedy"}


def test_the_report_needs_a_ticket(client: httpx.Client, home: Home) -> None:
    assert client.get("/v1/console/report").json()["url"] is None
    (home.directory / "var" / "report.html").write_text("<p>good</p>")
    url = client.get("/v1/console/report").json()["url"]
    report = client.get(url)
    assert (report.status_code, report.text) == (200, "<p>good</p>")
    assert "sandbox" in report.headers["content-security-policy"]
    for wrong in ("1.open", "99999999999999.open", "nonsense", url.rpartition("/")[2].partition(".")[0] + ".other"):
        assert client.get(f"/v1/console/report/{wrong}").status_code == 404


def test_searches_find_users_items_and_neighbours(client: httpx.Client) -> None:
    users = client.get("/v1/console/users", params={"q": "u11", "n": 3}).json()
    assert users["users"][0]["user_id"] == "u11"
    assert len(users["users"]) == 3
    assert client.get("/v1/console/users").json()["users"][0]["events"] > 0
    items = client.get("/v1/console/items", params={"q": "i12"}).json()["items"]
    assert items[0]["item_id"] == "i12"
    near = client.get("/v1/console/neighbours", params={"item_id": "i12", "n": 4}).json()["items"]
    assert len(near) == 4
    assert "i12" not in [item["item_id"] for item in near]
    reached = client.get("/v1/console/audience", params={"item_id": "i12"}).json()
    assert 0 < len(reached["users"]) <= 5
    assert client.get("/v1/console/neighbours", params={"item_id": "none"}).status_code == 404


def test_health_counts_answers_and_not_those_who_watch(client: httpx.Client) -> None:
    def health() -> Any:
        return client.get("/v1/console/health").json()

    shown, before = 0, health()["log_last"]
    for _ in range(3):
        shown += len(client.post("/v1/recommendations", json={"user_id": "u1"}).json()["items"])
        health()
    # Impressions are written once an answer is out: until the views have read them, a lag is the truth.
    wait_for(lambda: bool(health()["log_last"] == before + shown and health()["lag"] == 0))
    found = health()
    assert found["recent"]["requests"] == 3
    assert found["recent"]["routes"][0]["route"] == "/v1/recommendations"
    assert {"two_tower", "multi_task"} <= {stage["name"] for stage in found["recent"]["stages"]}


def test_only_the_last_minute_counts() -> None:
    now = [0.0]
    recent = Recent(lambda: now[0])
    recent.request("/v1/trending", 200, 0.010)
    now[0] = 59.0
    recent.request("/v1/trending", 503, 0.030)
    found = recent.summary()
    assert (found["requests"], found["errors"], found["routes"][0]["p50"]) == (2, 1, 20.0)
    assert (found["by_second"][0], found["by_second"][-1]) == (1, 1)
    now[0] = 100.0
    assert recent.summary()["requests"] == 1


def test_a_page_that_somebody_is_shown_counts_and_what_is_looked_up_does_not() -> None:
    recent = Recent()
    for route in (
        "/",
        "/v1/console/page",
        "/v1/console/xray",
        "/v1/console/items",
        "/console/{path}",
        "/v1/health/ready",
    ):
        recent.request(route, 200, 0.010)
    assert [(row["route"], row["count"]) for row in recent.summary()["routes"]] == [("/v1/console/page", 1)]


def test_every_process_of_a_server_follows(client: httpx.Client, home: Home) -> None:
    with running(Home.open(home.directory)) as other:
        client.put("/v1/console/dials", json={"dials": {"weights.share": 11.0}})
        wait_for(lambda: bool(other.get("/v1/console/dials").json()["dials"]["weights.share"] == 11.0))
        other.post("/v1/console/dials/undo")
        wait_for(lambda: bool(client.get("/v1/console/dials").json()["dials"]["weights.share"] == 4.0))
