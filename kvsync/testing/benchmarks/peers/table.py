"""The peers that we measure ourselves against, and where they are: `KVSYNC_CI_PEERS` names a folder.

Each folder in it is a virtual environment with one or several peers, such as

    python -m venv FOLDER/dynamo && FOLDER/dynamo/bin/pip install ai-dynamo-runtime

Whoever measures says in which version. What is absent is not run: no number is made up or remembered.
"""

from dataclasses import dataclass
from pathlib import Path

from kvsync.testing.results.verdicts import NotRun

VARIABLE = "KVSYNC_CI_PEERS"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPeer:
    """A project that does what we do: what pip calls it, and the program in its environment that runs it."""

    distribution: str
    program: str


PEERS = {
    "dynamo": KnownPeer(distribution="ai-dynamo-runtime", program="python"),
    "vllm-router": KnownPeer(distribution="vllm-router", program="vllm-router"),
    "sglang-router": KnownPeer(distribution="sglang-router", program="sglang-router"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A peer that is there."""

    name: str
    version: str
    program: Path

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def find(folder: str | None, name: str) -> Installed:
    """Return a peer in one of the virtual environments of a folder. Raises NotRun with its mend."""
    peer = PEERS[name]
    if not folder:
        raise NotRun(
            f"{VARIABLE} names no folder of virtual environments; one with {peer.distribution} is needed"
        )
    place = Path(folder)
    if not place.is_dir():
        raise NotRun(f"{VARIABLE}: there is no folder {place}")
    pattern = f"*/lib/python*/site-packages/{peer.distribution.replace('-', '_')}-*.dist-info"
    for metadata in sorted(place.glob(pattern)):
        program = metadata.parents[3] / "bin" / peer.program
        if program.exists():
            version = metadata.name.removesuffix(".dist-info").partition("-")[2]
            return Installed(name=name, version=version, program=program)
    environment = place / name
    raise NotRun(
        f"{VARIABLE}: no environment in {place} has {peer.distribution}; make one with "
        f"`python -m venv {environment}` and `{environment}/bin/pip install {peer.distribution}`"
    )
