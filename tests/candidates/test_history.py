import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from upnext.candidates.history import not_to_propose, preference, visits
from upnext.types import NO_ITEM, History, Ragged, Requests

TYPES = 4


@st.composite
def asked(draw: st.DrawFn) -> Requests:
    """Any events of few items, with gaps; some requests name anchors, also unknown ones."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = batch, _ = draw(st.integers(0, 4)), draw(st.integers(0, 12))
    acted = History(
        rng.integers(-1, 5, shape).astype(np.int32),
        rng.integers(-1, TYPES + 2, shape).astype(np.int16),
        rng.integers(0, 100, shape),
        np.where(rng.random(shape) < 0.3, np.nan, rng.random(shape)).astype(np.float32),
    )
    return Requests(
        user=np.zeros(batch, np.int32),
        now=np.zeros(batch, np.int64),
        surface=np.zeros(batch, np.int16),
        k=5,
        acted=acted,
        shown=acted,
        exclude=Ragged.empty(batch),
        anchors=Ragged.of([rng.integers(-1, 4, rng.integers(0, 4)).tolist() for _ in range(batch)]),
        allow_watched=draw(st.booleans()),
    )


tables = st.tuples(
    st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), max_size=TYPES), st.lists(st.sampled_from([-np.inf, 0.5]))
).map(lambda both: (np.array(both[0], np.float32), np.resize(np.array([*both[1], 0.2], np.float32), len(both[0]))))


def counts(requests: Requests, row: int, slot: int, weight: np.ndarray, least: np.ndarray) -> float:
    item, event, value = (
        column[row, slot] for column in (requests.acted.item, requests.acted.event, requests.acted.value)
    )
    if item == NO_ITEM or not 0 <= event < len(weight) or value < least[event]:
        return 0.0
    return max(float(weight[event]), 0.0)


@given(asked(), tables)
def test_preference_weighs_every_event_alone(requests: Requests, table: tuple[np.ndarray, np.ndarray]) -> None:
    found = preference(requests.acted, *table)
    assert found.shape == requests.acted.item.shape
    assert found.dtype == np.float32
    for row, slot in np.ndindex(found.shape):
        assert found[row, slot] == counts(requests, row, slot, *table)


@given(asked(), tables)
def test_visits_are_runs_of_liked_items_or_the_anchors(
    requests: Requests, table: tuple[np.ndarray, np.ndarray]
) -> None:
    found = visits(requests, *table)
    assert len(found.offsets) == len(requests) + 1
    for row in range(len(requests)):
        named = requests.anchors[row]
        liked = [(int(item), 1.0) for item in named if item != NO_ITEM]
        if not len(named):
            weights = [counts(requests, row, slot, *table) for slot in range(requests.acted.item.shape[1])]
            liked = [(int(i), w) for i, w in zip(requests.acted.item[row], weights, strict=True) if w > 0]
        expected: list[tuple[int, float]] = []
        for item, weight in liked:
            if expected and expected[-1][0] == item:
                expected[-1] = (item, expected[-1][1] + weight)
            else:
                expected.append((item, weight))
        rows = slice(found.offsets[row], found.offsets[row + 1])
        assert list(zip(found.item[rows].tolist(), found.weight[rows].tolist(), strict=True)) == expected


@given(asked())
def test_anchors_and_unless_allowed_what_was_acted_on_are_not_to_be_proposed(requests: Requests) -> None:
    request, item = not_to_propose(requests)
    expected = []
    for row in range(len(requests)):
        mine = requests.anchors[row].tolist() + ([] if requests.allow_watched else requests.acted.item[row].tolist())
        expected += [(row, code) for code in mine if code >= 0]
    assert sorted(zip(request.tolist(), item.tolist(), strict=True)) == sorted(expected)
