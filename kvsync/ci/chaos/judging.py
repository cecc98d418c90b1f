"""Whether a service kept to its criteria during a fault: each is a check, with what was measured."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Self

from kvsync.ci.project.chaos_stage import FEWEST_FOR_P95, Criteria
from kvsync.testing.faults.fault import Fault, to_json
from kvsync.testing.results.history import History
from kvsync.testing.results.measurement import quantile
from kvsync.testing.results.outcome import Check, CheckKind
from kvsync.testing.traffic.service import Sample, Service
from kvsync.testing.traffic.steady import FEWEST_REQUESTS

IN_A_ROW_S = 1.0
"""For how long everything has to be served until it counts as recovered ..."""
IN_A_ROW = 5
"""... and how many requests at least."""

PENDING_S = 1.0
"""A request that was without an answer for so long says something of the baseline, not of the fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderFault:
    """What was measured of one fault. `recovery_s`: after its end, None if it did not recover in `waited_s`.

    `why` says what else was seen then, `unsteady` why the baseline is none, by answers that came later.
    """

    fault: Fault
    criteria: Criteria
    baseline: Service
    during: Service
    recovery_s: float | None
    waited_s: float = 0.0
    why: str = ""
    unsteady: str = ""

    @property
    def error_increase(self) -> float:
        """By how much the share of failed requests grew."""
        return self.baseline.availability - self.during.availability


def served(samples: Sequence[Sample], since: float, until: float) -> Service:
    """Sum up the requests that were due in a time. The p95 is of those that were served."""
    due = [each for each in samples if since <= each.due < until]
    return replace(Service.of(due, []), p95_s=quantile([each.latency_s for each in due if each.ok], 0.95))


def recovered_at(samples: Sequence[Sample], ended: float, proven: float = -math.inf) -> float | None:
    """Return when requests were served again after a fault that ended; None if they are not yet.

    That is from the first moment on after which everything that was due in IN_A_ROW_S was served. Requests
    that were due while it lasted are no sign of anything, however late they fail. Neither is a second before
    the effect was `proven`: what is asked to end may go on serving for as long as it is let.
    """
    since, count = ended, 0
    for each in sorted((each for each in samples if each.due >= ended), key=lambda each: each.due):
        if not each.ok:
            since, count = each.due, 0
            continue
        count += 1
        if count >= IN_A_ROW and each.due - max(since, proven) >= IN_A_ROW_S:
            return since
    return None


def unsteady(baseline: Service, criteria: Criteria) -> str:
    """Say why there is nothing to compare with; "" if there is."""
    if baseline.requests < FEWEST_REQUESTS:
        return f"{baseline.requests} requests without a fault say nothing; {FEWEST_REQUESTS} are needed"
    if baseline.availability < criteria.availability:
        return f"no steady state: without a fault {baseline.availability:.2%} of the requests were served"
    return "" if baseline.was_offered else baseline.not_offered


def unsteady_after_all(
    samples: Sequence[Sample], began: float, injected: float, usual_s: float, criteria: Criteria
) -> str:
    """Say why a baseline was none, by the answers that came only after the injection; "" if it was one.

    Requests that were due only just before it (PENDING_S, or the p95 of until then, `usual_s`) are left out:
    the fault may be why they failed.
    """
    settled = served(samples, began, injected - max(PENDING_S, usual_s if math.isfinite(usual_s) else 0.0))
    return unsteady(settled, criteria) if settled.requests >= FEWEST_REQUESTS else ""


def checks(name: str, seen: UnderFault) -> list[Check]:
    """Return a check for each criterion of the fault of this name."""
    found = [_availability(seen), _errors(seen), *([_p95(seen)] if seen.criteria.p95 is not None else [])]
    doubt = _doubt(seen)
    judged = [each.doubted(doubt) if doubt else each for each in found]
    recovery, starved = _recovery(seen), "" if seen.during.was_offered else seen.during.not_offered
    unknown = seen.unsteady or starved
    judged.append(recovery.doubted(unknown) if unknown else recovery)
    return [each.check(name) for each in judged]


def record(seen: UnderFault, history: History) -> None:
    """Write down what the report shows of a fault, in the form of kvsync.testing.traffic.steady."""
    found = checks("", seen)
    broken = [each.detail for each in found if each.kind == "failed" and each.name != ": recovery"]
    p95 = next((each for each in found if each.name == ": p95"), None)
    excuse = "" if p95 and p95.kind != "inconclusive" else p95.detail if p95 else "the file sets no limit"
    history.append(
        f="recovery",
        type=_type(seen.recovery_s is not None and seen.recovery_s <= seen.criteria.recovery),
        seconds=seen.waited_s if seen.recovery_s is None else seen.recovery_s,
    )
    history.append(
        f="service",
        type=_type(not broken),
        requests=seen.during.requests,
        availability=seen.during.availability,
        error_increase=seen.error_increase,
        p95_s=seen.during.p95_s,
        baseline_p95_s=seen.baseline.p95_s,
        p95_excuse=excuse,
        broken=broken,
        fault=to_json(seen.fault),
        baseline=asdict(seen.baseline),
        during=asdict(seen.during),
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    criterion: str
    kind: CheckKind
    detail: str
    figures: Mapping[str, str]

    def doubted(self, doubt: str) -> Self:
        return replace(self, kind="inconclusive", detail=doubt)

    def check(self, name: str) -> Check:
        return Check(
            name=f"{name}: {self.criterion}", kind=self.kind, detail=self.detail, properties=self.figures
        )


def _availability(seen: UnderFault) -> _Judged:
    during, least = seen.during, seen.criteria.availability
    return _Judged(
        "availability",
        _kind(during.availability >= least),
        f"{during.availability:.2%} of {during.requests} requests were served; {least:.2%} have to be",
        {"availability": f"{during.availability:.4f}", "requests": str(during.requests)},
    )


def _errors(seen: UnderFault) -> _Judged:
    rise, most = 100 * seen.error_increase, 100 * seen.criteria.errors
    return _Judged(
        "errors",
        _kind(rise <= most),
        f"the share of errors rose by {rise:.2f} points over the baseline; {most:.2f} are allowed",
        {"error_increase": f"{seen.error_increase:.4f}", "requests": str(seen.during.requests)},
    )


def _p95(seen: UnderFault) -> _Judged:
    during_ms, before_ms = 1000 * seen.during.p95_s, 1000 * seen.baseline.p95_s
    limit_ms = max(1000 * seen.criteria.quick, (seen.criteria.p95 or math.inf) * before_ms)
    fewest = min(round(each.requests * each.availability) for each in (seen.baseline, seen.during))
    said = (
        f"p95 was {during_ms:.0f} ms, and {before_ms:.0f} ms before the fault; {limit_ms:.0f} ms are allowed"
    )
    figures = {"p95_ms": f"{during_ms:.1f}", "baseline_p95_ms": f"{before_ms:.1f}"}
    if fewest < FEWEST_FOR_P95:
        few = f"{fewest} requests that were served are too few for a p95, which needs {FEWEST_FOR_P95}"
        return _Judged("p95", "inconclusive", few, figures)
    return _Judged("p95", _kind(during_ms <= limit_ms), said, figures)


def _recovery(seen: UnderFault) -> _Judged:
    most_s = seen.criteria.recovery
    if seen.recovery_s is None:
        said = f"not recovered {seen.waited_s:.1f} s after its end; {most_s:g} s are allowed"
        return _Judged("recovery", "failed", "; ".join(filter(None, [said, seen.why])), {})
    said = f"requests were served again {seen.recovery_s:.1f} s after its end; {most_s:g} s are allowed"
    detail = "; ".join(filter(None, [said, seen.why]))
    return _Judged(
        "recovery", _kind(seen.recovery_s <= most_s), detail, {"recovery_s": f"{seen.recovery_s:.2f}"}
    )


def _doubt(seen: UnderFault) -> str:
    """Say why nothing can be concluded from the requests; "" if something can."""
    if seen.unsteady:
        return seen.unsteady
    if seen.during.requests < FEWEST_REQUESTS:
        return f"{seen.during.requests} requests say nothing; at least {FEWEST_REQUESTS} are needed"
    return "" if seen.during.was_offered else seen.during.not_offered


def _kind(holds: bool) -> CheckKind:
    return "passed" if holds else "failed"


def _type(holds: bool) -> str:
    return "ok" if holds else "fail"
