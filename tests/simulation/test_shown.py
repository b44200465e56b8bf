import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.simulation import shown
from upnext.simulation.shown import Shown

ITEMS = 7
PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, ITEMS - 1)), max_size=12)


@pytest.mark.parametrize("latest", [0, 3, 1000])
@given(rounds=st.lists(PAIRS, max_size=5))
def test_it_knows_what_it_was_told(latest: int, rounds: list[list[tuple[int, int]]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shown, "LATEST", latest)
        found, told = Shown(ITEMS), set()
        for pairs in rounds:
            columns = np.array(pairs, np.int32).reshape(-1, 2)
            found.add(columns[:, 0], columns[:, 1])
            told |= set(pairs)
        users, items = np.arange(5)[:, None], np.arange(ITEMS)
        assert {(u, i) for u, i in np.argwhere(found(users, items)).tolist()} == told
        for user in range(5):
            assert set(found.of(user).tolist()) == {i for u, i in told if u == user}
        found.forget()
        assert not found(users, items).any()
