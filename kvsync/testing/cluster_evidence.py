"""What a cluster looked like when a test in it did not pass: written to files, each for itself.

Evidence never hides the error that it is about: a part that cannot be had says why in its own file.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

import httpx

from kvsync.errors import KVSyncError
from kvsync.testing.cluster import GATEWAY, Cluster
from kvsync.testing.endpoints import NO_CERTIFICATES

TIMEOUT_S = 5.0
"""For each part: a gateway that hangs may be just what went wrong."""
MOST_PODS = 12
"""Pods whose blocks and logs are kept; of a hundred, more say nothing new."""

Part = Callable[[], str]
"""Reads one part of the evidence."""


@runtime_checkable
class Witness(Protocol):
    """A cluster that has more to say than any cluster does."""

    def evidence(self) -> Mapping[str, Part]:
        """Return how to read each part, by the name of its file."""


def collect(cluster: Cluster, folder: Path) -> list[Path]:
    """Write down what the cluster looks like now, and return the files; raises nothing of the cluster's."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, part in _parts(cluster).items():
        files.append(folder / name)
        files[-1].write_text(_read(part), encoding="utf-8", errors="replace")
    return files


def _parts(cluster: Cluster) -> dict[str, Part]:
    parts: dict[str, Part] = {"gateway.log": partial(cluster.logs, GATEWAY)}
    try:
        gateways, pods = cluster.gateways(), cluster.pods()
    except KVSyncError as exc:
        parts["cluster.txt"] = partial(str, exc)
        return parts
    for number, url in enumerate(gateways):
        parts[f"gateway-{number}-status.json"] = partial(_get, f"{url}/status")
        parts[f"gateway-{number}-index.json"] = partial(_get, f"{url}/index/dump")
    for pod in islice(pods, MOST_PODS):
        parts[f"{pod.name}.log"] = partial(cluster.logs, pod.name)
        parts[f"{pod.name}-blocks.json"] = partial(_get, f"{pod.admin_url}/blocks")
    if isinstance(cluster, Witness):
        parts |= cluster.evidence()
    return parts


def _read(part: Part) -> str:
    try:
        return part()
    except (KVSyncError, OSError, httpx.HTTPError) as exc:
        return f"(could not be read: {type(exc).__name__}: {exc})"


def _get(url: str) -> str:
    return httpx.get(url, timeout=TIMEOUT_S, verify=NO_CERTIFICATES, trust_env=False).text
