"""What things cost, measured: the constants of ``upnext plan``, each with what it is of and where it comes from.

Bytes were counted in the files of homes of 100,000, 300,000, 1,000,000 and 10,000,000 items; seconds are of REFERENCE
when nothing else ran on it, of ``upnext bench`` on 2026-11-25. tests/bench/test_plan.py holds what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

REFERENCE = "Intel Xeon, 2 shared cores, 2026-11-25"

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Bytes:
    """On disk and in memory. B = bytes; ``met`` items are those that somebody was shown or acted on."""

    # The log: rows and their indices in SQLite, from three sizes.
    log_item: float = 147.0
    log_user: float = 100.0
    log_event: float = 97.0  # imported
    log_served: float = (
        325.0  # an impression of a slate that this server gave: with recommendation, version, propensity
    )
    # The catalogue's copy: columns, packed ids and titles (40 B), table of codes.
    catalogue_item: float = 127.0
    # The state: counters of met items, histories and counters of users, what a replay has to know of events.
    state_item: float = 8.0
    state_met: float = 132.0
    state_user: float = 2440.0
    state_event: float = 5.0
    # How many items are met falls off as 1 - exp(-share * events / items): so the simulated world spreads its events.
    met_shown: float = 0.33
    met_acted: float = 0.034
    # The model: half-precision vectors of 32 and 64, ALS factors of 64, networks that know words and authors.
    ranker_item: float = 64.0 + 12.3
    ranker_fixed: float = 5.0 * MB
    towers_item: float = 128.0 + 23.5
    towers_fixed: float = 9.3 * MB
    factors_acted: float = 260.0
    pairs_item: float = 8.0
    pairs_acted: float = 350.0
    # The item index: code, vector of 64 as 8-bit or (exact) as floats, and the centres of its cells.
    index_item: float = 4.0 + 8.0 + 64.0
    index_item_exact: float = 4.0 + 4.0 * 64.0
    index_cell: float = 4.0 * 64.0
    # A server's resident memory after some thousand requests, mapped pages that it touched included.
    server_fixed: float = 400.0 * MB
    server_item: float = 500.0
    server_mapped_item: float = 350.0  # of it, pages of files: processes share them
    server_user: float = 3500.0
    server_event: float = 20.0
    # The most that was resident at once while training: content of all items, vectors; 193 features a row.
    training_fixed: float = 1500.0 * MB
    training_item: float = 1330.0
    training_row: float = 800.0


@dataclass(frozen=True, slots=True)
class Seconds:
    """By the clock, on REFERENCE. Those below "Matrix" shrink with faster matrix products, the others with loops."""

    import_fixed: float = 0.6
    import_item: float = 13.6e-6
    import_user: float = 20e-6
    import_event: float = 4.0e-6
    # What training does besides its steps: reads log and content, writes, checks and publishes files.
    training_fixed: float = 5.5
    training_item: float = 25e-6
    vectors_item: float = 1.7e-6  # the item tower over all items; twice
    scores_fixed: float = 1.25  # the early sources are loaded, and score the ranker's rows
    scores_item: float = 1.55e-6
    features_row: float = 15e-6  # features as of each moment
    choices: float = 8.2  # some thousand lists of candidates, their features, and the fit
    choices_item: float = 16e-6
    als_event: float = 0.14e-6  # an event and sweep
    pairs_item: float = 0.12e-6  # co-visitation
    # A server's start until it is ready; the files' pages are not in memory.
    start_fixed: float = 1.7
    start_item: float = 1.1e-6
    log_event: float = 3.4e-6  # on top of it where there is no saved state yet (training has made the catalogue's copy)
    # Matrix: a step is 1,024 examples of the towers, or 1,024 rows of the ranker; it moves all weights, of which a
    # large catalogue, with its many words and authors, has more.
    tower_step: float = 0.035
    tower_step_item: float = 8.3e-9
    tower_recall: float = 12e-6  # after an epoch, an item compared
    tower_recall_items: int = 200_000  # at most
    ranker_step: float = 0.026
    ranker_step_item: float = 10.5e-9
    index_flops: float = 47e9  # multiplications and additions a second while cells are placed and vectors put in


@dataclass(frozen=True, slots=True)
class Request:
    """CPU milliseconds of the server for one answer over HTTP, on REFERENCE."""

    fixed: float = 6.9
    candidate: float = 0.005
    scanned: float = 25e-6  # of the vectors that a search of the index reads; the interpreter goes on meanwhile
    busy: float = 0.9  # of a core: more, and answers wait for each other (p99 above 100 ms)


@dataclass(frozen=True, slots=True)
class Shares:
    """What the log of a world gives to learn from, an event; and how a training divides it."""

    events_user: float = 70.0  # where the number of events is not said: 50 impressions, and what followed
    examples: float = 0.119  # the towers'
    impressions: float = 0.73  # the ranker's rows


@dataclass(frozen=True, slots=True)
class Costs:
    bytes: Bytes = Bytes()
    seconds: Seconds = Seconds()
    request: Request = Request()
    shares: Shares = Shares()
