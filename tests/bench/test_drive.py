"""The client against a server that answers as it is told: what is counted, and from when."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from upnext.bench.drive import ask

GOOD = {
    "took_ms": 2.5,
    "degraded": ["candidates: als was late", "candidates: trending was late", "ranking: linear"],
    "stages": [
        {"stage": "candidates", "name": "als", "ms": 1.0, "rows_in": 0},
        {"stage": "ranking", "name": "multi_task", "ms": 1.5, "rows_in": 42},
    ],
}
Reply = tuple[int, bytes]


@contextmanager
def answering(reply: Callable[[int, dict[str, object]], Reply]) -> Iterator[int]:
    """A port at which ``reply(number, question)`` decides; it may sleep."""
    lock, asked = threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                number, asked[0] = asked[0], asked[0] + 1
            status, answer = reply(number, {"path": self.path, **body})
            if not status:  # not HTTP at all
                self.wfile.write(answer)
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def good(**changes: object) -> Reply:
    return 200, json.dumps({**GOOD, **changes}).encode()


def test_every_answer_is_counted_as_what_it_is() -> None:
    replies = [
        good(), good(took_ms=4.5), (503, b"{}"), (500, b"oh"), (200, b"<html>"), (200, b"[]"), (200, b"{}"),
        good(stages=[{"stage": "ranking"}]), (0, b"garbage\r\n\r\n"), good(degraded=[]),
    ]  # fmt: skip
    with answering(lambda number, question: replies[number]) as port:
        found = ask(port, ["u"], len(replies))
    assert (len(found.took), len(found.refused), len(found.failed)) == (3, 1, 6)
    assert found.inside == [2.5, 4.5, 2.5]
    assert found.stages == {"candidates: als": [1.0] * 3, "ranking: multi_task": [1.5] * 3}
    assert found.rows == [42] * 3
    assert found.degraded == {"candidates": 2, "ranking": 2}  # answers, not reasons
    said = "\n".join(found.failed)
    assert all(text in said for text in ("status 500: b'oh'", "<html>", "BadStatusLine"))


def test_users_take_turns() -> None:
    seen: list[dict[str, object]] = []

    def reply(number: int, question: dict[str, object]) -> Reply:
        seen.append(question)
        return good()

    with answering(reply) as port:
        ask(port, ["a", "b"], 5, n=7)
    assert [question["user_id"] for question in seen] == ["a", "b", "a", "b", "a"]
    assert {(question["path"], question["n"]) for question in seen} == {("/v1/recommendations", 7)}


def test_one_after_the_other_a_slow_answer_is_slow_alone() -> None:
    def reply(number: int, question: dict[str, object]) -> Reply:
        time.sleep(0.3 if number == 3 else 0)
        return good()

    with answering(reply) as port:
        found = ask(port, ["u"], 20)
    slow = [ms for ms in found.took if ms > 250]
    assert len(slow) == 1
    assert 300 <= slow[0] <= 1000 * found.seconds


def test_at_a_rate_time_counts_from_when_a_request_was_due() -> None:
    """A server that answers one at a time, each in 50 ms, is asked 100 times a second: the queue grows."""
    one = threading.Lock()

    def reply(number: int, question: dict[str, object]) -> Reply:
        with one:
            time.sleep(0.05)
        return good()

    with answering(reply) as port:
        found = ask(port, ["u"], 20, rate=100.0)
    took = np.sort(found.took)
    assert len(took) == 20
    assert found.seconds >= 1.0
    assert took[0] >= 50
    # The last is due after 190 ms and answered after 20 x 50: at least 800 ms; a client that waits would see 50.
    assert 800 <= took[-1] <= 1000 * found.seconds
    assert (np.diff(took) > 20).sum() >= 15


def test_a_rate_is_kept_by_the_clock() -> None:
    with answering(lambda number, question: good()) as port:
        found = ask(port, ["u"], 10, rate=20.0)
    assert found.seconds >= 0.45
    assert len(found.took) == 10


def test_nobody_there() -> None:
    with answering(lambda number, question: good()) as port:
        pass
    found = ask(port, ["u"], 3)
    assert (found.took, len(found.failed)) == ([], 3)
    assert all("ConnectionRefusedError" in text for text in found.failed)


def test_a_client_that_breaks_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"the client ended with status 1: [\s\S]*ZeroDivisionError"):
        ask(1, [], 1)
