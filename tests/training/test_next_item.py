import numpy as np

from upnext.training.next_item import first_visits, ranks
from upnext.training.sequences import sequences

from .test_sequences import interactions


def test_ranks_leave_out_the_past_and_count_ties_against() -> None:
    seen = sequences(interactions([(0, 3, 1, 0), (0, 1, 1, 1), (0, 2, 1, 2), (1, 0, 1, 0)]))
    scores = np.array([[0.9, 0.8, 0.5, 0.7, 0.5]] * 2 + [[0.1, 0.1, 0.1, 0.1, 0.0]], np.float32)
    found = ranks(seen, np.array([1, 2, 3]), scores)
    # item 1 with 3 seen: only 0 is above; item 2 with 3 and 1 seen: 0 above, 4 ties; item 0, nothing seen: three tie
    assert found.tolist() == [1, 2, 3]


def test_a_known_item_can_never_be_foretold() -> None:
    seen = sequences(interactions([(0, 3, 1, 0), (0, 1, 1, 1), (0, 3, 1, 2)]))
    assert first_visits(seen).tolist() == [True, True, False]
    scores = np.array([[0.0, 0.0, 0.0, 1.0]], np.float32)
    assert ranks(seen, np.array([2]), scores).tolist() == [0]


def test_ranks_equal_a_plain_count() -> None:
    rng = np.random.default_rng(0)
    rows = [(user, int(rng.integers(20)), 1, at) for user in range(6) for at in range(8)]
    seen = sequences(interactions(rows))
    asked = np.flatnonzero(first_visits(seen))
    scores = rng.random((len(asked), 20)).astype(np.float32)
    expected = []
    for row, own in zip(asked.tolist(), scores, strict=True):
        past = set(seen.item[seen.start[row] : row].tolist())
        better = [item for item in range(20) if item not in past and own[item] > own[seen.item[row]]]
        expected.append(len(better))
    assert ranks(seen, asked, scores.copy()).tolist() == expected
