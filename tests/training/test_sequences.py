import numpy as np

from upnext.training.interactions import Interactions
from upnext.training.sequences import batch_of, epoch, sequences, user_ends


def interactions(rows: list[tuple[int, int, float, int]]) -> Interactions:
    user, item, weight, at = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions(
        user.astype(np.int32), item.astype(np.int32), weight.astype(np.float32), at.astype(np.int64), 9, 99
    )


ROWS = [(1, 10, 1, 0), (0, 20, 1, 5), (1, 10, 2, 10), (1, 11, 1, 20), (1, 10, 1, 30), (0, 20, 1, 35), (1, 12, 3, 40)]


def test_neighbouring_events_of_an_item_are_one_visit() -> None:
    seen = sequences(interactions(ROWS))
    assert seen.user.tolist() == [0, 1, 1, 1, 1]
    assert seen.item.tolist() == [20, 10, 11, 10, 12]
    assert seen.weight.tolist() == [2, 3, 1, 1, 3]
    assert seen.began.tolist() == [5, 0, 20, 30, 40]
    assert seen.ended.tolist() == [35, 10, 20, 30, 40]
    assert seen.start.tolist() == [0, 1, 1, 1, 1]


def test_every_slot_reads_the_visit_before_the_one_it_predicts() -> None:
    seen = sequences(interactions(ROWS))
    batch = batch_of(seen, user_ends(seen, np.arange(5)), 5, 100)
    assert batch.user.tolist() == [0, 1]
    assert batch.target.tolist() == [[-1, -1, -1, -1, 20], [-1, 10, 11, 10, 12]]
    assert batch.item.tolist() == [[-1, -1, -1, -1, -1], [-1, -1, 10, 11, 10]]
    assert batch.weight[1].tolist() == [0, 0, 3, 1, 1]
    assert batch.at[1].tolist() == [0, 0, 10, 20, 30]
    assert batch.now[1, 1:].tolist() == [0, 20, 30, 40]


def test_only_the_latest_examples_of_a_user_are_targets_but_all_are_read() -> None:
    seen = sequences(interactions([(0, item, 1, item) for item in range(10)]))
    batch = batch_of(seen, np.array([10]), 5, 2)
    assert batch.target.tolist() == [[-1, -1, -1, 8, 9]]
    assert batch.item.tolist() == [[4, 5, 6, 7, 8]]


def test_ends_are_per_user_and_only_of_the_rows_given() -> None:
    seen = sequences(interactions(ROWS))
    assert user_ends(seen, np.array([0, 1, 2])).tolist() == [1, 3]
    assert user_ends(seen, np.array([3])).tolist() == [4]
    assert user_ends(seen, np.empty(0, np.int64)).tolist() == []


def test_an_epoch_has_every_example_once() -> None:
    rng = np.random.default_rng(0)
    rows = [(user, int(rng.integers(50)), 1, at) for user in range(40) for at in range(int(rng.integers(1, 30)))]
    seen = sequences(interactions(rows))
    ends = user_ends(seen, np.arange(len(seen)))
    targets, users = [], []
    for batch in epoch(seen, ends, 5, 1000, 64, rng):
        asked = batch.target >= 0
        targets += batch.target[asked].tolist()
        users += batch.user.tolist()
    assert sorted(targets) == sorted(seen.item.tolist())
    assert sorted(users) == list(range(40))


def test_no_interactions_make_no_batches() -> None:
    nothing = Interactions(*(np.empty(0, dtype) for dtype in (np.int32, np.int32, np.float32, np.int64)), 0, 0)
    seen = sequences(nothing)
    assert len(seen) == 0
    assert list(epoch(seen, user_ends(seen, np.arange(0)), 5, 5, 8, np.random.default_rng(0))) == []
