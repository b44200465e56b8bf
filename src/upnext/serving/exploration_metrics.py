"""The promise to new items as Prometheus sees it: what is owed, what was kept, what it took and cost."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from upnext.features.promises import Standing


class ExplorationMetrics:
    """``take`` sets everything to what the promises say now."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gauges = {
            name: Gauge(f"upnext_exploration_{name}", help_, registry=registry, multiprocess_mode="livemostrecent")
            for name, help_ in (
                ("owed_items", "New items that are still owed impressions."),
                ("behind_items", "Of them, those with fewer impressions than planned by now."),
                ("used_share", "Share of the latest slots that went to owed items; the budget is its limit."),
                ("cost_share", "Estimated loss of utility by explored slots, as a share of all slates' utility."),
                ("kept_items", "New items that got all their impressions since the start."),
                ("late_items", "New items that did not get them in time since the start: their claim has lapsed."),
            )
        }
        self._slots = Counter("upnext_exploration_slots", "Slots that were drawn for owed items.", registry=registry)
        self._counted = 0

    def take(self, standing: Standing) -> None:
        cost = standing.loss / standing.utility if standing.utility > 0 else 0.0
        gauges = (standing.owed, standing.behind, standing.used, cost, standing.kept, standing.broken)
        for gauge, value in zip(self._gauges.values(), gauges, strict=True):
            gauge.set(value)
        self._slots.inc(max(standing.explored - self._counted, 0))
        self._counted = standing.explored
