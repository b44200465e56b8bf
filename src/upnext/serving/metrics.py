"""What a server counts, for Prometheus. Also an observer of the funnel: stage by stage, after the answer."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from upnext.serving.engine import Engine
from upnext.serving.exploration_metrics import ExplorationMetrics
from upnext.serving.ingest import Fates
from upnext.serving.recent import Recent
from upnext.types import Requests, Slate

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)
_ROWS = (0, 1, 10, 50, 100, 200, 500, 1000, 2000, 5000)
_GAUGES: tuple[tuple[str, str, Literal["livemostrecent", "livesum", "livemin"]], ...] = (
    ("log_offset", "The last event that the views have seen (of several workers the slowest's).", "livemin"),
    ("items", "Items in the catalogue.", "livemostrecent"),
    ("users", "Users.", "livemostrecent"),
    ("impressions_dropped", "Answers whose impressions could not be logged.", "livesum"),
    ("index_static", "Items in the main part of the index.", "livemostrecent"),
    ("index_dynamic", "Items added or changed since it was built.", "livemostrecent"),
    ("index_tombstones", "Rows of both that are never found any more.", "livemostrecent"),
    ("index_recall", "Share of the exact nearest 100 that the index finds, on the latest requests.", "livemin"),
)
COUNTING = Path("var", "metrics")  # in the home
_FILTER = "filter "  # as the pipeline's trace names the stages of filters


class Metrics:
    """One registry a server."""

    name = "metrics"

    def __init__(self, recent: Recent | None = None) -> None:
        self._recent = recent
        self.registry = registry = CollectorRegistry()
        self._requests = Histogram(
            "upnext_request_seconds",
            "Time from a request's arrival to the end of its answer.",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._stages = Histogram(
            "upnext_stage_seconds", "Time of one stage.", ["stage", "name"], buckets=_SECONDS, registry=registry
        )
        self._candidates = Histogram(
            "upnext_source_candidates", "Proposals of a source.", ["source"], buckets=_ROWS, registry=registry
        )
        self._removed = Counter(
            "upnext_filter_removed", "Candidates that a filter removed.", ["filter"], registry=registry
        )
        self._failed = Counter("upnext_stage_failures", "Stages that failed.", ["stage", "name"], registry=registry)
        self._degraded = Counter(
            "upnext_degraded", "Answers that were degraded, by stage.", ["stage"], registry=registry
        )
        self._events = Counter("upnext_events", "Events by fate.", ["fate"], registry=registry)
        self._shed = Counter(
            "upnext_shed", "Requests that were refused because the server was overloaded.", ["route"], registry=registry
        )
        self._exploration = ExplorationMetrics(registry)
        self._model = Gauge(
            "upnext_model_info",
            "1 for the version that serves.",
            ["version"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        # A metric of given labels is looked up under a lock, every time; here once.
        self._stage_of = cache(self._stages.labels)
        self._proposed_by = cache(self._candidates.labels)
        self._removed_by = cache(self._removed.labels)
        self._request_of = cache(self._requests.labels)
        self._shed_of = cache(self._shed.labels)
        self._version = ""
        self._gauges = {
            name: Gauge(f"upnext_{name}", help_, registry=registry, multiprocess_mode=mode)
            for name, help_, mode in _GAUGES
        }

    def __call__(self, requests: Requests, slate: Slate) -> None:
        if self._recent is not None:
            self._recent.answer(slate)
        for stage in slate.trace:
            self._stage_of(stage.stage, stage.name).observe(stage.ms / 1000)
            if stage.error is not None:
                self._failed.labels(stage.stage, stage.name).inc()
            if stage.name.startswith(_FILTER):
                self._removed_by(stage.name.removeprefix(_FILTER)).inc(stage.rows_in - stage.rows_out)
            elif stage.stage == "candidates" and stage.name != "merge":
                self._proposed_by(stage.name).observe(stage.rows_out)
        for stage_name in {entry.partition(":")[0] for entry in slate.degraded}:
            self._degraded.labels(stage_name).inc()

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._request_of(method, route, str(status)).observe(seconds)
        if self._recent is not None:
            self._recent.request(route, status, seconds)

    def shed(self, route: str) -> None:
        self._shed_of(route).inc()

    def events(self, fates: Fates) -> None:
        for fate in ("accepted", "duplicate", "rejected"):
            self._events.labels(fate).inc(fates.count(fate))

    def render(self, engine: Engine) -> bytes:
        """The text that Prometheus scrapes."""
        live = engine.live
        self._gauges["log_offset"].set(live.offset)
        self._gauges["items"].set(len(live.catalogue.ids))
        self._gauges["users"].set(len(live.users.ids))
        self._gauges["impressions_dropped"].set(engine.impressions.dropped)
        self._exploration.take(live.promises.standing())
        for name, value in (engine.health()["index"] or {}).items():
            self._gauges[f"index_{name}"].set(float("nan") if value is None else value)
        version = engine.funnels.version or "none"
        if version != self._version:
            if self._version:
                self._model.labels(self._version).set(0)
            self._model.labels(version).set(1)
            self._version = version
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        of_all = CollectorRegistry()
        MultiProcessCollector(of_all)  # type: ignore[no-untyped-call]
        return generate_latest(of_all)


def counting_folder(directory: Path) -> Path:
    """Where the workers of a home count together, made and emptied before the first of them starts."""
    folder = directory / COUNTING
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("*.db"):
        leftover.unlink(missing_ok=True)
    return folder
