"""The one way to hold a fault: proved to work, always taken back, proved to be gone.

`with active(fault, injector, history) as episode:` goes through these steps, each of them in the history:
the effect is absent before; inject; measure the effect (a fault without one is void: what follows would
have tested nothing); the body; recover, whatever happened; measure that the effect is gone.

Some faults are over as soon as they happen (OneShot): they are not held, and what they broke comes back by
itself. Their effect is that they happened, compared with what was noted just before; it is gone when
everything is back. Their recovery counts from the moment they were injected.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from kvsync.testing.errors import ClusterError, WaitTimeout
from kvsync.testing.faults.fault import Fault, OneShot, name_of, to_json
from kvsync.testing.processes.wait import wait_for
from kvsync.testing.results.history import History
from kvsync.testing.results.verdicts import Inconclusive, Void

PROOF_TIMEOUT_S = 30.0
"""How long an effect may take to show, and to go: a pod starts within it, on a busy machine too."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What was measured: whether the fault acts now, and the evidence in words."""

    present: bool
    evidence: str


class Injection(Protocol):
    """Carries out one fault, once, and remembers what was before."""

    def inject(self) -> None:
        """Make the fault act. Raises NotRun, with nothing changed, when something it needs is missing."""

    def recover(self) -> None:
        """Take the fault back, without waiting for the pod to be well; harmless if it never acted."""

    def measure(self) -> Effect:
        """Measure, independently of what is tested, whether the fault acts now.

        From `inject` to `recover` a OneShot fault is present if it happened, whatever came back since; at
        any other time it is present while something is not back. Raises ClusterError when nothing can be
        measured now.
        """


class Injector(Protocol):
    """Says who carries out which fault on one cluster.

    There are two reasons not to carry one out. What no cluster of the kind can ever have is `impossible`:
    its test is left out. What this cluster or machine lacks is found by `prepare` or `inject`: its test was
    to run and did not, which stays an open question until what is missing is there.
    """

    @staticmethod
    def impossible(fault: Fault) -> str:
        """Say why no cluster of this kind can have the fault; "" when it can. Needs no cluster."""

    def prepare(self, fault: Fault) -> Injection:
        """Look at the fault's pod while it is well, and change nothing.

        Raises NotRun for what is impossible or missing here, ClusterError when the pod cannot be asked now.
        """


@dataclass(slots=True)
class Episode:
    """A fault on the clock (monotonic seconds): when it acted, and what was measured then and afterwards.

    It may act from `started` on, and does from `proven` on: injecting and measuring take time, which does
    not count towards the time it is held. A OneShot fault ended when it started.
    """

    fault: Fault
    started: float
    proven: float | None = None
    ended: float | None = None
    proof: str = ""
    absence: str = ""


@contextmanager
def active(
    fault: Fault,
    injector: Injector,
    history: History,
    *,
    proof_timeout_s: float = PROOF_TIMEOUT_S,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Episode]:
    """Hold a fault while the block runs.

    Raises Void when the fault shows no effect or is there before it is injected, Inconclusive when its
    effect does not go away, and NotRun when the injector does.
    """
    history = history.bind(fault=to_json(fault))
    prepared = cache(lambda: injector.prepare(fault))  # tried until it succeeds, like a measurement

    def await_effect(*, present: bool) -> Effect:
        return _await(lambda: prepared().measure(), name_of(fault), proof_timeout_s, present=present)

    before = await_effect(present=False)
    if before.present:
        raise Void(f"{name_of(fault)} acts before it was injected: {before.evidence}")
    episode = Episode(fault, clock())
    try:
        prepared().inject()
        effect = await_effect(present=True)
        if not effect.present:
            raise Void(f"{name_of(fault)} had no measured effect: {effect.evidence}")
        episode.proof, episode.proven = effect.evidence, clock()
        history.append(f="fault", type="start", t_mono=episode.started, proof=effect.evidence)
        yield episode
    finally:
        prepared().recover()
        episode.ended = episode.started if isinstance(fault, OneShot) else clock()
        after = await_effect(present=False)
        episode.absence = "" if after.present else after.evidence
        if episode.proof:
            held_s = max(0.0, episode.ended - (episode.proven or episode.ended))
            history.append(f="fault", type="stop", t_mono=episode.ended, proof=episode.absence, held_s=held_s)
    if after.present:
        raise Inconclusive(f"{name_of(fault)} did not go away: {after.evidence}")


def _await(measure: Callable[[], Effect], what: str, timeout_s: float, *, present: bool) -> Effect:
    """Measure until the effect is, or is not, there; return the last measurement either way."""
    seen = Effect(not present, "")

    def measured() -> bool:
        nonlocal seen
        try:
            seen = measure()
        except ClusterError as exc:  # neither there nor not there
            seen = Effect(not present, f"not measured: {exc}")
        return seen.present is present

    with suppress(WaitTimeout):
        wait_for(measured, what=what, timeout_s=timeout_s)
    return seen
