"""What the answers of docker and kind mean for a Kind cluster. Pure."""

import re
from collections.abc import Collection, Sequence

from kvsync.ci.doctor.findings import Finding, missing, ok, unavailable
from kvsync.testing.processes.tools import ToolAnswer

_BUILT_IN = re.compile(rb"kindest/node:v[0-9][\w.-]*@sha256:[0-9a-f]{64}")

BUILT_FROM = ("infra/docker/Dockerfile", "requirements.lock", "kvsync")
"""What a repository has that the image of gateway and simulator can be built from."""

_NO_WAY = re.compile(r"dial tcp|lookup|timeout|did not answer|connection|EOF|TLS", re.I)
"""What a client says when it did not get an answer from the registry."""

KERNEL_PROBE = """
tc qdisc replace dev lo root netem delay 1ms && echo netem
tc qdisc del dev lo root
tc qdisc replace dev lo root tbf rate 1mbit burst 32kbit latency 400ms && echo tbf
iptables -A OUTPUT -m statistic --mode random --probability 0.5 -j DROP && echo iptables
exit 0
"""
"""For a shell in its own network namespace: prints the name of each feature that the kernel has."""

_MEANS = {
    "netem": "delay, jitter, corruption and reordering on the nodes will be not run",
    "tbf": "bandwidth limits on the nodes will be not run",
    "iptables": "partitions, blocked ports and packet loss on the nodes will be not run",
}


def no_image(absent: Sequence[str]) -> Finding:
    """Judge a repository that lacks these paths of BUILT_FROM, where no image is set."""
    return missing(
        "image",
        f"none is set, and none can be built: the tested repository has no {', '.join(absent)}",
        "set KVSYNC_CI_IMAGE, or `image` in the table [cluster] of kvsync-ci.toml, to one with gateway and "
        "simulator that is here; infra/docker/Dockerfile of kvsync builds it",
    )


def docker(version: ToolAnswer) -> Finding:
    """Judge the answer of `docker version --format {{.Server.Version}}`."""
    if version.ok and version.lines:
        return ok("docker", f"version {version.lines[0].strip()}")
    reason, said = version.reason, version.reason.lower()
    if "not installed" in said:
        mend = "install Docker: https://docs.docker.com/engine/install/"
    elif "permission denied" in said:
        mend = "sudo usermod -aG docker $USER, then log in again"
    elif "context" in said and "not found" in said:
        mend = "docker context use default"
    else:
        mend = "start it (sudo systemctl start docker, or Docker Desktop), and check DOCKER_HOST"
    return missing("docker", reason, mend)


def kind(version: ToolAnswer) -> Finding:
    """Judge the answer of `kind version`."""
    if version.ok and version.lines:
        return ok("kind", version.lines[0].strip())
    return missing("kind", version.reason, "install it: https://kind.sigs.k8s.io/docs/user/quick-start/")


def built_in_image(program: bytes) -> str | None:
    """Return the node image that this `kind` was released with, found in its binary: no command prints it."""
    found = _BUILT_IN.search(program)
    return found[0].decode() if found else None


def absent_image(
    check: str, name: str, *, registry: ToolAnswer, setting: str, instead: Collection[str]
) -> Finding:
    """Judge whether an image that is not here can be pulled, by the answer of `docker manifest inspect`.

    `setting` is the variable that selects another image; `instead` are similar images that are here.
    """
    if registry.ok:
        return ok(check, f"{name} is not here; it will be pulled")
    use = f"set {setting} to one that is here ({', '.join(sorted(instead))}), or " if instead else ""
    meaning = f"{name} is not here, and cannot be pulled: {registry.reason}"
    if _NO_WAY.search(registry.reason):
        mend = f"{use}`docker pull {name}` and `docker save` where there is a network, `docker load` here"
    else:
        mend = f"{use}correct {setting}, or `docker login`"
    return missing(check, meaning, mend)


def similar(name: str, images: Sequence[str]) -> list[str]:
    """Return the images that belong to the same repository."""
    repository = re.split(r"[:@](?!.*/)", name)[0]
    return [each for each in images if re.split(r"[:@](?!.*/)", each)[0] == repository]


def cluster_name(name: str, clusters: Collection[str]) -> Finding:
    """Judge the name of the cluster that a run makes, given those that exist; "" if it is not known yet."""
    check = "cluster name"
    ours = sorted(each for each in clusters if each.startswith("kvsync-"))
    if name in clusters:
        return missing(
            check,
            f"a Kind cluster named {name} exists already",
            f"kind delete cluster --name {name}, or use it: --reuse {name}",
        )
    if ours:
        return ok(
            check, f"free; other runs have {', '.join(ours)} (`kvsync-ci clean` deletes those of killed runs)"
        )
    return ok(check, "free")


def kernel(probe: ToolAnswer | None) -> list[Finding]:
    """Judge the answer of KERNEL_PROBE; None when there is no image yet to run it in."""
    found = []
    for means, without in _MEANS.items():
        check = f"kernel: {means}"
        if probe is None:
            found.append(unavailable(check, f"not known until the node image is here; without it {without}"))
        elif means in probe.lines:
            found.append(ok(check, "the nodes have it"))
        elif probe.ok:
            found.append(unavailable(check, without, "use another kernel"))
        else:
            found.append(unavailable(check, f"could not be determined: {probe.reason}; without it {without}"))
    return found
