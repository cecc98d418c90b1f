"""Whether a machine has what a kind of cluster needs: findings, and the refusal that follows from them. Pure.

What is found about Docker and Kind is judged in docker, about a kubeconfig in kubernetes; doctor asks the
programs and the machine.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from kvsync.ci.errors import CannotRun

GIB = 1024**3

CONTROL_PLANE_BYTES, WORKER_BYTES, PODS_BYTES = GIB, GIB // 4, GIB
"""Measured: a control plane takes 0.5 GiB, a worker 0.2 GiB, an engine 60 MiB."""

LOCAL_BYTES = GIB
"""Of memory, and of disk, for a local cluster of ten pods with its logs."""

IMAGES_BYTES = 5 * GIB
"""A node image (1 GiB), the base image, and our own image on this machine and on every node."""

NODE_INSTANCES, NODE_WATCHES = 32, 1024
"""For inotify in one Kind node. Measured: 13 instances and 221 watches before the first of our pods."""


class FindingState(StrEnum):
    """What a check found. Only MISSING keeps a run from starting."""

    OK = "ok"
    MISSING = "missing"
    UNAVAILABLE = "not available here"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: its state, what that means, and how to mend it."""

    check: str
    state: FindingState
    meaning: str
    mend: str = ""


def ok(check: str, meaning: str) -> Finding:
    """Return a finding about something that is there."""
    return Finding(check, FindingState.OK, meaning)


def missing(check: str, meaning: str, mend: str) -> Finding:
    """Return a finding about something that is needed and not there."""
    return Finding(check, FindingState.MISSING, meaning, mend)


def unavailable(check: str, meaning: str, mend: str = "") -> Finding:
    """Return a finding about something a run can do without: some checks will be not run."""
    return Finding(check, FindingState.UNAVAILABLE, meaning, mend)


def is_fit(findings: Iterable[Finding]) -> bool:
    """Say whether a run can start."""
    return all(finding.state is not FindingState.MISSING for finding in findings)


def require(findings: Iterable[Finding], cluster: object) -> None:
    """Raise CannotRun, with every mend, when something that the cluster needs is missing."""
    lacking = [finding for finding in findings if finding.state is FindingState.MISSING]
    if lacking:
        problems = [f"{finding.check}: {finding.meaning}; mend: {finding.mend}" for finding in lacking]
        raise CannotRun(f"--cluster {cluster} cannot run here", problems)


def memory(available: int, *, nodes: int) -> Finding:
    """Judge the free memory, in bytes, for a Kind cluster with this number of nodes; 0 for none."""
    needed = CONTROL_PLANE_BYTES + (nodes - 1) * WORKER_BYTES + PODS_BYTES if nodes else LOCAL_BYTES
    return _enough("memory", available, needed, "end other programs, or give Docker's virtual machine more")


def disk(free: int, *, place: str, needed: int) -> Finding:
    """Judge the free space, in bytes, of the disk that a folder is on."""
    mend = f"free space on the disk of {place}; `docker system prune` removes what Docker does not use"
    return _enough(f"disk of {place}", free, needed, mend)


def inotify(instances: int, watches: int, *, nodes: int) -> Finding:
    """Judge the kernel's inotify limits, which all nodes share: if they are too low, nodes do not start."""
    needed = nodes * NODE_INSTANCES, nodes * NODE_WATCHES
    found = f"{instances} instances and {watches} watches"
    if instances >= needed[0] and watches >= needed[1]:
        return ok("inotify limits", found)
    return missing(
        "inotify limits",
        f"{found}; {nodes} nodes need {needed[0]} and {needed[1]}",
        "sudo sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288",
    )


def _enough(check: str, there: int, needed: int, mend: str) -> Finding:
    meaning = f"{there / GIB:.1f} GiB free, {needed / GIB:.1f} GiB needed"
    return ok(check, meaning) if there >= needed else missing(check, meaning, mend)
