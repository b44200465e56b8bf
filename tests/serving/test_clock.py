from __future__ import annotations

import threading

from upnext.serving.clock import Clock


def test_it_never_goes_back() -> None:
    walls = iter([100, 90, 110])
    clock = Clock(95, lambda: next(walls))
    assert [clock.now(), clock.now(), clock.now()] == [100, 100, 110]


def test_a_log_from_the_future_is_not_undercut() -> None:
    assert Clock(500, lambda: 100).now() == 500


def test_no_request_is_later_than_what_is_still_being_written() -> None:
    time = iter(range(100, 200))
    clock = Clock(0, lambda: next(time))
    with clock.arrival() as arrived:
        assert [clock.now(), clock.now()] == [arrived, arrived]
    assert clock.now() > arrived


def test_writers_take_turns() -> None:
    clock, order = Clock(), []
    inside = threading.Event()

    def second() -> None:
        inside.wait()
        with clock.arrival():
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with clock.arrival():
        inside.set()
        thread.join(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
