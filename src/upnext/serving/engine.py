"""One home, ready to answer: the log, its views and the funnel, in plain Python for the CLI and the HTTP server."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from upnext import catalogue_copy, snapshot
from upnext.build import Elsewhere
from upnext.config import Config
from upnext.errors import StorageError
from upnext.home import Home
from upnext.live import Live
from upnext.serving.answers import UNRANKED, Answer, answer, no_slate, stage_dicts, without_note
from upnext.serving.chores import be_gentle
from upnext.serving.clock import Clock, wall_ms
from upnext.serving.explain import explain
from upnext.serving.funnels import Funnels, Opened, load_funnels
from upnext.serving.impressions import Impressions
from upnext.serving.ingest import Ingest
from upnext.serving.items import describe
from upnext.serving.page_store import FILE as PAGES_FILE
from upnext.serving.page_store import PageStore
from upnext.serving.pages import Chain, Pages
from upnext.serving.popular import Filling, Popular
from upnext.serving.problems import NotFound, shown
from upnext.serving.question import Asked, Question, ask
from upnext.stages import Observer
from upnext.types import Int32, Slate
from upnext.xray import number

Witness = Callable[[Asked, Slate, Funnels], None]

_LOG = logging.getLogger("upnext.serving")

RECALL_AT, RECALL_QUERIES = 100, 4

_WARMING, _WARM_MS = 3, 10_000.0
SETTLE_S = 0.02  # a request waits for the impressions of the same user's last one, so that a refresh knows of them
LEAST_MS = 1.0  # of a deadline that has passed already: the funnel then degrades all the way


class Engine:
    """Answers questions and takes in events, items and users. Safe to use from several threads."""

    def __init__(
        self,
        home: Home,
        observers: Sequence[Observer] = (),
        wall: Callable[[], int] = wall_ms,
        elsewhere: Elsewhere | None = None,
        several: bool = False,
    ) -> None:
        """Raises ArtifactError when the active model is damaged; a home without a model is served without.

        ``wall`` says what time it is (Unix ms): a simulation hands in its own. Item vectors may lie ``elsewhere``.
        Where ``several`` engines serve the home, one goes on with the pages of another.
        """
        self.home, self.config, self.log = home, home.config, home.log()
        self._observers, self._elsewhere = observers, elsewhere
        self._state_file, self._saved = home.directory / snapshot.FILE, -1
        self._catalogue_folder, self._items_saved = home.directory / catalogue_copy.FOLDER, 0
        self._views, self._refreshing, self._loading = threading.Lock(), threading.Lock(), threading.Lock()
        self._refused: str | None = None  # a version that could not be loaded
        self.index_recall: float | None = None  # measured now and then, at RECALL_AT
        self._meanwhile: list[Int32] | None = None  # items that change while a version is being loaded
        try:
            with ThreadPoolExecutor(1) as beside:  # checksums of gigabytes, while the views are being read
                opened = beside.submit(_open, home, home.models().active())
                self.live = Live(self.log, self.config, restore=self._restore)
                self.clock = Clock(self.live.latest, wall)
                self.live.state.advance(self.clock.now())
                self.funnels = load_funnels(home, self.live, opened.result(), observers, elsewhere)
            self._warm(self.funnels)
        except BaseException:
            self.log.close()
            raise
        self.ingest = Ingest(self.log, self.live, self.config, self.clock, self.refresh)
        self.impressions = Impressions(self.ingest.append)
        self._pages = Pages(
            PageStore(home.directory / PAGES_FILE) if several or self.config.serving.workers > 1 else None
        )
        self._popular = Popular(self.live)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write the impressions that are still waiting, and close the log."""
        self.impressions.close()
        self._pages.close()
        self.log.close()

    def refresh(self) -> None:
        """Bring the views up to the log: what was written before this call is seen by every request after it."""
        with self._refreshing:
            with self._views:
                changed = self.live.refresh()
            self.funnels.refresh_items(self.live, changed)
            if self._meanwhile is not None:
                self._meanwhile.append(changed)

    def reload(self) -> bool:
        """Take up a newly published model version; requests under way end on the old one. True when there was one.

        A version that is damaged or does not fit is logged once, and not taken up. Raises StorageError where the
        versions cannot be looked at just now.
        """
        with self._loading:
            version = self.home.models().active()
            if version in (self.funnels.version, self._refused):
                return False
            with self._refreshing:
                self._meanwhile = [np.empty(0, np.int32)]
            try:
                with ThreadPoolExecutor(1, initializer=be_gentle) as gentle:  # answers go on meanwhile
                    fresh = gentle.submit(self._load, version).result()
            except StorageError:  # nothing is wrong with the version: it could not be fetched just now
                self._meanwhile = None
                raise
            except Exception:  # whatever is wrong with it: the old one still serves
                _LOG.exception("model version %s was not taken up", version)
                self._refused, self._meanwhile = version, None
                return False
            self._warm(fresh)
            with self._refreshing:
                fresh.refresh_items(self.live, np.unique(np.concatenate(self._meanwhile)))
                self.funnels, self._meanwhile = fresh, None
            return True

    def retune(self, config: Config) -> None:
        """Serve under other weights and other settings of reranking from now on; requests under way end as before."""
        with self._loading, self._refreshing:  # a version that is being loaded would come with the old ones
            self.config, self.home = config, replace(self.home, config=config)
            self.live.promises.retune(config.reranking.exploration)
            self.funnels = self.funnels.retuned(config)

    def _load(self, version: str | None) -> Funnels:
        return load_funnels(self.home, self.live, _open(self.home, version), self._observers, self._elsewhere)

    def _restore(self, live: Live) -> bool:
        restored = snapshot.restore(live, self._state_file)
        self._saved = live.offset  # what was read from the file need not be written to it again
        catalogue_copy.restore(live, self._catalogue_folder)  # after the state, whose codes of authors stay
        return restored

    def save_state(self, events: int = 1) -> None:
        """Save the live state when at least this many offsets were read since; and the catalogue, if much of it was."""
        self._items_saved = catalogue_copy.save_if_worth(self.live, self._catalogue_folder, self._items_saved)
        if self.live.offset - self._saved >= events:
            self._saved = snapshot.save(self.live, self._state_file)

    def keep_up(self) -> None:
        """Make what requests would have to make from the whole catalogue: whoever calls this must go on doing so."""
        now = self.clock.now()
        self.live.promises.keep_up(now)
        self.funnels.keep_up(now)
        self._popular.keep_up()

    def rebuild_index(self) -> bool:
        """Build the item index anew when what came since it was built outgrows its limit. True when it did.

        Requests are answered by the old index meanwhile.
        """
        model = self.funnels.model
        return model is not None and model.rebuild_index(self.config.candidates.two_tower.dynamic_limit)

    def measure_index(self) -> None:
        """Recall of the item index on the latest requests, against an exact search."""
        if (model := self.funnels.model) is not None:
            self.index_recall = model.index_recall(RECALL_AT, RECALL_QUERIES)

    # -- questions

    def recommend(self, **asked: Any) -> dict[str, Any]:
        """``answer`` to a Question of these fields."""
        return self.answer(Question(**asked))

    def answer(
        self, question: Question, arrived: float | None = None, witness: Witness | None = None
    ) -> dict[str, Any]:
        """What to show next. ``arrived`` is the time.perf_counter at which the question came: deadlines count from it.

        ``witness`` is shown how it came about. Raises Invalid when the question makes no sense.
        """
        question.check(self.config)
        return self._page(Chain(question), arrived, witness)

    def next_page(self, recommendation_id: str, arrived: float | None = None) -> dict[str, Any]:
        """More of the same, without what its earlier pages have shown. Raises NotFound."""
        chain = self._pages.find(recommendation_id)
        if chain is None:
            raise NotFound(
                f"recommendation {shown(recommendation_id)} is unknown or has expired",
                "recommendation_id",
                "POST /v1/recommendations starts anew",
            )
        with chain.lock:
            return self._page(chain, arrived)

    def similar(self, item_id: str, n: int = 10) -> dict[str, Any]:
        """Items that go with this one, whoever asks. Raises NotFound for an unknown item."""
        started, code = time.perf_counter(), self.ingest.known_item(item_id)
        question = Question(items=[item_id], n=n, allow_watched=True)
        question.check(self.config)
        asked, funnels = self._ask(question), self.funnels
        related = None if funnels.model is None else funnels.related(asked.requests)
        slate = no_slate() if related is None else without_note(related, UNRANKED)
        filling = self._fill_related(asked, slate, funnels, code)
        return self._said(asked, slate, answer(asked, slate, filling, self.live, funnels), started, funnels)

    def trending(self, n: int = 10, categories: Sequence[str] | None = None) -> dict[str, Any]:
        """What is being watched now, then what is newest; the same for everybody."""
        started = time.perf_counter()
        question = Question(n=n, categories=categories, allow_watched=True)
        question.check(self.config)
        asked, funnels, slate = self._ask(question), self.funnels, no_slate()
        filling = self._popular(asked.requests, funnels.whole.filters, n, slate.chosen.item, "trending now")
        found = answer(asked, slate, filling, self.live, funnels)
        for row, popularity in zip(found.rows, filling.popularity.tolist(), strict=True):
            row["score"] = number(popularity)
        said = self._said(asked, slate, found, started, funnels)
        return {**said, "basis": "what everybody turned to lately", "degraded": []}

    def ask(self, question: Question) -> Asked:
        """A question as the funnel takes it, as of now. Raises Invalid when it makes no sense."""
        question.check(self.config)
        return self._ask(question)

    def explain(self, user_id: str, item_id: str, n: int = 10, surface: str = "") -> dict[str, Any]:
        """At which stage an item falls out for a user, or where it stands. Raises NotFound for an unknown item."""
        item = self.ingest.known_item(item_id)
        question = Question(user_id=user_id, n=n, surface=surface)
        question.check(self.config)
        return explain(self._ask(question), item, self.funnels, self.live)

    def item(self, item_id: str) -> dict[str, Any]:
        """What the views know of an item. Raises NotFound."""
        code = self.ingest.known_item(item_id)
        impressions = int(self.live.state.impressions(np.array([code], np.int32))[0])
        return {**describe(self.live, code), "impressions": impressions}

    def health(self) -> dict[str, Any]:
        """What this engine can answer with."""
        sizes = None if self.funnels.model is None else self.funnels.model.index_sizes
        return {
            "status": "ready",
            "model_version": self.funnels.version,
            "items": len(self.live.catalogue.ids),
            "users": len(self.live.users.ids),
            "log_offset": self.live.offset,
            "index": None if sizes is None else {**asdict(sizes), "recall": self.index_recall},
            "degraded": [*self.funnels.degraded, *self.funnels.whole.lacking()],
        }

    # -- one answer

    def _page(self, chain: Chain, arrived: float | None, witness: Witness | None = None) -> dict[str, Any]:
        started = time.perf_counter() if arrived is None else arrived
        question, funnels = chain.question, self.funnels
        if question.user_id is not None:
            self.impressions.settle(question.user_id, SETTLE_S)
        asked = self._ask(question, chain.shown)
        funnel = funnels.anchored if asked.anchored else funnels.whole
        deadline = question.deadline_ms or self.config.serving.deadline_ms
        slate = funnel(asked.requests, max(deadline - 1000 * (time.perf_counter() - started), LEAST_MS))
        filling = self._popular(asked.requests, funnel.filters, question.n - len(slate.chosen), slate.chosen.item)
        found = answer(asked, slate, filling, self.live, funnels, chain.length)
        said = self._said(asked, slate, found, started, funnels)
        chain.add(found.items)
        self._pages.remember(said["recommendation_id"], chain)
        if question.log_impressions and question.user_id is not None:
            self.impressions.put(found.shown(asked, said["recommendation_id"], funnels.version))
        if witness is not None:
            witness(asked, slate, funnels)
        return said

    def _warm(self, funnels: Funnels) -> None:
        """Answer for nobody: a first request pays for what later ones find ready, and its pace would mislead."""
        asked = self._ask(Question())
        for _ in range(_WARMING):
            funnels.whole(asked.requests, _WARM_MS, observe=False)

    def _ask(self, question: Question, also_exclude: Sequence[int] = ()) -> Asked:
        now = self.clock.now()
        with self._views:  # nothing may arrive between reading the offset and the histories
            return ask(question, self.live, now, also_exclude)

    def _fill_related(self, asked: Asked, slate: Slate, funnels: Funnels, code: int) -> Filling:
        """Popular items of the same categories, then of any."""
        filters, taken = funnels.related.filters, slate.chosen.item
        missing = asked.question.n - len(taken)
        categories = self.live.catalogue().category[code]
        alike = replace(asked.requests, categories=categories[categories >= 0])
        near = self._popular(alike, filters, missing, taken, "popular in the same category")
        taken = np.concatenate([taken, near.item])
        return near + self._popular(asked.requests, filters, missing - len(near.item), taken)

    def _said(self, asked: Asked, slate: Slate, found: Answer, started: float, funnels: Funnels) -> dict[str, Any]:
        return {
            "recommendation_id": uuid.uuid4().hex,
            "items": found.rows,
            "model_version": funnels.version,
            "basis": asked.basis,
            "notes": [*asked.notes, *_notes(asked, slate, found, funnels)],
            "degraded": [*funnels.degraded, *slate.degraded],
            "took_ms": round(1000 * (time.perf_counter() - started), 3),
            "stages": stage_dicts(slate.trace),
        }


def _open(home: Home, version: str | None) -> Opened | None:
    """A version, every file of it checked. Raises ArtifactError."""
    return None if version is None else home.models().open(version)


def _notes(asked: Asked, slate: Slate, found: Answer, funnels: Funnels) -> Iterator[str]:
    filled, wanted = len(found.items) - len(slate.chosen), asked.question.n
    if len(found.items) < wanted:
        yield f"only {len(found.items)} of {wanted}: no other item may be shown"
    elif filled and len(slate.chosen):
        yield f"the last {filled} are popular items: the sources proposed too few"
    if asked.question.weights and funnels.model is not None:
        spec = funnels.model.ranker.spec
        for task in sorted(asked.question.weights.keys() - {*spec.binary_tasks, *spec.seconds_tasks}):
            yield f"weights.{task} has no effect: the model was trained without this task"
