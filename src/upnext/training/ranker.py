"""Fits the ranker: multi-task, early stopping on the last slice of time, calibrated, exported to ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from upnext.config import RankingConfig, TaskConfig
from upnext.content import ItemContent, Vocabulary
from upnext.ranking.multi_task import RankerSpec
from upnext.training.choice import choice_weights
from upnext.training.choices import CHOICE_TASK
from upnext.training.crew import HERE, Crew
from upnext.training.fitted_ranker import FittedRanker
from upnext.training.item_encoder import ItemEncoder
from upnext.training.progress import Progress
from upnext.training.ranker_fit import RankerData, RankerFit
from upnext.training.ranker_network import RankerNetwork
from upnext.training.seconds import bin_of, seconds_edges
from upnext.training.weights import Weights
from upnext.types import Float32, Float64, Int64

HELD_ON_TO = 10.0  # weight of a calibration that is gone on from, in rows with an even chance of either label
OF_CHOICES = ("item_", "same_", "pair_")  # the features that lists of choices are judged by
# Where the log has no order, not by how an item fares: at a place in a shuffled log, an item with many visits has few
# left; when the ranker is asked, nothing of that holds. Nor by more than a weight a feature: such a log cannot show in
# what the future differs from an act left out at random, whose neighbours in time are all known (docs/decisions/0015).
OUT_OF_ORDER = ("same_", "pair_")
LISTS_AT_ONCE = 2_048
TELLING = 0.05  # of a feature's variance: what lies within lists, at least


def fit_ranker(
    data: RankerData,
    content: ItemContent,
    vocabulary: Vocabulary,
    tasks: Mapping[str, TaskConfig],
    feature_names: tuple[str, ...],
    actions: tuple[str, ...],
    config: RankingConfig,
    seed: int,
    progress: Progress,
    crew: Crew = HERE,
    in_order: bool = True,
) -> FittedRanker:
    """Train on the requests before ``validation_from``, stop when the rest no longer improves.

    ``in_order`` is whether the order of the log means anything.

    From lists of choices it learns a softmax over each list, by what is known of an item and of the user with it: with
    embeddings, or all features, it foretold its own period better and the next one worse (docs/quality.md). Where the
    log has no order, the network is linear.
    """
    torch.manual_seed(seed)
    spec = RankerSpec(
        tuple(name for name, task in tasks.items() if task.kind == "binary"),
        tuple(name for name, task in tasks.items() if task.kind == "seconds"),
        actions,
        config.history_size,
        feature_names,
        data.request_features,
    )
    encoder = ItemEncoder(vocabulary, config.embedding_size, config.id_dropout)
    network = _network(data, vocabulary, spec, tasks, config, OF_CHOICES if in_order else OUT_OF_ORDER)
    fit = RankerFit(data, content, spec, network, encoder, config, seed)
    if data.stands_for is None or in_order:
        curve = crew.ranker(fit, vocabulary, progress)
    else:
        _fit_linearly(network, data, data.stands_for)
        curve = [{"epoch": 0.0, **fit.validate()}]
    fit.calibrate(data.validation_from)
    return FittedRanker(spec, network.eval(), encoder.eval(), content, curve)


def continue_ranker(
    data: RankerData | None,
    content: ItemContent,
    vocabulary: Vocabulary,
    spec: RankerSpec,
    start: Weights,
    config: RankingConfig,
    seed: int,
    progress: Progress,
    calibrate_from: int = 0,
) -> FittedRanker:
    """Go on from stored weights, and keep them where training makes the validation slice no better.

    Calibrated on the requests from ``calibrate_from`` on: one pass hardly overfits, and the slice alone is small.
    Without data the network stays as it is, but knows the new names of the vocabulary.
    """
    torch.manual_seed(seed)
    encoder = ItemEncoder(vocabulary, config.embedding_size, config.id_dropout)
    edges = [start.arrays[f"network.edges_{s}"] for s in range(len(spec.seconds_tasks))]
    network = untrained(vocabulary, spec, config, edges, embedded=data is None or data.stands_for is None)
    start.into("encoder", encoder)
    start.into("network", network)
    curve: list[dict[str, float]] = []
    if data is not None:
        fit = RankerFit(data, content, spec, network, encoder, config, seed)
        curve = fit.run(progress, at_least={"epoch": 0.0, **fit.validate()})
        fit.calibrate(calibrate_from, HELD_ON_TO)
    return FittedRanker(spec, network.eval(), encoder.eval(), content, curve)


def untrained(
    vocabulary: Vocabulary, spec: RankerSpec, config: RankingConfig, edges: Sequence[Float32], embedded: bool
) -> RankerNetwork:
    """A network of this shape; ``edges`` are of the bins of each task in seconds."""
    return RankerNetwork(
        features=len(spec.feature_names),
        request_features=spec.request_features,
        item_size=config.embedding_size,
        attributes=len(vocabulary.attribute),
        surfaces=len(vocabulary.surface),
        users=len(vocabulary.users),
        actions=max(len(spec.actions), 1),
        binary_tasks=spec.binary_tasks,
        seconds_tasks=spec.seconds_tasks,
        edges=edges,
        experts=config.experts,
        expert_sizes=config.expert_sizes,
        heads=config.attention_heads,
        dropout=config.dropout if embedded else 0.0,  # a few features that matter: hiding one tells it to trust none
        id_dropout=config.id_dropout,
        embedded=embedded,
    )


def _network(
    data: RankerData,
    vocabulary: Vocabulary,
    spec: RankerSpec,
    tasks: Mapping[str, TaskConfig],
    config: RankingConfig,
    judged_by: tuple[str, ...],
) -> RankerNetwork:
    """``judged_by`` are the beginnings of the names of the features that count, where it learns from lists."""
    rows = int(data.offsets[data.validation_from])
    edges = [seconds_edges(data.labels[name][:rows], tasks[name].cap) for name in spec.seconds_tasks]
    network = untrained(vocabulary, spec, config, edges, embedded=data.stands_for is None)
    train = data.features[:rows]
    scale = 1 / np.maximum(train.std(0), 1e-3)
    if data.stands_for is not None:
        of_choices = [name.startswith(judged_by) for name in spec.feature_names]
        scale *= of_choices & (_within_lists(train, data.offsets[: data.validation_from + 1]) >= TELLING)
    network.mean.copy_(torch.from_numpy(train.mean(0)))
    network.scale.copy_(torch.from_numpy(scale))
    for s, (name, edge) in enumerate(zip(spec.seconds_tasks, edges, strict=True)):
        label = data.labels[name][:rows]
        which = bin_of(label, edge)
        number = np.bincount(which, minlength=len(edge) - 1)
        total = np.bincount(which, weights=label, minlength=len(edge) - 1)
        middle = (edge[1:] + edge[:-1]) / 2
        centres = np.where(number > 0, total / np.maximum(number, 1), middle)
        getattr(network, f"centres_{s}").copy_(torch.from_numpy(centres.astype(np.float32)))
    return network


def _fit_linearly(network: RankerNetwork, data: RankerData, stands_for: Float32) -> None:
    """Let the network be linear in the features that count, by the lists before the validation slice."""
    rows = slice(int(data.offsets[data.validation_from]))
    counts = torch.nonzero(network.scale[data.request_features :])[:, 0]
    columns = counts + data.request_features
    normal = network.normal(torch.from_numpy(data.features[rows][:, columns.numpy()]), columns)
    weight = torch.zeros(len(network.scale) - data.request_features)
    weight[counts] = choice_weights(normal, data.labels[CHOICE_TASK][rows], stands_for[rows])
    network.become_linear(weight)


def _within_lists(features: Float32, offsets: Int64) -> Float64:
    """The share of each feature's variance that lies within lists, ``[F]``; 0 where it never changes.

    What is the same for all of a list cannot tell which was chosen: it only tells the time. Rates of impressions, where
    the log has none, are such a clock, and stand beyond all that was learned from when served.
    """
    lists, mean = np.diff(offsets), features.mean(0, dtype=np.float64)
    whole, between = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for first in range(0, len(lists), LISTS_AT_ONCE):
        size = lists[first : first + LISTS_AT_ONCE]
        rows = features[offsets[first] : offsets[first + len(size)]] - mean
        whole += np.square(rows).sum(0)
        middle = np.add.reduceat(rows, offsets[first : first + len(size)] - offsets[first], axis=0) / size[:, None]
        between += (np.square(middle) * size[:, None]).sum(0)
    return np.asarray(1 - between / np.maximum(whole, 1e-12)) * (whole > 1e-9 * len(features))
