"""The last minute in numbers: how many requests, how long they and each stage took. Of this process alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from upnext.types import Slate

SPAN_S = 60
MOST_REQUESTS, MOST_TRACES = 20_000, 3_000
QUIET = ("/v1/console/", "/console/", "/v1/health", "/health", "/metrics", "unknown")  # who watches is not counted
PAGE = "/v1/console/page"  # but a page that somebody is shown is
_QUANTILES = (50, 95, 99)
_Trace = tuple[float, tuple[tuple[str, str, float], ...], float, bool]  # when, the stages' ms, all ms, degraded


class Recent:
    """Noting costs an append; the sums are made when somebody looks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._requests: deque[tuple[float, str, int, float]] = deque(maxlen=MOST_REQUESTS)
        self._traces: deque[_Trace] = deque(maxlen=MOST_TRACES)

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests.append((self._clock(), route, status, seconds))

    def answer(self, slate: Slate) -> None:
        stages = tuple((stage.stage, stage.name, stage.ms) for stage in slate.trace)
        self._traces.append((self._clock(), stages, slate.took_ms, bool(slate.degraded)))

    def summary(self) -> dict[str, Any]:
        """Rates are a second, times are milliseconds."""
        now = self._clock()
        asked = [row for row in list(self._requests) if now - row[0] <= SPAN_S and _counts(row[1])]
        traces = [row for row in list(self._traces) if now - row[0] <= SPAN_S]
        by_second = np.zeros(SPAN_S, np.int64)
        for at, *_ in asked:
            by_second[min(int(now - at), SPAN_S - 1)] += 1
        stages: dict[tuple[str, str], list[float]] = {}
        for _, trace, _, _ in traces:
            for stage, name, ms in trace:
                stages.setdefault((stage, name), []).append(ms)
        routes: dict[str, list[float]] = {}
        for _, route, _, seconds in asked:
            routes.setdefault(route, []).append(1000 * seconds)
        return {
            "span_s": SPAN_S,
            "requests": len(asked),
            "per_second": round(len(asked) / SPAN_S, 3),
            "errors": sum(1 for row in asked if row[2] >= 500),
            "by_second": by_second[::-1].tolist(),
            "answers": {"count": len(traces), **quantiles(ms for _, _, ms, _ in traces)},
            "degraded": sum(1 for row in traces if row[3]),
            "routes": [{"route": name, "count": len(ms), **quantiles(ms)} for name, ms in sorted(routes.items())],
            "stages": [
                {"stage": stage, "name": name, "count": len(ms), **quantiles(ms)}
                for (stage, name), ms in stages.items()
            ],
        }


def _counts(route: str) -> bool:
    return route == PAGE or (route != "/" and not route.startswith(QUIET))


def quantiles(values: Iterable[float]) -> dict[str, float | None]:
    """p50, p95 and p99; null where there is nothing."""
    column = np.fromiter(values, np.float64)
    if not len(column):
        return {f"p{q}": None for q in _QUANTILES}
    return {f"p{q}": round(float(v), 3) for q, v in zip(_QUANTILES, np.percentile(column, _QUANTILES), strict=True)}
