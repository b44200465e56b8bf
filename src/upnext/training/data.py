"""What training reads: the log up to a moment, the positive feedback in it, and the vocabulary of its content."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.build import item_content
from upnext.content import ItemContent, Vocabulary, build_vocabulary, encode_surfaces, encode_users
from upnext.errors import HomeError
from upnext.live import Live
from upnext.training.interactions import Interactions, positive_rows, take_interactions
from upnext.types import Events, Int32

FEWEST_POSITIVES = 50


@dataclass(frozen=True)
class TrainingData:
    """The log before ``until``, in the order received, with the views of its catalogue and users."""

    live: Live
    events: Events
    until: int  # ms, exclusive

    @classmethod
    def read(cls, live: Live, until: int | None) -> TrainingData:
        """Raises HomeError when there is too little to learn from."""
        events = live.all_events()
        end = int(events.received_at.max(initial=0)) + 1
        end = end if until is None else min(until, end)
        events = events.take(events.received_at < end)
        data = cls(live, events, end)
        found = len(data.positive_rows(events))
        if found < FEWEST_POSITIVES:
            raise HomeError(
                f"the log holds {found} events that express a preference before the end of the training window; "
                f"at least {FEWEST_POSITIVES} are needed. `upnext import` adds some; [events.types] says what counts."
            )
        return data

    def positive_rows(self, events: Events) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return positive_rows(events, self.live.roles.weight, self.live.roles.least)

    def interactions(self, before: int) -> tuple[Interactions, Events]:
        """Positive feedback received before a moment; and the events behind it, row for row."""
        events = self.events.take(self.events.received_at < before)
        rows = self.positive_rows(events)
        users, items = len(self.live.users.ids), len(self.live.catalogue.ids)
        return take_interactions(events, rows, self.live.roles.weight, users, items), events.take(rows)

    def vocabulary(self, interactions: Interactions) -> Vocabulary:
        live = self.live
        return build_vocabulary(
            live.catalogue(),
            live.catalogue.authors.names,
            live.catalogue.categories.names,
            live.users(),
            live.users.attributes.names,
            live.surfaces.names,
            interactions.item,
            interactions.user,
        )

    def content(self, vocabulary: Vocabulary) -> ItemContent:
        return item_content(self.live, vocabulary)

    def attributes(self, vocabulary: Vocabulary) -> Int32:
        return encode_users(self.live.users(), self.live.users.attributes.names, vocabulary)

    def surfaces(self, events: Events, vocabulary: Vocabulary) -> Int32:
        return encode_surfaces(events.surface, self.live.surfaces.names, vocabulary)
