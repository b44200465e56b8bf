"""One training of the ranker: its rows, its epochs, when it stops, and what it is calibrated on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from upnext.config import RankingConfig
from upnext.content import ItemContent
from upnext.evaluation.metrics import auc, gauc, xauc
from upnext.ranking.multi_task import RankerSpec
from upnext.ranking.tokens import Tokens
from upnext.training.averaged import Averaged
from upnext.training.calibration import platt
from upnext.training.choice_loss import choice_loss, choice_ndcg
from upnext.training.item_encoder import ItemEncoder, content_tensors
from upnext.training.progress import Progress
from upnext.training.ranker_network import RankerNetwork
from upnext.training.seconds import bin_of
from upnext.training.team import Alone, Objective, Standing, Team
from upnext.types import Float32, Int16, Int32, Int64, ragged_rows

SECONDS_LOSS = 0.3
LISTS_PACE = 2.0  # lists have one choice in many rows: batches of PACE squared times the rows, PACE times the rate
POSITION_PACE = 30.0  # learning rate of the positions, of that of the rest


@dataclass(frozen=True, slots=True)
class RankerData:
    """Labelled rows of requests, with all that the network reads. B requests, N rows, in time order."""

    item: Int32  # [N]
    offsets: Int64  # [B + 1]
    features: Float32  # [N, F]
    request_features: int  # of them, from the first: the same for all rows of a request
    position: Int16  # [N]
    labels: Mapping[str, Float32]  # task -> [N]
    history: Tokens  # [B, L]
    user: Int32  # [B], places in the vocabulary
    attribute: Int32  # [B, A]
    surface: Int32  # [B]
    validation_from: int  # requests from here on are the validation slice
    stands_for: Float32 | None = None  # [N], where a request is a list with a choice: candidates that a row stands for

    @property
    def batch(self) -> int:
        return len(self.user)


class RankerFit:
    """One training of the network and its item encoder: epochs, early stopping, calibration."""

    def __init__(
        self,
        data: RankerData,
        content: ItemContent,
        spec: RankerSpec,
        network: RankerNetwork,
        encoder: ItemEncoder,
        config: RankingConfig,
        seed: int,
        team: Team | None = None,
    ) -> None:
        self.team = Alone() if team is None else team
        self.data, self.spec, self.network, self.encoder, self.config = data, spec, network, encoder, config
        self.random = np.random.default_rng(seed)
        self.item_content, self.seed = content, seed
        self.content = [column.to(self.team.device) for column in content_tensors(content)]
        for module in (network, encoder):
            module.to(self.team.device)
        self.averaged = None if data.stands_for is None else Averaged(network)
        pace = 1.0 if data.stands_for is None else LISTS_PACE
        self.rate = pace * config.learning_rate
        self.rows_a_step = max(1, int(pace**2 * config.batch_size) // self.team.size)
        tables = [network.user, network.attribute, network.surface, encoder.id, encoder.title, encoder.author]
        embedded, apart = {id(table.weight) for table in tables}, id(network.position.weight)
        every = [*network.parameters(), *encoder.parameters()]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in every if id(p) not in embedded | {apart}], "weight_decay": 1e-4},
                {"params": [p for p in every if id(p) in embedded], "weight_decay": 1e-3},
                # Positions must not lag behind the features, which would else explain the clicks on top.
                {"params": [network.position.weight], "weight_decay": 0.0, "lr": POSITION_PACE * self.rate},
            ],
            lr=self.rate,
        )

    def run(self, progress: Progress, at_least: dict[str, float] | None = None) -> list[dict[str, float]]:
        """The curve by epoch; weights that validate no better than ``at_least`` are not kept."""
        total = self.steps
        steps = total + self.config.epochs + 1
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            [group["lr"] for group in self.optimiser.param_groups],
            total_steps=steps,
            pct_start=max(0.1, 2 / steps),  # a warm-up of no step at all divides by zero
        )
        best, best_score, curve = self._snapshot(), -np.inf, list[dict[str, float]]()
        if at_least is not None:
            best_score, curve = at_least["score"], [at_least]
        first = 0
        if (standing := self.team.kept()) is not None:
            first, best_score, curve, best = self._go_on(standing, schedule)
        objective = self.team.together(Objective(self._batch_loss, self.network, self.encoder))
        with progress.track("ranker", total) as step:
            for epoch in range(first, self.config.epochs):
                if curve and curve[-1]["score"] < best_score:  # it was no better
                    break
                loss = self._epoch(objective, schedule, step)
                with self.averaged.in_place() if self.averaged else nullcontext():
                    metrics = {"epoch": epoch + 1.0, "loss": loss, **self._measured()}
                    better = metrics["score"] > best_score
                    if better:
                        best, best_score = self._snapshot(), metrics["score"]
                curve.append(metrics)
                step(0, f"loss {loss:.4f}, validation {metrics['score']:.4f}")
                self._keep(epoch + 1, curve, best, schedule)
                if not better:
                    break
        self.network.load_state_dict(best[0])
        self.encoder.load_state_dict(best[1])
        return curve

    @property
    def steps(self) -> int:
        """Of all epochs, about."""
        batches = self.team.least(-(-int(self.data.offsets[self.data.validation_from]) // self.rows_a_step))
        return batches * self.config.epochs

    def _measured(self) -> dict[str, float]:
        """What the first member finds on its validation slice: in the others only the score, as it told them."""
        found = self.validate() if self.team.rank == 0 else {"score": 0.0}
        return {**found, "score": self.team.told(found["score"])}

    def _keep(
        self,
        epochs: int,
        curve: list[dict[str, float]],
        best: tuple[dict[str, Tensor], dict[str, Tensor]],
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> None:
        def standing() -> Standing:
            told = {"epochs": epochs, "curve": curve}
            told |= {"order": self.random.bit_generator.state}
            network, encoder = self.network.state_dict(), self.encoder.state_dict()
            states = {"network": network, "encoder": encoder, "best network": best[0], "best encoder": best[1]}
            if self.averaged:
                states["averaged"] = self.averaged.state_dict()
            return Standing.of(told, self.optimiser, schedule, **states)

        self.team.keep(standing)

    def _go_on(
        self, standing: Standing, schedule: torch.optim.lr_scheduler.LRScheduler
    ) -> tuple[int, float, list[dict[str, float]], tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """As ``_keep`` was told: the epochs that are done, the best score, the curve, and the best weights."""
        self.network.load_state_dict(standing.state("network"))
        self.encoder.load_state_dict(standing.state("encoder"))
        if self.averaged:
            self.averaged.load_state_dict(standing.state("averaged"))
        standing.into(self.optimiser, schedule)
        self.random.bit_generator.state = standing.told["order"]
        curve = list(standing.told["curve"])
        best = standing.state("best network"), standing.state("best encoder")
        return standing.told["epochs"], max(entry["score"] for entry in curve), curve, best

    def _snapshot(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return copy.deepcopy(self.network.state_dict()), copy.deepcopy(self.encoder.state_dict())

    def _epoch(self, objective: nn.Module, schedule: torch.optim.lr_scheduler.LRScheduler, step: object) -> float:
        self.network.train()
        self.encoder.train()
        losses = []
        for requests in self.team.while_all(self._batches()):
            self.optimiser.zero_grad(set_to_none=True)
            loss = objective(requests)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimiser.step()
            schedule.step()
            if self.averaged:
                self.averaged.step()
            losses.append(float(loss.detach()))
            if callable(step):
                step(1, f"loss {np.mean(losses[-50:]):.4f}")
        return float(np.mean(losses))

    def _batch_loss(self, requests: Int64) -> Tensor:
        return self._loss(*self._forward(requests))

    def _batches(self) -> list[Int64]:
        """Requests in random order, cut so that each batch has about ``rows_a_step`` rows."""
        order = self.random.permutation(self.data.validation_from)
        rows = np.cumsum(np.diff(self.data.offsets)[order])
        cuts = np.searchsorted(rows, np.arange(self.rows_a_step, rows[-1], self.rows_a_step))
        return [batch for batch in np.split(order, np.unique(cuts)) if len(batch)]

    def _forward(self, requests: Int64) -> tuple[list[Tensor], Int64]:
        """Logits a task for the rows of ``requests``, and those rows."""
        data = self.data
        number = np.diff(data.offsets)[requests]
        row = np.repeat(np.arange(len(requests)), number)
        first = np.cumsum(number) - number
        rows = np.repeat(data.offsets[requests] - first, number) + np.arange(len(row))
        history = data.history.take(requests)
        codes, place = np.unique(np.concatenate([data.item[rows], history.item.ravel()]), return_inverse=True)
        known = (codes >= 0) & (codes < len(self.content[0]))
        at = self.team.at(np.where(known, codes, 0).astype(np.int64))
        vectors = self.encoder(*(column[at] for column in self.content)) * self.team.at(known)[:, None]
        places = self.team.at(place)
        first_row = np.minimum(data.offsets[requests], len(data.item) - 1)
        logits = self.network.logits(
            self.team.at(data.features[rows, data.request_features :]),
            nn.functional.embedding(places[: len(rows)], vectors),
            self.team.at(data.features[first_row, : data.request_features]),
            nn.functional.embedding(places[len(rows) :], vectors).reshape(*history.item.shape, -1),
            self.team.at((history.item >= 0).astype(np.float32)),
            self.team.at(history.actions),
            self.team.at(history.value),
            self.team.at(history.age),
            self.team.at(data.user[requests].astype(np.int64)),
            self.team.at(data.attribute[requests].astype(np.int64)),
            self.team.at(data.surface[requests].astype(np.int64)),
            self.team.at(row),
        )
        return logits, rows

    def _loss(self, logits: list[Tensor], rows: Int64) -> Tensor:
        data, spec = self.data, self.spec
        loss, logits = torch.zeros(()), self._positioned(logits, rows)
        if data.stands_for is not None:
            (choice,) = spec.binary_tasks
            weight = self.team.at(data.stands_for[rows])
            return choice_loss(logits[0][:, 0], self.team.at(data.labels[choice][rows]), weight)
        if spec.binary_tasks:
            stacked = torch.cat(logits[: len(spec.binary_tasks)], dim=1)
            labels = np.stack([data.labels[name][rows] for name in spec.binary_tasks], axis=1)
            loss = (
                loss
                + nn.functional.binary_cross_entropy_with_logits(stacked, self.team.at(labels), reduction="none")
                .mean(0)
                .sum()
            )
        for s, name in enumerate(spec.seconds_tasks):
            edges = getattr(self.network, f"edges_{s}").cpu().numpy()
            target = self.team.at(bin_of(data.labels[name][rows], edges))
            loss = loss + SECONDS_LOSS * nn.functional.cross_entropy(logits[len(spec.binary_tasks) + s], target)
        return loss

    def _positioned(self, logits: list[Tensor], rows: Int64) -> list[Tensor]:
        """The logits where the rows were shown: positions move clicks, and whether anything is watched at all."""
        bias = self.network.position_logits(self.team.at(self.data.position[rows].astype(np.int64)))
        watched = len(self.spec.binary_tasks)
        return [
            logit + bias[:, t : t + 1] * (1 if t < watched else torch.arange(logit.shape[1]) > 0)
            for t, logit in enumerate(logits)
        ]

    @torch.no_grad()
    def _predict(self, requests: Int64, positioned: bool) -> tuple[list[Float32], Int64]:
        """Logits and seconds of the requests' rows, where they were shown or (False) wherever they are."""
        self.network.eval()
        self.encoder.eval()
        parts, rows = [], []
        for start in range(0, len(requests), 512):
            logits, of = self._forward(requests[start : start + 512])
            if positioned:
                logits = self._positioned(logits, of)
            binary = logits[: len(self.spec.binary_tasks)]
            seconds = [self.network.expectation(logit, s)[0] for s, logit in enumerate(logits[len(binary) :])]
            parts.append([tensor[:, 0].cpu().numpy() for tensor in (*binary, *seconds)])
            rows.append(of)
        return [np.concatenate(column) for column in zip(*parts, strict=True)], np.concatenate(rows)

    def validate(self) -> dict[str, float]:
        """AUC and GAUC a binary task, XAUC of seconds, on the validation slice; ``score`` is their mean.

        With the positions: without them, a network that takes what stood on top for good would look better.
        """
        requests = np.arange(self.data.validation_from, self.data.batch)
        if not len(requests):
            return {"score": 0.0}
        columns, rows = self._predict(requests, positioned=True)
        if self.data.stands_for is not None:
            (choice,) = self.spec.binary_tasks
            label, stands_for = self.data.labels[choice][rows], self.data.stands_for[rows]
            quality = choice_ndcg(columns[0], label, stands_for)
            return {"choice ndcg": quality, "score": quality}
        user = ragged_rows(self.data.offsets)[rows]
        owner = self.data.user[user] if (self.data.user > 0).any() else user
        found: dict[str, float] = {}
        for name, column in zip((*self.spec.binary_tasks, *self.spec.seconds_tasks), columns, strict=True):
            label = self.data.labels[name][rows]
            if name in self.spec.seconds_tasks:
                found[f"{name} xauc"] = float(xauc(label, column, pairs=200_000))
            elif label.any() and not label.all():
                found[f"{name} auc"] = float(auc(label, column))
                if label.sum() >= 500:  # per-user figures of rare tasks are noise
                    found[f"{name} gauc"] = gauc(owner.astype(np.int64), label, column).mean
        found = {name: value for name, value in found.items() if np.isfinite(value)}
        return {**found, "score": float(np.mean(list(found.values()))) if found else 0.0}

    def calibrate(self, first: int, prior: float = 1.0) -> None:
        """Platt scaling a binary task (Platt 1999), and the mean of seconds, on the requests from ``first`` on.

        Both are fitted without the position, as serving predicts. ``prior`` holds on to the calibration there is.
        """
        data = self.data
        requests = np.arange(first, data.batch)
        if not len(requests):
            return
        self._settle_positions(requests)
        columns, rows = self._predict(requests, positioned=False)
        for t, name in enumerate(self.spec.binary_tasks):
            slope, offset = self.network.platt[t].tolist()  # (1, 0), or what is gone on from
            a, b = platt(slope * columns[t] + offset, data.labels[name][rows], prior)
            self.network.platt[t] = torch.tensor([a * slope, a * offset + b])
        for s, name in enumerate(self.spec.seconds_tasks):
            predicted, actual = columns[len(self.spec.binary_tasks) + s].mean(), data.labels[name][rows].mean()
            if predicted > 0 and actual > 0:
                getattr(self.network, f"centres_{s}").mul_(float(actual / predicted))

    @torch.no_grad()
    def _settle_positions(self, requests: Int64) -> None:
        """Move the average of the positions into the heads, so that no position means an average one."""
        rows = slice(int(self.data.offsets[requests[0]]), int(self.data.offsets[requests[-1] + 1]))
        average = self.network.position_logits(self.team.at(self.data.position[rows].astype(np.int64))).mean(0)
        self.network.position.weight[1:] -= average
        for t, tower in enumerate(self.network.towers):
            last = list(tower.children())[-1]
            assert isinstance(last, nn.Linear)
            last.bias[1 if t >= len(self.spec.binary_tasks) else 0 :] += average[t]
