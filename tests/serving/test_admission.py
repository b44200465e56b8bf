"""Who is let in, by a clock of our own; and what overload looks like over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from heapq import heappop, heappush

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.server import running
from upnext.home import Home
from upnext.pipeline import Funnel
from upnext.serving.admission import FIRST_S, MOST_RETRY_S, Admission, Overloaded, Task
from upnext.serving.answer_schemas import ErrorAnswer
from upnext.serving.engine import LEAST_MS, Engine
from upnext.serving.question import Question
from upnext.types import Requests, Slate


class Line:
    """Threads that take requests in turn, each for as long as it is told; time passes only here."""

    def __init__(self, threads: int, limit_s: float) -> None:
        self.now, self.refused, self._taken = 0.0, 0, 0
        self.admission = Admission(threads, limit_s, clock=lambda: self.now)
        self._free = [0.0] * threads
        self._ends: list[tuple[float, int, AbstractContextManager[Task], Task, float]] = []

    def ask(self, at: float, takes: float, kind: str = "a") -> float | None:
        """Seconds from ``at`` until it is answered; None when it is refused."""
        self.pass_to(at)
        entry = self.admission.enter(kind)
        try:
            task = entry.__enter__()
        except Overloaded:
            self.refused += 1
            return None
        end = max(heappop(self._free), at) + takes
        heappush(self._free, end)
        self._taken += 1  # tells apart those that end together
        heappush(self._ends, (end, self._taken, entry, task, takes))
        return end - at

    def pass_to(self, at: float) -> None:
        while self._ends and self._ends[0][0] <= at:
            end, _, entry, task, takes = heappop(self._ends)
            self.now = end - takes
            task.run(lambda end=end: setattr(self, "now", end))
            entry.__exit__(None, None, None)
        self.now = at


def inside(admission: Admission, kind: str, number: int) -> list[AbstractContextManager[Task]]:
    entries = [admission.enter(kind) for _ in range(number)]
    for entry in entries:
        entry.__enter__()
    return entries


def test_as_many_are_let_in_as_can_be_answered_in_time() -> None:
    admission = Admission(threads=2, limit_s=5.25 * FIRST_S)
    held = inside(admission, "a", 2 + 7)  # another waits for 8 ends on two threads, and then runs
    assert admission.expected("a") == pytest.approx(5 * FIRST_S)
    held += inside(admission, "a", 1)
    with pytest.raises(Overloaded) as refused:
        admission.check("a")
    assert len(held) == 10
    assert refused.value.as_dict() == {
        "code": "overloaded",
        "message": "the server is overloaded: an answer would take about 110 ms, and it takes on no more than 105 ms "
        "of them (serving.max_wait_ms)",
        "field": None,
        "remedy": "Ask again after 1 s, with pauses that grow; or give the server more workers",
    }


def test_one_that_leaves_makes_room_and_every_refusal_is_reported() -> None:
    refused: list[str] = []
    admission = Admission(1, 2.5 * FIRST_S, refused.append)
    entries = inside(admission, "a", 2)
    for _ in range(3):
        with pytest.raises(Overloaded):
            admission.check("b")
    assert refused == ["b", "b", "b"]
    entries[0].__exit__(None, None, None)
    admission.check("b")
    assert len(refused) == 3


def test_work_that_fails_is_measured_and_leaves() -> None:
    line = Line(1, 1.0)

    def fail() -> None:
        line.now += 0.5
        raise RuntimeError

    with pytest.raises(RuntimeError), line.admission.enter("a") as task:
        task.run(fail)
    assert task.took == 0.5
    assert line.admission.expected("a") == pytest.approx(FIRST_S + 0.1 * (0.5 - FIRST_S))


def test_a_request_that_is_never_run_leaves_without_a_trace() -> None:
    admission = Admission(1, 1.0)
    with pytest.raises(ValueError, match="not JSON"), admission.enter("a"):
        raise ValueError("not JSON")
    assert admission.expected("a") == FIRST_S


def test_what_ended_beside_idle_threads_can_only_raise_the_estimate() -> None:
    line = Line(2, 1.0)
    for second in range(50):
        line.ask(second, 0.001)
    assert line.admission.expected("a") == FIRST_S
    for second in range(50, 150):
        line.ask(second, 0.2)
    line.pass_to(200)
    assert line.admission.expected("a") == pytest.approx(0.2, rel=0.01)
    for second in range(200, 300):
        line.ask(second, 0.1)
        line.ask(second, 0.1)
    line.pass_to(400)
    assert line.admission.expected("a") == pytest.approx(0.1, rel=0.05)


def test_kinds_are_measured_apart() -> None:
    line = Line(1, 0.1)
    for second in range(100):
        line.ask(second, 0.09, "slow")
        line.ask(second + 0.5, 0.001, "quick")
    line.pass_to(100)
    answered = [line.ask(100, 0.001, "quick") for _ in range(200)]
    assert sum(took is not None for took in answered) > 50
    line.pass_to(200)
    answered = [line.ask(200, 0.09, "slow") for _ in range(200)]
    assert [took is not None for took in answered] == [True] + [False] * 199


@settings(max_examples=100)
@given(
    threads=st.integers(1, 8),
    takes=st.floats(0.001, 0.5),
    limit=st.floats(0.01, 0.5),
    gaps=st.lists(st.floats(0, 0.1), min_size=1, max_size=300),
)
def test_whoever_is_let_in_is_answered_in_time_or_found_a_free_thread(
    threads: int, takes: float, limit: float, gaps: list[float]
) -> None:
    line = Line(threads, limit)
    for second in range(60):  # it learns what they take while all threads are busy
        for _ in range(threads):
            line.ask(second, takes)
    at, apart = 100.0, takes * (threads - 1) / threads  # threads are thought to end one after another; they may not
    for gap in gaps:
        at += gap
        took = line.ask(at, takes)
        if took is not None:
            assert took <= max(limit + apart, takes) + 1e-3


@settings(max_examples=100)
@given(
    threads=st.integers(1, 4),
    limit=st.floats(0.001, 1),
    work=st.lists(st.tuples(st.floats(0, 0.05), st.floats(0, 20), st.sampled_from("abc")), max_size=100),
)
def test_whatever_happened_a_free_thread_takes_a_request_and_soon_a_queue_may_form_again(
    threads: int, limit: float, work: list[tuple[float, float, str]]
) -> None:
    line, at = Line(threads, limit), 0.0
    for gap, takes, kind in work:
        at += gap
        line.ask(at, takes, kind)
    for second in range(100):
        for _ in range(threads):
            assert line.ask(10_000 + second, limit / 100, "a") is not None
    assert line.ask(10_099, limit / 100, "a") is not None


@settings(max_examples=50)
@given(expected=st.floats(0, 1e9), limit=st.floats(0.001, 10))
def test_retry_after_is_a_whole_number_of_seconds(expected: float, limit: float) -> None:
    seconds = Overloaded(expected, limit).retry_after_s
    assert isinstance(seconds, int)
    assert 1 <= seconds <= MOST_RETRY_S


# -- over HTTP


class Gate:
    """A stage at which every answer waits until it is opened."""

    def __init__(self) -> None:
        self.opened, self.reached = threading.Event(), threading.Semaphore(0)

    def wait_for(self, answers: int) -> None:
        for _ in range(answers):
            assert self.reached.acquire(timeout=20)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made, fit = Gate(), Funnel._fit

    def blocking(self: Funnel, *args: object) -> object:
        if threading.current_thread().name.startswith("answer"):
            made.reached.release()
            assert made.opened.wait(30)
        return fit(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Funnel, "_fit", blocking)
    return made


Ask = Callable[..., "Future[httpx.Response]"]


@contextmanager
def asking(client: httpx.Client, gate: Gate) -> Iterator[Ask]:
    """Questions from threads of their own, over connections of their own."""
    with ThreadPoolExecutor(64) as pool:

        def ask(**body: object) -> Future[httpx.Response]:
            return pool.submit(httpx.post, f"{client.base_url}/v1/recommendations", json=body, timeout=60)

        try:
            yield ask
        finally:
            gate.opened.set()


def shed(client: httpx.Client) -> int:
    lines = client.get("/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith('upnext_shed_total{route="/v1/recommendations"}')]
    return int(float(counted[0].split()[-1])) if counted else 0


def test_surplus_is_refused_at_once_and_what_was_let_in_is_answered(home: Home, gate: Gate) -> None:
    room = 12  # two run, and ten wait: by FIRST_S the next would be answered after 130 ms
    home = Home.open(home.directory, ["serving.threads=2", "serving.max_wait_ms=125"])
    with running(home) as client, asking(client, gate) as ask:
        asked = [ask(user_id=f"u{n}", n=3) for n in range(40)]
        gate.wait_for(2)  # both threads are in the middle of an answer, and stay there
        ended = as_completed(asked, timeout=20)
        refused = [next(ended).result() for _ in range(40 - room)]
        assert {response.status_code for response in refused} == {503}
        assert {response.headers["retry-after"] for response in refused} == {"1"}
        assert ErrorAnswer.model_validate(refused[0].json()).error.code == "overloaded"
        assert shed(client) == 40 - room

        # What is no answer goes on meanwhile, and a body is not looked at in vain.
        assert client.get("/v1/health/ready").json()["status"] == "ready"
        event = {"event_type": "click", "user_id": "u1", "item_id": "i1"}
        assert client.post("/v1/events", json=event).json()["rows"] == ["accepted"]
        assert client.put("/v1/items/new", json={"title": "New"}).json() == {"item_id": "new", "changed": True}
        assert client.post("/v1/recommendations", content=b"no JSON").status_code == 503
        for path in ("/v1/trending", "/v1/items/i1/similar", "/v1/items/i1", "/v1/recommendations/x/next"):
            assert client.get(path).status_code == 503
        assert client.get("/v1/trending?n=none").status_code == 503

        gate.opened.set()
        answered = [response for response in (future.result() for future in asked) if response.is_success]
        assert len(answered) == room
        assert all(len(response.json()["items"]) == 3 for response in answered)
        assert client.post("/v1/recommendations", json={"user_id": "u9"}).status_code == 200


def test_time_spent_waiting_for_a_thread_counts_against_the_deadline(home: Home, gate: Gate) -> None:
    home = Home.open(home.directory, ["serving.threads=2"])
    with running(home) as client, asking(client, gate) as ask:
        before = [ask(user_id=f"u{n}", deadline_ms=60_000) for n in range(2)]
        gate.wait_for(2)
        patient, hurried = ask(user_id="u3", n=5, deadline_ms=60_000), ask(user_id="u4", n=5, deadline_ms=100)
        time.sleep(1.0)
        gate.opened.set()
        assert [future.result().json()["degraded"] for future in before] == [[], []]
        assert patient.result().json()["degraded"] == []
        late = hurried.result().json()
    assert late["took_ms"] > 100
    # Quick sources may all be there within the millisecond that is left; then there is no time to rank.
    assert any("late" in reason or "no time" in reason for reason in late["degraded"])
    assert len(late["items"]) == 5


def test_what_is_left_of_a_deadline_is_what_the_funnel_gets(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    call = Funnel.__call__

    def noted(self: Funnel, requests: Requests, deadline_ms: float) -> Slate:
        given.append(deadline_ms)
        return call(self, requests, deadline_ms)

    monkeypatch.setattr(Funnel, "__call__", noted)
    question = Question(user_id="u1", deadline_ms=30_000)
    engine.answer(question, time.perf_counter() - 10)
    engine.answer(question, time.perf_counter() - 40)
    assert 10_000 < given[0] <= 20_000
    assert given[1] == LEAST_MS


def test_the_description_says_when_503_comes(shared_client: httpx.Client) -> None:
    described = shared_client.get("/openapi.json").json()["paths"]
    for path, method in (
        ("/v1/recommendations", "post"),
        ("/v1/recommendations/{recommendation_id}/next", "get"),
        ("/v1/items/{item_id}/similar", "get"),
        ("/v1/trending", "get"),
        ("/v1/explain", "get"),
        ("/v1/items/{item_id}", "get"),
    ):
        refused = described[path][method]["responses"]["503"]
        assert "serving.max_wait_ms" in refused["description"]
        assert refused["headers"]["Retry-After"]["schema"]["type"] == "integer"
    assert "503" not in described["/v1/events"]["post"]["responses"]
