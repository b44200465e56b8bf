from __future__ import annotations

from upnext.serving.pages import MAX_SHOWN, Chain, Pages
from upnext.serving.question import Question


def test_the_oldest_page_is_forgotten_first() -> None:
    pages, chain = Pages(size=2), Chain(Question())
    for name in ("a", "b", "c"):
        pages.remember(name, chain)
    assert pages.find("a") is None
    assert pages.find("b") is chain
    assert pages.find("c") is chain


def test_a_page_expires() -> None:
    pages = Pages(max_age_s=0.0)
    pages.remember("a", Chain(Question()))
    assert pages.find("a") is None


def test_a_chain_remembers_a_bounded_number_of_items() -> None:
    chain = Chain(Question())
    chain.add(list(range(MAX_SHOWN)))
    chain.add([-1])
    assert (len(chain.shown), chain.shown[-1], chain.length) == (MAX_SHOWN, -1, MAX_SHOWN + 1)
