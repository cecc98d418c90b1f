"""Runs one pod in the foreground, as `docker run` does a container, and ends with it.

`python -m kvsync.ci.services.pods.client`, with a PodTask in the variable KVSYNC_SERVICE_POD: it has
passwords, and so is no argument. It creates the pod, leads a port of this machine to it, and prints what it
writes. The exit status is that of the pod's container, or 125, as docker's, where that never ran. A signal
ends it, and the pod.
"""

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress

from kvsync.ci.services.pods.manifest import SERVICE_LABEL, objects
from kvsync.ci.services.pods.reason import has_started, is_settled, why_not
from kvsync.ci.services.pods.task import VARIABLE, PodTask
from kvsync.ci.services.server import NOT_STARTED
from kvsync.ci.services.service import HOST
from kvsync.errors import KVSyncError
from kvsync.testing.clusters.kubernetes.api import KubernetesApi, PodState
from kvsync.testing.clusters.kubernetes.forward import forwarded, through_api
from kvsync.testing.errors import ClusterError, WaitTimeout
from kvsync.testing.processes.wait import wait_for

INTERVAL_S = 0.3
"""How often the API server is asked about a pod that starts."""

GONE_S = 60.0
"""For an earlier pod of the name to go."""

HEARD_S = 5
"""For Kubernetes to say that a container has ended whose log has."""

FOREVER_S = 7 * 24 * 3600.0
"""Who started this knows how long the pod may take to start, and ends it then."""


def main(environ: Mapping[str, str]) -> int:
    """Run the pod of the variable to its end."""
    task = PodTask.read(environ[VARIABLE])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    pod = _Pod(task)
    try:
        pod.create()
        return pod.attend()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (KVSyncError, OSError) as exc:
        print(exc, flush=True)
        return NOT_STARTED
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        with suppress(ClusterError):  # the namespace is deleted with all that is left in it
            pod.delete()


class _Pod:
    def __init__(self, task: PodTask) -> None:
        self._task, self._api = task, KubernetesApi(task.machine)
        self._name, self._uid = task.service.name, ""

    def create(self) -> None:
        """Create it, once an earlier one of the name is gone."""
        if self._state():
            self.delete()
            wait_for(lambda: not self._state(), what="the pod before it is gone", timeout_s=GONE_S)
        self._api.delete_secret(self._task.namespace, self._name)
        self._api.create(objects(self._task.service), self._task.namespace)
        created = self._state()
        self._uid = created.uid if created else ""

    def delete(self) -> None:
        """Kill it, if it is there."""
        self._api.delete_pod(self._task.namespace, self._name, grace_s=0)

    def attend(self) -> int:
        """Wait until it runs, and then until it has ended; returns the exit status."""
        task = self._task
        if has_started(self._settled()):
            way = through_api(task.machine, task.namespace, self._name, task.service.port)
            with forwarded(way, (HOST, task.local_port), self._say):
                self._follow()
        else:
            self._print_log()
        pod = self._state()
        self._say(why_not(pod, self._task.service.image))
        if pod is None:
            return 128 + signal.SIGKILL
        return NOT_STARTED if pod.exit_code is None else pod.exit_code

    def _settled(self) -> PodState | None:
        """Wait until it runs or never will, and say meanwhile what it waits for."""
        said = ""

        def settled() -> bool:
            nonlocal said
            if (pod := self._state()) is None or is_settled(pod):
                return True
            if (why := why_not(pod, self._task.service.image)) != said:
                self._say(why)
            said = why
            return False

        wait_for(settled, what="the pod runs", timeout_s=FOREVER_S, interval_s=INTERVAL_S)
        return self._state()

    def _follow(self) -> None:
        """Print what it writes until it has ended."""
        self._print_log()
        while True:
            with suppress(WaitTimeout):
                wait_for(
                    lambda: not has_started(self._state()),
                    what="Kubernetes says how it ended",
                    timeout_s=HEARD_S,
                    interval_s=INTERVAL_S,
                )
                return
            self._print_log(since_s=HEARD_S)  # only the connection had ended

    def _print_log(self, since_s: int | None = None) -> None:
        with suppress(ClusterError):  # of a container that never was, there is none
            for piece in self._api.follow_log(self._task.namespace, self._name, since_s=since_s):
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()

    def _say(self, why: str) -> None:
        print(f"pod {self._task.namespace}/{self._name}: {why}", flush=True)

    def _state(self) -> PodState | None:
        found = self._api.pods(self._task.namespace, f"{SERVICE_LABEL}={self._name}")
        return next((each for each in found if not self._uid or each.uid == self._uid), None)


if __name__ == "__main__":
    sys.exit(main(os.environ))  # noqa: TID251  # this is an entry point
