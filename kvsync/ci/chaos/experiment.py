"""One declared fault from its baseline to its checks.

Baseline, injection, proof of the effect, observation, recovery, whole data: all while requests go on. A fault
that cannot be injected is not run, one without a measured effect is void, and neither has criteria to judge.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from kvsync.ci.chaos.judging import (
    UnderFault,
    checks,
    record,
    recovered_at,
    served,
    unsteady,
    unsteady_after_all,
)
from kvsync.ci.chaos.steady import SteadyRequests
from kvsync.ci.project.chaos_stage import Criteria
from kvsync.errors import KVSyncError
from kvsync.testing.faults.fault import (
    ContainerKill,
    Fault,
    OneShot,
    PodFailure,
    PodKill,
    PodPause,
    Restart,
)
from kvsync.testing.faults.holding import PROOF_TIMEOUT_S, Episode, Injector, active
from kvsync.testing.results.history import History
from kvsync.testing.results.outcome import Check
from kvsync.testing.results.verdicts import Inconclusive, Unproven
from kvsync.testing.traffic.service import Service

WARM_UP_S = 0.5
"""Of a baseline, in which connections are opened."""

PATIENCE = 2.0
"""How many times as long as it may take a recovery is waited for: a report says by how much it was late."""

AFTER_S = 1.0
"""How long requests go on after a recovery: those that were still unanswered may yet fail."""

TURN_S = 0.1

ProcessFault = ContainerKill | Restart | PodFailure | PodPause | PodKill
"""Faults after which it is up to what they befell to be there again."""


class Stopped(KVSyncError):
    """There is no more time for an experiment: the run was interrupted, or the time limit was reached."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """Until when, on the monotonic clock, and until what event experiments may go on."""

    ends_at: float
    stop: threading.Event

    def check(self) -> None:
        """Raise Stopped when there is no more time."""
        if self.stop.is_set():
            raise Stopped("the run was interrupted")
        if time.monotonic() >= self.ends_at:
            raise Stopped("the stage reached its time limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultExperiment:
    """A fault, held for `seconds`, and what is measured meanwhile.

    `look` says what else is wrong afterwards, such as a service that ended. `proof_timeout_s`: how long the
    effect may take to show, and to go.
    """

    name: str
    fault: Fault
    seconds: float
    baseline_s: float
    criteria: Criteria
    injector: Injector
    steady: Callable[[], SteadyRequests]
    history: History
    deadline: Deadline
    look: Callable[[], str] = lambda: ""
    proof_timeout_s: float = PROOF_TIMEOUT_S

    def carry_out(self) -> list[Check]:
        """Return the checks: whether it acted, and one for each criterion. Raises Stopped."""
        try:
            self.injector.prepare(self.fault)  # what cannot be needs no baseline
            return self._measured()
        except Unproven as exc:
            return [self._effect(exc)]

    def _measured(self) -> list[Check]:
        problem = ""
        with self.steady() as steady:
            began = time.monotonic() + WARM_UP_S
            self._wait_until(steady, began + self.baseline_s)
            injected = time.monotonic()
            baseline = self._service(steady, began, injected)
            if why := unsteady(baseline, self.criteria):
                raise Inconclusive(why)
            episode: Episode | None = None
            try:
                with active(
                    self.fault, self.injector, self.history, proof_timeout_s=self.proof_timeout_s
                ) as episode:
                    if not isinstance(self.fault, OneShot):
                        self._wait_until(steady, (episode.proven or 0.0) + self.seconds)
            except Inconclusive as exc:
                if episode is None or not isinstance(self.fault, ProcessFault):
                    raise
                problem = str(exc)
            assert episode is not None
            assert episode.ended is not None
            waited_s = self._await_recovery(steady, episode)
            self._wait_until(steady, max(time.monotonic() + AFTER_S, self._watched_until(episode)))
        # Only now there are answers to all requests.
        recovered = recovered_at(steady.samples(), episode.ended, episode.proven or episode.ended)
        until = max(recovered or math.inf, episode.ended, self._watched_until(episode))
        seen = UnderFault(
            fault=self.fault,
            criteria=self.criteria,
            baseline=self._service(steady, began, injected),
            during=self._service(steady, episode.started, until),
            recovery_s=None if recovered is None or problem else recovered - episode.ended,
            waited_s=waited_s,
            why="; ".join(filter(None, [problem, self.look()])),
            unsteady=unsteady_after_all(steady.samples(), began, injected, baseline.p95_s, self.criteria),
        )
        record(seen, self.history)
        proof = f"{episode.proof}; afterwards: {episode.absence or problem}"
        return [Check(name=f"{self.name}: effect", kind="passed", detail=proof), *checks(self.name, seen)]

    def _watched_until(self, episode: Episode) -> float:
        acted = episode.proven or episode.started
        return acted + self.seconds if isinstance(self.fault, OneShot) else episode.started

    def _await_recovery(self, steady: SteadyRequests, episode: Episode) -> float:
        """Wait until requests are served again; returns how long was waited since the fault ended."""
        ended = episode.ended or episode.started
        proven = episode.proven or ended
        limit = max(ended, proven) + PATIENCE * self.criteria.recovery
        while recovered_at(steady.samples(), ended, proven) is None and time.monotonic() < limit:
            self._wait_until(steady, time.monotonic() + TURN_S)
        return time.monotonic() - ended

    def _service(self, steady: SteadyRequests, since: float, until: float) -> Service:
        return served(steady.samples(), since, until)

    def _wait_until(self, steady: SteadyRequests, moment: float) -> None:
        while (left_s := moment - time.monotonic()) > 0:
            self.deadline.check()
            steady.check()
            self.deadline.stop.wait(min(TURN_S, left_s))
        self.deadline.check()

    def _effect(self, verdict: Unproven) -> Check:
        return Check(name=f"{self.name}: effect", kind=verdict.kind, detail=str(verdict))
