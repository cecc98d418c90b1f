"""Keeps services alive, and ends them in order.

A service that ends is started again: at once the first time, then later and later until it has lived for a
minute. However the supervisor dies, the kernel ends its services (see child).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from kvsync.ci.concealment import sealed
from kvsync.ci.stages.environment import secrets_apart

TICK_S = 0.2
"""How often the services are looked at."""

HEALTHY_S = 60.0
"""A service that lived this long failed for a new reason: it is started again at once."""

LONGEST_S = 30.0
"""The longest wait before a start."""

LOG_BYTES = 10 * 1024**2
"""A log that is larger when its service starts makes room for a new one; one older log is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisedCommand:
    """A command to be kept alive. `grace_s`: how long it may take to end after SIGTERM.

    `parting` is the signal that it gets when the supervisor dies.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    grace_s: float = 10.0
    parting: signal.Signals = signal.SIGKILL


def delay_s(deaths: int) -> float:
    """Return the wait before the start that follows this many deaths, none of them after a healthy life."""
    return 0.0 if deaths <= 1 else min(2.0 ** (deaths - 2), LONGEST_S)


@dataclass(slots=True)
class ServiceLife:
    """A service, and how it went so far."""

    service: SupervisedCommand
    process: subprocess.Popen[bytes]
    started: float
    deaths: int = 0
    again_at: float | None = None


@dataclass(slots=True)
class Supervisor:
    """Starts services and keeps them alive while `watch` runs; call it from the main thread only."""

    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    lives: dict[str, ServiceLife] = field(default_factory=dict)

    def start(self, service: SupervisedCommand) -> None:
        """Start a service, which is kept alive from now on."""
        self.lives[service.name] = ServiceLife(service, spawn(service), self.clock())

    def watch(self, until: Callable[[], object], pause: Event) -> None:
        """Start again whatever ends, until a condition is true; `pause` cuts short the wait between looks."""
        while not until():
            for life in self.lives.values():
                self._look(life)
            pause.wait(TICK_S)

    def stop(self, name: str) -> None:
        """End a service for good: politely for the time of its grace, then for certain."""
        if life := self.lives.pop(name, None):
            end(life.process, life.service.grace_s)

    def _look(self, life: ServiceLife) -> None:
        now, service = self.clock(), life.service
        if life.again_at is not None:
            if now >= life.again_at:
                life.process, life.started, life.again_at = spawn(service), now, None
        elif (status := life.process.poll()) is not None:
            life.deaths = 1 if now - life.started > HEALTHY_S else life.deaths + 1
            wait_s = delay_s(life.deaths)
            life.again_at = now + wait_s
            self.say(
                f"{service.name} ended with {ending(status)} and starts again in {wait_s:.0f} s; "
                f"what it said is in {service.log}"
            )


def ending(status: int) -> str:
    """Name the way a process ended, such as `exit code 1` or `SIGKILL`."""
    return f"exit code {status}" if status >= 0 else signal.Signals(-status).name


def bound(argv: Sequence[str], handed: int | str, parting: signal.Signals = signal.SIGKILL) -> list[str]:
    """Return the command that gets a signal when this process dies; `handed`: see kvsync.ci.concealment."""
    words = map(str, (os.getpid(), int(parting), handed))
    return [sys.executable, "-m", "deployments.service.child", *words, *argv]


def spawn(service: SupervisedCommand) -> subprocess.Popen[bytes]:
    """Start a service once, in a session of its own, its output appended to its log."""
    log = service.log
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".old.log"))
    known, secret = secrets_apart(service.env)
    with log.open("ab") as output, sealed(secret) as handed:
        return subprocess.Popen(
            bound(service.argv, handed, service.parting),
            pass_fds=[handed],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=service.cwd,
            env=known,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """End a process within `grace_s`, and with it, for certain, its process group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
