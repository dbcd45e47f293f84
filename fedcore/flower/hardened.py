"""A wrapper that lets no single client end or capture a run of any Flower strategy."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from logging import INFO, WARNING
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log

from fedcore.flower.numbers import ArraysError, numbers
from fedcore.flower.replies import FACTOR, ReplyError
from fedcore.records.record import Exclusion


class Hardened(Strategy):  # type: ignore[misc]
    """``strategy`` with replies checked before it sees them and its result checked after.

    A train reply must hold one ArrayRecord with the names and shapes of the arrays that were sent,
    readable, numeric, finite, and one MetricRecord with finite values, the keys of most replies
    and a count ``weighted_by_key`` in [1, ``max_examples``] (None: ten times the round's median).
    Others are left out and listed in ``excluded`` (by node id), and so are a node's second reply
    and those of nodes that were not asked. What is left is handed on in the types and the byte
    order of what was sent. A result that is not finite, or of other shapes, is dropped: the round
    then changes nothing. Arrays come back in the types in which they were sent, too; stock
    strategies turn integers to float64.

    What a wrapper cannot do: judge finite values. Against those choose a robust ``strategy``.
    """

    def __init__(
        self,
        strategy: Strategy,
        max_examples: float | None = None,
        weighted_by_key: str = "num-examples",
    ) -> None:
        self.strategy, self.max_examples = strategy, max_examples
        self.weighted_by_key = weighted_by_key
        self.excluded: list[Exclusion] = []
        self._sent: dict[str, np.ndarray[Any, Any]] = {}
        self._asked: set[int] = set()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self._sent = {name: array.numpy() for name, array in arrays.items()}
        return self._noted(self.strategy.configure_train(server_round, arrays, config, grid))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        before = len(self.excluded)
        valid = self._valid(server_round, replies, arrays=True)
        if not any(reply.has_content() for reply in valid):
            return None, None
        try:
            arrays, metrics = self.strategy.aggregate_train(server_round, valid)
        except Exception as error:
            if len(self.excluded) == before:
                raise  # nobody was left out: the strategy's own mistake
            log(WARNING, "round %s: too few replies are left: %s", server_round, error)
            return None, None
        return (None if arrays is None else self._restored(server_round, arrays)), metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        return self._noted(self.strategy.configure_evaluate(server_round, arrays, config, grid))

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        valid = self._valid(server_round, replies, arrays=False)
        return self.strategy.aggregate_evaluate(server_round, valid)

    def summary(self) -> None:
        log(INFO, "\t├──> replies checked, around %s:", type(self.strategy).__name__)
        self.strategy.summary()

    def _noted(self, messages: Iterable[Message]) -> list[Message]:
        made = list(messages)
        self._asked = {int(message.metadata.dst_node_id) for message in made}
        return made

    def _answers(self, round: int, replies: Iterable[Message]) -> list[Message]:
        """The first reply of each node that was asked, by node."""
        first: dict[int, Message] = {}
        for reply in replies:
            node = int(reply.metadata.src_node_id)
            if node not in self._asked:
                self._exclude(round, reply, "it was not asked")
            elif node in first:
                self._exclude(round, reply, "it has replied before")
            else:
                first[node] = reply
        return [first[node] for node in sorted(first)]

    def _valid(self, round: int, replies: Iterable[Message], *, arrays: bool) -> list[Message]:
        replies = self._answers(round, replies)
        metrics: dict[int, MetricRecord] = {}
        for place, reply in enumerate(replies):
            try:
                if not reply.has_error():
                    if arrays:
                        self._check_arrays(reply)
                    metrics[place] = self._metrics(reply)
            except ReplyError as error:
                self._exclude(round, reply, str(error))
        usual = Counter(_form(found) for found in metrics.values()).most_common(1)
        counts = [float(found[self.weighted_by_key]) for found in metrics.values()]
        most = self.max_examples or FACTOR * statistics.median(counts or [0])
        valid = []
        for place, reply in enumerate(replies):
            if reply.has_error():
                valid.append(reply)
            elif place in metrics and _form(metrics[place]) != usual[0][0]:
                self._exclude(round, reply, "its metrics have other keys than most")
            elif place in metrics and metrics[place][self.weighted_by_key] > most:
                self._exclude(round, reply, f"{self.weighted_by_key} is above {most:g}")
            elif place in metrics:
                valid.append(reply)
        return valid

    def _exclude(self, round: int, reply: Message, reason: str) -> None:
        node = int(reply.metadata.src_node_id)
        log(WARNING, "round %s: node %s is left out: %s", round, node, reason)
        self.excluded.append(Exclusion(round, node, reason))

    def _check_arrays(self, reply: Message) -> None:
        records = list(reply.content.array_records.values())
        if len(records) != 1:
            raise ReplyError(f"one ArrayRecord is needed, got {len(records)}")
        if set(records[0]) != set(self._sent):
            odd = sorted(map(str, set(records[0]) ^ set(self._sent)))
            raise ReplyError(f"arrays missing or unknown: {', '.join(odd[:5])}")
        made = {}
        for name, array in records[0].items():
            sent = self._sent[name]
            try:
                value = numbers(name, array, sent.shape)
            except ArraysError as error:
                raise ReplyError(str(error)) from error
            limits = np.iinfo if sent.dtype.kind in "iu" else np.finfo
            # half the range: differences of two such values are finite, too
            bound = float(limits(sent.dtype).max) / 2
            if not bool((np.abs(value.astype(np.float64)) <= bound).all()):
                raise ReplyError(f"{name} is not finite or beyond the range of {sent.dtype}")
            if value.dtype != sent.dtype:
                value = np.rint(value) if sent.dtype.kind in "iu" else value
                made[name] = Array(np.asarray(value, dtype=sent.dtype))
        for name, changed in made.items():
            records[0][name] = changed

    def _metrics(self, reply: Message) -> MetricRecord:
        records = list(reply.content.metric_records.values())
        if len(records) != 1:
            raise ReplyError(f"one MetricRecord is needed, got {len(records)}")
        for key, value in records[0].items():
            if not all(map(_finite, value if isinstance(value, list) else [value])):
                raise ReplyError(f"{str(key)[:60]} is not finite")
        count = records[0].get(self.weighted_by_key)
        if isinstance(count, list) or count is None or count < 1:
            raise ReplyError(f"{self.weighted_by_key} must be a number >= 1, got {count!r:.60}")
        return records[0]

    def _restored(self, round: int, arrays: ArrayRecord) -> ArrayRecord | None:
        made = {}
        for name, array in arrays.items():
            value, sent = array.numpy(), self._sent.get(name)
            if sent is None or value.shape != sent.shape or not bool(np.isfinite(value).all()):
                log(WARNING, "round %s: the result is dropped: %s is not valid", round, name)
                return None
            value = np.rint(value) if sent.dtype.kind in "iu" else value
            made[name] = Array(np.asarray(value, dtype=sent.dtype))
        return ArrayRecord(made)


def _form(metrics: MetricRecord) -> tuple[tuple[str, int], ...]:
    """Keys, and lengths of lists: what stock strategies require to be alike."""
    return tuple(sorted((k, len(v) if isinstance(v, list) else -1) for k, v in metrics.items()))


def _finite(value: float) -> bool:
    """Whether ``value`` is a number that a float can be."""
    try:
        return math.isfinite(value)
    except OverflowError:  # of an integer with hundreds of digits
        return False
