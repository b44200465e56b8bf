"""What serves at one time: the funnel of a model version and its variants, replaced as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from upnext.build import Elsewhere, Model, build, without_model
from upnext.config import Config
from upnext.errors import ArtifactError
from upnext.home import Home
from upnext.live import Live
from upnext.pipeline import Funnel
from upnext.stages import KeptUp, Observer, PairScorer
from upnext.storage.artifacts import Manifest
from upnext.types import Int32

NO_MODEL = "no model is published: trending and new items only (`upnext train` makes one)"


@dataclass(frozen=True)
class Funnels:
    """``anchored`` has only the sources that read anchors; ``related`` are those in their own order: similar items."""

    whole: Funnel
    anchored: Funnel
    related: Funnel
    model: Model | None = None
    manifest: Manifest | None = None

    @property
    def version(self) -> str | None:
        return None if self.model is None else self.model.version

    @property
    def degraded(self) -> tuple[str, ...]:
        return (NO_MODEL,) if self.model is None else ()

    def refresh_items(self, live: Live, codes: Int32) -> None:
        """Items that are new or changed can be found by their content; those that are gone are not looked for."""
        if self.model is None or not len(codes):
            return
        available = live.catalogue().available[codes]
        self.model.upsert_items(codes[available])
        if self.model.sources.two_tower is not None:
            self.model.sources.two_tower.remove(codes[~available])

    def retuned(self, config: Config) -> Funnels:
        """The same version under other weights and other settings of reranking."""
        if self.model is None:
            return self
        return _around(self.model.retuned(config), self.manifest, self.whole.observers)

    def keep_up(self, now: int) -> None:
        """Make the lists that requests at ``now`` would have to make from the whole catalogue."""
        scorers = () if self.model is None else self.model.sources.scorers
        parts: list[object] = [*(source for source, _ in self.whole.sources), *scorers]
        for part in parts:  # most scorers are sources too: keeping up twice does nothing more
            if isinstance(part, KeptUp):
                part.keep_up(now)


Opened = tuple[Path, Manifest]  # a version whose files were checked


def _around(model: Model, manifest: Manifest | None, observers: Sequence[Observer]) -> Funnels:
    sources = model.funnel.sources
    reading_anchors = [(source, quota) for source, quota in sources if isinstance(source, PairScorer)]
    anchored = replace(model.funnel, sources=reading_anchors) if reading_anchors else model.funnel
    related = Funnel(
        sources=anchored.sources,
        filters=anchored.filters,
        hydrators=(),
        rankers=(),
        value=anchored.value,
        boosts=anchored.boosts,
        rerankers=(),
        total=anchored.total,
        observers=observers,
        lacking=anchored.lacking,
    )
    return Funnels(model.funnel, anchored, related, model, manifest)


def load_funnels(
    home: Home,
    live: Live,
    opened: Opened | None,
    observers: Sequence[Observer] = (),
    elsewhere: Elsewhere | None = None,
) -> Funnels:
    """The funnels of a published version; None = without any. Raises ArtifactError when it is damaged or unfit."""
    if opened is None:
        plain = without_model(home.config, live, observers)
        return Funnels(plain, plain, plain)
    directory, manifest = opened
    version = directory.name
    model = build(home.config, live, directory, version, observers, manifest.items_revision, elsewhere)
    _check_features(model)
    return _around(model, manifest, observers)


def _check_features(model: Model) -> None:
    """A model reads exactly the features that it was trained on, or it is not taken up at all."""
    given = tuple(name for hydrator in model.funnel.hydrators for name in hydrator.names)
    trained = model.ranker.spec.feature_names
    if given != trained:
        missing, fresh = sorted(set(trained) - set(given)), sorted(set(given) - set(trained))
        raise ArtifactError(
            f"model version {model.version} was trained on other features than this home's settings give (missing: "
            f"{', '.join(missing[:5]) or 'none'}; new: {', '.join(fresh[:5]) or 'none'}). Run `upnext train`, or "
            "restore the settings it was trained with."
        )
