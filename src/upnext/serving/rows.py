"""What can be written: events, items and users, one model a row."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from upnext.serving.fields import (
    MAX_LIST,
    Attributes,
    Component,
    Id,
    Ids,
    JsonObject,
    Number,
    Strict,
    Surface,
    Text,
    Time,
)
from upnext.storage.frames import MAX_POSITION


class Event(Strict):
    """Something a user did, or was shown."""

    event_id: Id | None = Field(
        None,
        description="Idempotency key: an event with a known key adds nothing. Default: the content.",
    )
    event_type: Id = Field(description="One of [events.types]: impression, click, watch, like, share...")
    user_id: Id = Field(description="Who did it; a new user is fine.")
    item_id: Id | None = Field(None, description="With what; a new item is fine.")
    timestamp: Time | None = Field(
        None, description="When it happened: Unix ms or s, or ISO 8601. Default: now. At most a day ahead."
    )
    value: Number | None = Field(None, description="Seconds watched, stars...")
    session_id: Id | None = Field(None, description="Any name of the sitting.")
    recommendation_id: Id | None = Field(None, description="Of the answer that it followed from.")
    position: int | None = Field(None, ge=0, le=MAX_POSITION, description="Place on the slate; 0 is the top.")
    surface: Surface = Field("", description="Where it was shown: home, sidebar...")
    context: JsonObject | None = Field(None, description="Anything else, kept with the event.")
    items: Annotated[list[Id], Field(min_length=1, max_length=MAX_LIST)] | None = Field(
        None, description="Impressions only, instead of item_id: everything that was shown, from the top."
    )

    @model_validator(mode="after")
    def _names_items(self) -> Event:
        if (self.item_id is None) == (self.items is None):
            raise ValueError("must name either item_id or, for impressions, items")
        if self.items is not None and self.event_type != "impression":
            raise ValueError(f"items belongs to impressions, this is a {self.event_type}")
        return self


class ItemChanges(Strict):
    """What is known of an item. Null or left out = unknown; PATCH leaves what is left out as it was."""

    title: Text | None = Field(None, description="Read by the models as words.")
    author: Id | None = Field(None, description="Channel, artist, publisher, seller...")
    categories: Annotated[list[Id], Field(max_length=100)] | None = Field(
        None, description="Genres and tags, the main one first; the models read the first 8."
    )
    duration: float | None = Field(None, gt=0, le=1e9, allow_inf_nan=False, description="Seconds.")
    published_at: Time | None = Field(None, description="Not shown before. Unix ms or s, or ISO 8601.")
    available: bool | None = Field(None, description="False = never shown. Null = true.")
    vector: Annotated[list[Component], Field(min_length=1, max_length=4096)] | None = Field(
        None, description="A content vector of your own; all have one length."
    )
    attributes: JsonObject | None = Field(None, description="Anything else, kept with the item.")


class ItemContent(ItemChanges):
    """A whole item, as PUT takes it."""

    item_id: Id | None = Field(None, description="The same as in the path, or left out.")


class Item(ItemChanges):
    """A whole item, as the bulk form takes it."""

    item_id: Id = Field(description="Your name for it.")


class ItemName(Strict):
    """One item, by name."""

    item_id: Id = Field(description="Your name for it.")


class UserContent(Strict):
    """What is known of a user, as PUT takes it."""

    user_id: Id | None = Field(None, description="The same as in the path, or left out.")
    attributes: Attributes | None = Field(None, description="Demographics, plan, country...: the models read them.")
    blocked_authors: Ids | None = Field(None, description="Authors never to be shown to them.")


class User(UserContent):
    """What is known of a user, as the bulk form takes it."""

    user_id: Id = Field(description="Your name for them.")
