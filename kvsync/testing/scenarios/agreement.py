"""Did pods have in their caches what the gateway predicted, and if not, why?

The prediction is made when a request is routed; the engine looks at its cache when it schedules it. A
difference must be explained by what the pod announced: a removal between the two, or a block stored just
before, whose event was still on its way.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kvsync.testing.oracle.announcements import Announcement
from kvsync.testing.traffic.sender import Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How many answers had what was predicted, why others had not, and what is left unexplained."""

    requests: int
    agreeing: int
    explained: Mapping[str, int]
    unexplained: Sequence[str]

    @property
    def share(self) -> float:
        """The share that agrees; 0 without requests."""
        return self.agreeing / self.requests if self.requests else 0.0


def agreement(
    answers: Sequence[Answer], announced: Sequence[Announcement], *, in_flight_s: float
) -> Agreement:
    """Compare prediction and report of each answer; one that lacks either does not agree.

    `in_flight_s` is how long an event may take to reach the index: 0 when the index had settled before each
    request, because then nothing was on its way.
    """
    explained: Counter[str] = Counter()
    unexplained = []
    for answer in answers:
        if answer.ok and answer.predicted is not None and answer.predicted == answer.cached_tokens:
            continue
        if cause := _cause(answer, announced, in_flight_s):
            explained[cause] += 1
        else:
            unexplained.append(
                f"request {answer.number} to {answer.pod}: predicted {answer.predicted}, "
                f"cached {answer.cached_tokens}"
            )
    agreeing = len(answers) - explained.total() - len(unexplained)
    return Agreement(requests=len(answers), agreeing=agreeing, explained=explained, unexplained=unexplained)


def _cause(answer: Answer, announced: Sequence[Announcement], in_flight_s: float) -> str:
    """Return why prediction and report differ, "" when the announcements do not explain it."""
    if not answer.ok:
        return "the request failed"
    if answer.predicted is None or answer.cached_tokens is None:
        return "nothing was predicted or reported"
    if answer.source_state != "exact":
        return f"the source was {answer.source_state}"
    batches = [batch for batch in announced if batch.pod == answer.pod]
    sent, answered = answer.t_mono, answer.t_mono + answer.latency_s
    if answer.predicted > answer.cached_tokens:
        removing = [batch for batch in batches if batch.removed or batch.cleared]
        if any(sent - in_flight_s <= batch.t_mono <= answered for batch in removing):
            return "evicted between prediction and allocation"
    elif any(sent - in_flight_s <= batch.t_mono < sent and batch.stored for batch in batches):
        return "stored so shortly before that its event was on its way"
    return ""
