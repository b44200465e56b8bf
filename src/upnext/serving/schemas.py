"""What can be asked: the body of POST recommendations."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from upnext.serving.fields import Id, Ids, JsonObject, Strict, Surface
from upnext.serving.question import Question

Weight = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]


class SlateFilter(Strict):
    """Only items that pass are shown."""

    categories: Ids | None = Field(None, description="Items with at least one of these.")


class RecommendationRequest(Strict):
    """A user, or a bare list of recent items, or neither: then popular and new items are shown."""

    user_id: Id | None = Field(None, description="For whom; an unknown user gets popular and new items.")
    recent_items: Ids | None = Field(
        None, description="Instead of user_id: what somebody unknown turned to, oldest first."
    )
    n: int = Field(10, ge=1, description="How many items, at most serving.max_k.")
    surface: Surface = Field("", description="Where they will be shown: home, sidebar...")
    context: JsonObject = Field(default_factory=dict, description="Kept with the impressions.")
    exclude_ids: Ids = Field(default_factory=list, description="Items never to be shown in this answer.")
    filter: SlateFilter = Field(default_factory=SlateFilter, description="Which items may be shown at all.")
    diversity: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="0 = by value alone, 1 = as different as can be."
    )
    explore: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="Share of the places for items few people have seen."
    )
    items: Ids = Field(default_factory=list, description="Anchors: recommend what goes with these items.")
    weights: dict[Id, Weight] | None = Field(
        None, max_length=100, description="Per task, instead of [ranking.tasks.*] weight."
    )
    explain: bool = Field(False, description="Add each item's path through the funnel.")
    deadline_ms: float | None = Field(
        None, gt=0, le=60_000, allow_inf_nan=False, description="Degrade rather than take longer (serving.deadline_ms)."
    )
    log_impressions: bool = Field(
        True, description="Log the answer as shown to user_id. False where the client sends its own impressions."
    )

    def question(self) -> Question:
        asked = {name: getattr(self, name) for name in type(self).model_fields if name != "filter"}
        return Question(**asked, categories=self.filter.categories)
