"""Whether engines report what was predicted: the one check of the whole way from events to cached tokens.

Rules:

1. A request's prediction and the engine's report are compared when both are of one prompt with one answer.
   An engine that has reported cached tokens before and leaves the field out now says 0 (vLLM 0.11 to 0.23).
2. Nothing predicted and nothing reported agrees, but tells nothing. Nor does a report of more than was
   predicted that a request running beside it explains, or one that ended so shortly before that its blocks
   were not announced yet, as it brought the same prefix; nor one of less if the pod evicted blocks meanwhile.
3. Of the comparisons that tell something, at least `minimum`, more than `wrong_share` wrong make a pod's
   sources doubtful: they are not EXACT any more. They are again once the last `minimum` agree, up to half
   that share, or once nothing is left of what was wrong: its cache was cleared, or its history begun anew.
   What was wrong before counts no more then.
4. An engine with EAGLE computes the last block of every hit again. That is configured, or seen: when nearly
   all hits are one block shorter than what is held, they are predicted so from then on.

Reasons: each of several answers or prompts has cached tokens of its own, and engines report one number. The
last comparisons judge, not all: a source that was wrong for an hour may be right now, and the other way
round.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

SEEN = 8
"""Hits that must be one block short, and all but a tenth of the others', before EAGLE is believed in."""


class Accuracy(Enum):
    """How a prediction compares with the report."""

    EXACT = "exact"
    OVER = "over"
    UNDER = "under"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedPrompt:
    """One request: cached tokens as `held` by the index and as `reported` by the engine.

    `same_length` is False if the engine counted another number of tokens in the prompt than the gateway.
    """

    held: int
    reported: int
    block_size: int
    same_length: bool = True

    def outcome(self, *, recomputes: bool) -> Accuracy:
        """Compare the report with the prediction."""
        predicted = expected(self.held, self.block_size, recomputes=recomputes)
        if predicted == self.reported:
            return Accuracy.EXACT
        return Accuracy.OVER if predicted > self.reported else Accuracy.UNDER


def expected(held: int, block_size: int, *, recomputes: bool) -> int:
    """Return how many cached tokens an engine reports that holds `held`; with EAGLE one block less."""
    return max(0, held - block_size) if recomputes else held


def recomputes_last_block(recent: Sequence[ComparedPrompt], *, before: bool) -> bool:
    """Say whether these comparisons show an engine that computes the last block of each hit again.

    What was believed `before` is believed until most hits are against it.
    """
    hits = [each for each in recent if each.held]
    short = sum(each.outcome(recomputes=True) is Accuracy.EXACT for each in hits)
    return 2 * short >= len(hits) if before else short >= SEEN and 10 * short >= 9 * len(hits)


def is_doubtful(outcomes: Sequence[Accuracy], *, before: bool, wrong_share: float, minimum: int) -> bool:
    """Say whether predictions that turned out like this, oldest first, cannot be trusted."""
    if len(outcomes) < minimum:
        return before
    judged, limit = (outcomes[-minimum:], wrong_share / 2) if before else (outcomes, wrong_share)
    return sum(each is not Accuracy.EXACT for each in judged) > limit * len(judged)
