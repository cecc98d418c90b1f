"""What was predicted for requests, what engines reported, and what that says of their sources.

Only what was predicted while a source was EXACT counts for its doubt: other states have their own reasons.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count

from kvsync.config import PredictionConfig
from kvsync.gateway.agreement import (
    Accuracy,
    ComparedPrompt,
    expected,
    is_doubtful,
    recomputes_last_block,
)
from kvsync.gateway.answers.usage import COMPLETIONS, UsageTerms
from kvsync.gateway.text import TokenIds
from kvsync.pods import Pod
from kvsync.sequence import State
from kvsync.sources.status import SourceStatus

log = logging.getLogger(__name__)

WINDOW = 50
"""Comparisons of each pod that are remembered: a few seconds of a busy one."""

ANNOUNCED_S = 1.0
"""How long the blocks of a request that ended may take to be announced: milliseconds, if nothing is busy."""

UNTOLD = (
    "its answers do not say how many tokens of a prompt were cached: start vLLM with"
    " --enable-prompt-tokens-details, SGLang with --enable-cache-report"
)

ENDED = 32
"""Prompts of requests that just ended, for each pod; they can be long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What was predicted when a request was sent to a pod.

    `beside` are the prompts it was working on, or had just been; `removals` counts its removals by then.
    """

    pod: Pod
    held: int
    cached_tokens: int
    block_size: int
    tokens: TokenIds | None
    state: State
    removals: int = 0
    beside: Sequence[TokenIds] = ()

    def is_raced(self, reported: int, removals: int) -> bool:
        """Say whether it is explained why more or less was reported, as the pod now has so many `removals`.

        More: a request beside this one has that prefix. Less: blocks were evicted meanwhile.
        """
        if reported < self.cached_tokens:
            return removals > self.removals
        tokens = self.tokens
        if tokens is None or not self.cached_tokens < reported <= len(tokens):
            return False
        prefix, last = tokens[:reported], tokens[reported - 1]
        longer = (other for other in self.beside if len(other) >= reported)
        return any(other[reported - 1] == last and other[:reported] == prefix for other in longer)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """How predictions for one pod turned out, `counts` of them within `counted_s` seconds.

    `untold` is why there is nothing to compare, as far as that is so;
    `recent` are the ones that it is judged by; `doubt` says why it is doubtful, empty if it is not, and
    `since_s` for how long that has been so.
    """

    counts: Counter[Accuracy]
    counted_s: float
    recent: Counter[Accuracy]
    doubt: str
    since_s: float
    recomputes_last_block: bool
    untold: str = ""

    def to_json(self) -> dict[str, object]:
        """Write it as `/status` shows it."""
        return {
            **{each.value: self.counts[each] for each in Accuracy},
            "counted_s": self.counted_s,
            "untold": self.untold,
            "recent": {each.value: self.recent[each] for each in Accuracy},
            "doubt": self.doubt,
            "since_s": self.since_s,
            "recomputes_last_block": self.recomputes_last_block,
        }


@dataclass(slots=True, kw_only=True)
class _Record:
    """What is known of one pod."""

    url: str
    began: float
    since: float
    emptied: int
    counts: Counter[Accuracy] = field(default_factory=Counter)
    recent: deque[ComparedPrompt] = field(default_factory=lambda: deque(maxlen=WINDOW))
    running: dict[int, TokenIds] = field(default_factory=dict)
    ended: deque[tuple[float, TokenIds]] = field(default_factory=lambda: deque(maxlen=ENDED))
    reports: set[UsageTerms] = field(default_factory=set)
    untold: set[UsageTerms] = field(default_factory=set)
    doubtful: bool = False
    recomputes: bool = False

    @property
    def outcomes(self) -> list[Accuracy]:
        return [each.outcome(recomputes=self.recomputes) for each in self.recent]

    @property
    def summary(self) -> str:
        counts = Counter(self.outcomes)
        others = sum(not each.same_length for each in self.recent)
        return (
            f"{counts.total() - counts[Accuracy.EXACT]} of the last {counts.total()} predictions were wrong: "
            f"{counts[Accuracy.OVER]} over, {counts[Accuracy.UNDER]} under what the engine reports"
            + (f"; {others} of these prompts have other tokens for the engine" if others else "")
        )


class Predictions:
    """Compares predictions with reports, pod by pod.

    `state` is what else is known of a pod's sources; `emptied` says how often all they held was dropped, and
    `removals` how often they announced that blocks were removed.
    """

    def __init__(
        self,
        config: PredictionConfig,
        *,
        state: Callable[[str], State],
        emptied: Callable[[str], int],
        removals: Callable[[str], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._clock = config, clock
        self._state, self._emptied, self._removals = state, emptied, removals
        self._records: dict[str, _Record] = {}
        self._numbers = count()

    @contextmanager
    def made(self, pod: Pod, *, held: int, block_size: int, tokens: TokenIds | None) -> Iterator[Prediction]:
        """Predict a request that runs on `pod` within the block; the index says it has `held` tokens."""
        record, number, now = self._record(pod), next(self._numbers), self._clock()
        just_ended = [tokens for ended, tokens in record.ended if now - ended <= ANNOUNCED_S]
        prediction = Prediction(
            pod=pod,
            held=held,
            cached_tokens=expected(held, block_size, recomputes=record.recomputes),
            block_size=block_size,
            tokens=tokens,
            state=self._state(pod.name),
            removals=self._removals(pod.name),
            beside=(*record.running.values(), *just_ended),
        )
        if tokens is not None:
            record.running[number] = tokens
        try:
            yield prediction
        finally:
            if record.running.pop(number, None) is not None:
                record.ended.append((self._clock(), tokens or ()))

    def compare(
        self, prediction: Prediction, tail: bytes, terms: UsageTerms = COMPLETIONS
    ) -> tuple[Accuracy, int] | None:
        """Compare a prediction with what the end of the answer reports, in the terms of its interface.

        Returns how they compare, and the reported tokens; None when the engine reports nothing.
        """
        record = self._record(prediction.pod)
        reported = terms.cached_tokens(tail, ever=terms in record.reports)
        if reported is None:
            if prediction.cached_tokens and terms.prompt_tokens(tail) is not None:
                self._note_untold(prediction.pod.name, record, terms)
            return None
        record.reports.add(terms)
        this = ComparedPrompt(
            held=prediction.held,
            reported=reported,
            block_size=prediction.block_size,
            same_length=prediction.tokens is None
            or terms.prompt_tokens(tail) in (None, len(prediction.tokens)),
        )
        outcome = this.outcome(recomputes=record.recomputes)
        record.counts[outcome] += 1
        tells = bool(this.held or reported) and not prediction.is_raced(
            reported, self._removals(prediction.pod.name)
        )
        if tells and prediction.state is State.EXACT:
            record.recent.append(this)
            # One more that agrees changes nothing where nothing is doubtful, but where it makes them enough.
            is_few = len(record.recent) <= self._config.minimum
            if outcome is not Accuracy.EXACT or record.doubtful or is_few:
                self._judge(prediction.pod.name, record)
        return outcome, reported

    def of(self, pod: Pod) -> TrackRecord:
        """Say how predictions for a pod turned out."""
        record, now = self._record(pod), self._clock()
        return TrackRecord(
            counts=record.counts,
            counted_s=now - record.began,
            recent=Counter(record.outcomes),
            doubt=record.summary if record.doubtful else "",
            since_s=now - record.since,
            recomputes_last_block=record.recomputes,
            untold=UNTOLD if record.untold - record.reports else "",
        )

    def state(self, pod: str) -> State:
        """Return the state of a pod's sources: DEGRADED instead of EXACT while its predictions go wrong."""
        state = self._state(pod)
        return State.DEGRADED if state is State.EXACT and self._is_doubtful(pod) else state

    def judged(self, status: SourceStatus) -> SourceStatus:
        """Return what is known of a source, with the state that its pod's predictions leave it."""
        pod = status.source.pod
        if status.state is not State.EXACT or not self._is_doubtful(pod):
            return status
        return replace(status, state=State.DEGRADED, reason=self._records[pod].summary)

    def keep(self, pods: Sequence[Pod]) -> None:
        """Forget all other pods, and begin to count for new ones."""
        for pod in pods:
            self._record(pod)
        for name in self._records.keys() - {pod.name for pod in pods}:
            del self._records[name]

    def _is_doubtful(self, pod: str) -> bool:
        record = self._records.get(pod)
        return record is not None and record.doubtful and record.emptied == self._emptied(pod)

    def _record(self, pod: Pod) -> _Record:
        """Return what is known of a pod; one at another address is another one."""
        record, emptied, now = self._records.get(pod.name), self._emptied(pod.name), self._clock()
        if record is None or record.url != pod.url:
            record = _Record(url=pod.url, began=now, since=now, emptied=emptied)
            record.recomputes = bool(self._config.recomputes_last_block)
            self._records[pod.name] = record
        if record.emptied != emptied:
            record.emptied = emptied
            record.recent.clear()
            if record.doubtful:
                record.doubtful, record.since = False, now
                log.info("%s: %s", pod.name, _EMPTIED)
        return record

    def _note_untold(self, pod: str, record: _Record, terms: UsageTerms) -> None:
        if terms not in record.reports | record.untold:
            record.untold.add(terms)
            log.info("%s: its predictions are not compared: %s", pod, UNTOLD)

    def _judge(self, pod: str, record: _Record) -> None:
        if self._config.recomputes_last_block is None:
            recomputes = recomputes_last_block(record.recent, before=record.recomputes)
            if recomputes is not record.recomputes:
                record.recomputes = recomputes
                log.info("%s: %s", pod, _EAGLE[recomputes])
        doubtful = self._is_wrong(record, before=record.doubtful)
        if doubtful is not record.doubtful:
            record.doubtful, record.since = doubtful, self._clock()
            if doubtful:
                log.warning("%s: its sources are not exact any more: %s", pod, record.summary)
                return
            log.info("%s: its predictions are right again", pod)
            if self._is_wrong(record, before=False):
                record.recent = deque([*record.recent][-self._config.minimum :], maxlen=WINDOW)

    def _is_wrong(self, record: _Record, *, before: bool) -> bool:
        share, minimum = self._config.wrong_share, self._config.minimum
        return is_doubtful(record.outcomes, before=before, wrong_share=share, minimum=minimum)


_EAGLE = {
    True: "the engine computes the last block of each hit again, as with EAGLE: predicted so from now on",
    False: "the engine does not compute the last block of a hit again: predicted so from now on",
}

_EMPTIED = "what its predictions were wrong about is gone"
