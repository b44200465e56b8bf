"""Fitting the two towers: every position of every sequence predicts the item after it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from upnext.config import TwoTowerConfig
from upnext.content import ItemContent, Vocabulary, place_users
from upnext.training.item_encoder import ItemEncoder, ItemTower, content_tensors
from upnext.training.next_item import first_visits, ranks
from upnext.training.progress import Step
from upnext.training.sampled_softmax import pairs, sampled_softmax
from upnext.training.sequences import Batch, Sequences, batch_of, epoch, user_ends
from upnext.training.team import Alone, Objective, Standing, Team
from upnext.training.user_tower import UserTower
from upnext.types import Float32, Int32, Int64

USER_DROPOUT = 0.9  # how often training hides who the user is
WARM_UP = 0.05  # of all steps
PATIENCE = 3  # epochs without a better recall
REFIT_EPOCHS = 2
REFIT_RATE = 0.2  # of the learning rate
VALIDATION_QUERIES = 4096
VALIDATION_K = 20
VALIDATION_ITEMS = (
    200_000  # of a larger catalogue a sample: recall decides when to stop, and is told from its like only
)
ITEMS = 8192  # items embedded at once


class TowerTrainer:
    """Both towers, the data they learn from, and the seed of everything random."""

    def __init__(
        self,
        seen: Sequences,
        content: ItemContent,
        vocabulary: Vocabulary,
        user_attributes: Int32,
        config: TwoTowerConfig,
        seed: int,
        team: Team | None = None,
    ) -> None:
        """``config.batch_size`` is of all members of the ``team`` together (None = this process alone)."""
        self.team = Alone() if team is None else team
        self.seen, self.config, self.vocabulary = seen, config, vocabulary
        self.item_content, self.attributes = content, user_attributes
        self.content = [column.to(self.team.device) for column in content_tensors(content)]
        self.seed, self.rng = seed, np.random.default_rng(seed)
        size = config.embedding_size
        self.item_tower = ItemTower(ItemEncoder(vocabulary, size, config.id_dropout))
        self.user_tower = UserTower(vocabulary, size, config.history_size, config.encoder, config.dropout, USER_DROPOUT)
        self.towers = nn.ModuleList([self.item_tower, self.user_tower]).to(self.team.device)
        self.batch_size = max(1, config.batch_size // self.team.size)
        self.draws = self.rng if self.team.size == 1 else np.random.default_rng([seed, self.team.rank])

    def steps(self, rows: Int64) -> int:
        """Batches of an epoch over these rows, about."""
        ends = user_ends(self.seen, rows)
        examples = np.minimum(ends - self.seen.start[ends - 1], self.config.examples_per_user).sum()
        return self.team.least(max(1, math.ceil(int(examples) / self.batch_size)))

    def epochs(self, rows: Int64) -> int:
        """Epochs over these rows: as many as configured, fewer where there is much to learn from."""
        return max(1, min(self.config.epochs, self.config.max_steps // self.steps(rows)))

    def fit(self, rows: Int64, queries: Int64, step: Step) -> list[float]:
        """Train on ``rows`` until the epochs are used up or recall on ``queries`` stops rising.

        Keeps the best weights and returns the recall by epoch; without queries all epochs are trained.
        """
        epochs = self.epochs(rows)
        optimizer, schedule = self._optimizer(self.config.learning_rate, self.steps(rows) * epochs)
        recall: list[float] = []
        best, first = copy.deepcopy(self.towers.state_dict()), 0
        if (standing := self.team.kept()) is not None:
            first, recall = self._go_on(standing, optimizer, schedule)
            best = standing.state("best")
        objective = self.team.together(Objective(self._loss, self.towers))
        for epoch_ in range(first, epochs):
            if _worse_for(recall) >= PATIENCE:
                break
            self._epoch(rows, objective, optimizer, schedule, step)
            if len(queries):
                recall.append(self.team.told(self.recall(queries) if self.team.rank == 0 else 0.0))
                step(0, f"recall@{VALIDATION_K} {recall[-1]:.4f}")
                if recall[-1] >= max(recall):
                    best = copy.deepcopy(self.towers.state_dict())
            self._keep(epoch_ + 1, recall, best, optimizer, schedule)
        if recall:
            self.towers.load_state_dict(best)
        return recall

    def _keep(
        self,
        epochs: int,
        recall: list[float],
        best: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LambdaLR,
    ) -> None:
        def standing() -> Standing:
            random = {"order": self.rng.bit_generator.state, "draws": self.draws.bit_generator.state}
            told = {"epochs": epochs, "recall": recall, "random": random}
            return Standing.of(told, optimizer, schedule, towers=self.towers.state_dict(), best=best)

        self.team.keep(standing)

    def _go_on(
        self,
        standing: Standing,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LambdaLR,
    ) -> tuple[int, list[float]]:
        """As ``_keep`` was told; the epochs that are done, and the recall after each."""
        self.towers.load_state_dict(standing.state("towers"))
        standing.into(optimizer, schedule)
        self.rng.bit_generator.state = standing.told["random"]["order"]
        if self.team.rank == 0:  # the others draw anew: which negatives they had drawn makes no difference
            self.draws.bit_generator.state = standing.told["random"]["draws"]
        return standing.told["epochs"], list(standing.told["recall"])

    def refit_epochs(self, rows: Int64) -> int:
        return min(REFIT_EPOCHS, self.epochs(rows))

    def refit(self, rows: Int64, step: Step) -> None:
        """A short training on everything, the validation slice included, at a low and falling rate."""
        rate, epochs = self.config.learning_rate * REFIT_RATE, self.refit_epochs(rows)
        optimizer, schedule = self._optimizer(rate, self.steps(rows) * epochs)
        objective = self.team.together(Objective(self._loss, self.towers))
        for _ in range(epochs):
            self._epoch(rows, objective, optimizer, schedule, step)

    @property
    def items(self) -> int:
        """Items of the catalogue, I."""
        return len(self.content[0])

    def item_vectors(self, items: Int64 | None = None, step: Step = lambda items, message: None) -> Float32:
        """Unit vectors of ``items [n]``, of the whole catalogue by default: ``[n, d]``."""
        self.towers.eval()
        vectors = np.empty((self.items if items is None else len(items), self.config.embedding_size), np.float32)
        with torch.no_grad():
            for first in range(0, len(vectors), ITEMS):
                part = slice(first, first + ITEMS)
                rows = part if items is None else self.team.at(items[part])
                vectors[part] = self.item_tower(*(column[rows] for column in self.content)).cpu().numpy()
                step(len(vectors[part]), "")
        return vectors

    def validation_queries(self, rows: Int64) -> Int64:
        """Rows to be foretold, from ``rows``: first visits, a sample where there are many."""
        rows = rows[first_visits(self.seen)[rows]]
        if len(rows) > VALIDATION_QUERIES:
            rows = np.sort(self.rng.choice(rows, VALIDATION_QUERIES, replace=False))
        return rows

    def recall(self, queries: Int64, k: int = VALIDATION_K) -> float:
        """Share of ``queries`` whose item is among the k best of the catalogue minus the user's history.

        Of more than VALIDATION_ITEMS items, among a sample that has all those which the queries' users met.
        """
        items = self._compared(queries)
        vectors = self.item_vectors(items)
        seen = self.seen if items is None else replace(self.seen, item=_places(items, self.seen.item))
        hits = 0
        for first in range(0, len(queries), 256):
            rows = queries[first : first + 256]
            users = self._asking(seen, rows, vectors)
            hits += int(np.count_nonzero(ranks(seen, rows, users @ vectors.T) < k))
        return hits / len(queries)

    def user_vectors(self, rows: Int64, vectors: Float32) -> Float32:
        """Unit user vectors ``[n, d]`` as of the visits ``rows [n]``, from all items' ``vectors [I, d]``."""
        self.towers.eval()
        return self._asking(self.seen, rows, vectors) if len(rows) else np.empty((0, vectors.shape[1]), np.float32)

    def _asking(self, seen: Sequences, rows: Int64, vectors: Float32) -> Float32:
        """User vectors before each of these rows; items of ``seen`` are rows of ``vectors``."""
        batch = batch_of(seen, rows + 1, self.config.history_size, 1)
        history = vectors[np.maximum(batch.item, 0)] * (batch.item >= 0)[..., None]
        with torch.no_grad():
            users = self._embed_users(batch, self.team.at(history), 1)
        return np.asarray(users[:, 0].cpu().numpy(), np.float32)

    def _compared(self, queries: Int64) -> Int64 | None:
        """The items among which recall looks, ascending; None for all. The same for the same queries."""
        if self.items <= VALIDATION_ITEMS:
            return None
        met = np.unique(self.seen.item[np.isin(self.seen.user, self.seen.user[queries])])
        some = np.random.default_rng(self.seed).choice(self.items, VALIDATION_ITEMS, replace=False)
        return np.union1d(met, some)

    def _optimizer(self, rate: float, steps: int) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        optimizer = torch.optim.Adam(self.towers.parameters(), lr=rate, fused=True)
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_up_then_cosine(steps))

    def _epoch(
        self,
        rows: Int64,
        objective: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LambdaLR,
        step: Step,
    ) -> None:
        config, seen = self.config, self.seen
        self.towers.train()
        # Negatives are items of the training only: one that nobody could watch yet is no negative.
        counts = self.team.total(np.bincount(seen.item[rows], minlength=self.items).astype(np.int64))
        items = np.flatnonzero(counts).astype(np.int32)
        share = (counts / max(1, int(counts.sum()))).astype(np.float32)
        ends = user_ends(seen, rows)
        batches = epoch(seen, ends, config.history_size, config.examples_per_user, self.batch_size, self.rng)
        for batch in self.team.while_all(batches):
            loss = objective(batch, items, share)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            step(1, f"loss {loss.item():.3f}")

    def _loss(self, batch: Batch, items: Int32, share: Float32) -> Tensor:
        asked = batch.target >= 0
        target = batch.target[asked]
        negative, expected = self._draw(target, items, share)
        # Every item of the batch is embedded once; code -1 (no item) sorts first and becomes the row of zeros.
        drawn = np.concatenate([[-1], batch.item.ravel(), target, negative])
        codes, places = np.unique(drawn, return_inverse=True)
        rows = self.team.at(codes[1:])
        vectors = functional.pad(self.item_tower(*(column[rows] for column in self.content)), (0, 0, 1, 0))
        parts = np.split(places[1:], [batch.item.size, batch.item.size + len(target)])
        history, positives, negatives = (functional.embedding(self.team.at(part), vectors) for part in parts)
        same = pairs(target, negative)
        length = batch.item.shape[1]
        users = self._embed_users(batch, history.reshape(-1, length, history.shape[1]), length)
        losses = sampled_softmax(
            users[self.team.at(asked)],
            positives,
            negatives,
            self.team.at(expected),
            (self.team.at(same[0]), self.team.at(same[1])),
            self.config.temperature,
        )
        weight = torch.log1p(self.team.at(batch.target_weight[asked]))
        return (losses * weight).sum() / weight.sum()

    def _draw(self, target: Int32, items: Int32, share: Float32) -> tuple[Int32, Float32]:
        """Shared negatives of a batch, and how many times each of them is drawn on average."""
        few, many = min(self.config.in_batch_negatives, len(target)), self.config.negatives
        negative = np.concatenate([self.draws.choice(target, few, replace=False), self.draws.choice(items, many)])
        return negative, (few * share[negative] + many / len(items)).astype(np.float32)

    def _embed_users(self, batch: Batch, history: Tensor, slots: int) -> Tensor:
        """User vectors ``[B, Q, d]`` of the last Q ``slots``."""
        last = slice(batch.item.shape[1] - slots, None)
        known = batch.user < len(self.attributes)
        attributes = self.attributes[np.where(known, batch.user, 0)] * known[:, None]
        users: Tensor = self.user_tower(
            self.team.at(place_users(batch.user, self.vocabulary)),
            history,
            self.team.at(batch.weight),
            self.team.at(batch.at),
            self.team.at(np.ascontiguousarray(batch.now[:, last])),
            self.team.at(attributes),
            self.team.at(np.ascontiguousarray(batch.surface[:, last])),
        )
        return users


def _worse_for(recall: list[float]) -> int:
    """How many epochs have passed since the best."""
    return 0 if not recall or recall[-1] >= max(recall) else len(recall) - 1 - int(np.argmax(recall))


def _warm_up_then_cosine(steps: int) -> Callable[[int], float]:
    """A linear warm-up, then half a cosine down to a twentieth."""
    warm = max(1, int(WARM_UP * steps))

    def factor(done: int) -> float:
        if done < warm:
            return (done + 1) / warm
        share = min(1.0, (done - warm) / max(1, steps - warm))
        return 0.05 + 0.475 * (1 + math.cos(math.pi * share))

    return factor


def _places(items: Int64, of: Int32) -> Int32:
    """The place of each item among ``items``, which ascend; of an item that is not among them, any place."""
    return np.minimum(np.searchsorted(items, of), len(items) - 1).astype(np.int32)
