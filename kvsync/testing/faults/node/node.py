"""A node of a Kind cluster: a container of this machine's Docker, in which commands are run.

All that is used there comes with Kind's node images: `ctr`, `nsenter`, `ip`, `iptables`, `tc`, `ss`, `ps` and
`bash`. There is no shell in between: commands are lists of words.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from kvsync.testing.errors import ClusterError
from kvsync.testing.faults.effects import ANSWERED, REFUSED, SILENCE_S, SILENT
from kvsync.testing.faults.node.rules import connections
from kvsync.testing.processes.tools import ON_PATH, ToolAnswer, Tools
from kvsync.testing.results.verdicts import NotRun

ANSWER_S = 15.0
"""For a short command in a node; on a busy machine Docker takes seconds to start one."""

ACCEPTED = f"accepted and {SILENT}"
"""What a connection gets that is made and then hears nothing."""

CONTAINERS = ("ctr", "--namespace=k8s.io")

GREETING = 'exec 3<>"/dev/tcp/$0/$1" && echo open && head --bytes=1 <&3 | wc --bytes'
"""Prints "open" when the connection is made, then 1 when the peer sends something, 0 when it only closes."""

TIMED_OUT = 124
"""The exit code of timeout(1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process on a node."""

    pid: int
    parent: int
    state: str
    resident_bytes: int
    command: str

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a line of `ps` with the columns LISTED. Pure."""
        pid, parent, state, resident_kib, command = line.split(maxsplit=4)
        return cls(
            pid=int(pid),
            parent=int(parent),
            state=state,
            resident_bytes=int(resident_kib) << 10,
            command=command,
        )


LISTED = "pid=,ppid=,stat=,rss=,args="


@dataclass(frozen=True, slots=True)
class Node:
    """One node, by the name of its container."""

    name: str
    tools: Tools = ON_PATH

    def ask(self, *words: str) -> ToolAnswer:
        """Run a command to its end, however that is."""
        return self.tools.ask("docker", "exec", self.name, *words, timeout_s=ANSWER_S)

    def run(self, *words: str) -> str:
        """Run a command and return what it printed. Raises ClusterError when it fails."""
        answer = self.ask(*words)
        if not answer.ok:
            reason = answer.errors.strip() or answer.reason
            raise ClusterError(f"cannot run {' '.join(words)} on {self.name}: {reason}")
        return answer.output

    def main_pid(self, container: str) -> int | None:
        """Return the id of a container's main process, None when it does not run."""
        tasks = [line.split() for line in self.run(*CONTAINERS, "task", "ls").splitlines()]
        return next((int(pid) for id_, pid, state in tasks if id_ == container and state != "STOPPED"), None)

    def processes(self, container: str) -> list[Process]:
        """Return the processes of a running container. Raises ClusterError when it does not run."""
        _, *tasks = self.run(*CONTAINERS, "task", "ps", container).splitlines()
        pids = ",".join(task.split()[0] for task in tasks)
        return [Process.parse(line) for line in self.run("ps", "-o", LISTED, "-p", pids).splitlines()]

    def cpu_s(self, pids: Iterable[int]) -> tuple[float, float]:
        """Return for how long these processes ran on a core, and for how long they waited for one."""
        times = self.run("cat", *(f"/proc/{pid}/schedstat" for pid in pids)).splitlines()
        ran, waited, _ = zip(*(map(int, line.split()) for line in times), strict=True)
        return sum(ran) / 1e9, sum(waited) / 1e9

    def reset(self, ports: Sequence[int], network: str = "") -> int:
        """Reset the open connections to ports, and return how many there were.

        The ports are those of a network namespace, or of the node itself. Raises NotRun when the kernel
        leaves them open.
        """
        are_open = bool(self.run(*connections(ports, network)))
        count = len(self.run(*connections(ports, network, reset=True)).splitlines())
        if are_open and not count:
            raise NotRun(f"the kernel of {self.name} cannot reset connections (INET_DIAG_DESTROY)")
        return count

    def images(self, name: str) -> list[str]:
        """Return the images on the node with this in their names."""
        return self.run(*CONTAINERS, "images", "ls", "--quiet", f'name~="{name}"').splitlines()

    def network_of(self, pid: int) -> str:
        """Return the path of a process' network namespace, which a pod keeps when its container restarts."""
        if found := self.run("ip", "netns", "identify", str(pid)).split():
            return f"/run/netns/{found[0]}"
        raise ClusterError(f"process {pid} on {self.name} has no network namespace of its own")

    def peer_of(self, network: str) -> str:
        """Return the node's end of the link that is eth0 in a network namespace."""
        inner = self.run("nsenter", f"--net={network}", "ip", "-oneline", "link", "show", "eth0")
        index = re.search(r"eth0@if(\d+):", inner)
        links = dict(re.findall(r"^(\d+): ([^@:]+)[@:]", self.run("ip", "-oneline", "link"), re.MULTILINE))
        if index is None or index[1] not in links:
            raise ClusterError(f"eth0 in {network} has no other end on {self.name}: {inner.strip()}")
        return str(links[index[1]])

    def knock(self, host: str, port: int, network: str = "") -> str:
        """Say in words what a connection to a ZeroMQ socket gets, which greets every client.

        It is made from the node, or from within a network namespace of it.
        """
        inside = ("nsenter", f"--net={network}") if network else ()
        return greeting(self.ask(*inside, "timeout", str(SILENCE_S), "bash", "-c", GREETING, host, str(port)))


def greeting(answer: ToolAnswer) -> str:
    """Say in words what an attempt to be greeted came to. Pure."""
    match answer.output.split():
        case ["open", "1"]:
            return ANSWERED
        case [*said] if answer.exit_code == TIMED_OUT:
            return ACCEPTED if said else SILENT
    if "connection refused" in answer.errors.lower():
        return REFUSED
    return f"broken off ({answer.reason})"
