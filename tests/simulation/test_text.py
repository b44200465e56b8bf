"""Made-up words: distinct, and telling of the topic."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from upnext.simulation import SimulatedData
from upnext.simulation.text import author_names, topic_names, words


def test_words_are_distinct_pronounceable_and_the_same_every_time() -> None:
    made = words(3000, np.random.default_rng(0))
    assert len(set(made)) == 3000
    assert all(word.isalpha() and set(word) & set("aeiou") for word in made)
    assert made == words(3000, np.random.default_rng(0))


@pytest.mark.parametrize("topics", [2, 24, 100])
def test_topic_names_are_distinct(topics: int) -> None:
    assert len(set(topic_names(topics))) == topics


def test_author_names_are_distinct() -> None:
    assert len(set(author_names(2000, np.random.default_rng(1)))) == 2000


def test_titles_have_up_to_six_words(data: SimulatedData) -> None:
    sizes = [len(title.split()) for title in data.items["title"]]
    assert max(sizes) == 6
    assert min(sizes) >= 2
    assert 4 <= np.mean(sizes) <= 5


def test_a_naive_count_of_title_words_predicts_the_main_category(data: SimulatedData) -> None:
    titles = [title.lower().split() for title in data.items["title"]]
    mains = [categories[0] for categories in data.items["categories"]]
    train = range(0, len(titles), 2)
    counts = Counter((word, mains[n]) for n in train for word in titles[n])
    often = Counter(word for n in train for word in titles[n])
    right = 0
    for n in range(1, len(titles), 2):
        votes: Counter[str] = Counter()
        for word in titles[n]:
            for topic in set(mains):
                votes[topic] += counts[word, topic] / often[word] if often[word] else 0
        right += votes.most_common(1)[0][0] == mains[n]
    assert right / (len(titles) // 2) > 0.7  # the commonest of 8 topics alone: about 0.2
