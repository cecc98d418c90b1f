"""Why a service's pod does not run, and what mends it. Pure."""

from kvsync.ci.services.pods.manifest import USER, WRITABLE
from kvsync.testing.clusters.kubernetes.api import PodState

UNPULLED = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")


def has_started(pod: PodState | None) -> bool:
    """Say whether its container runs."""
    return pod is not None and bool(pod.container_id) and not pod.trouble and not pod.is_over


def is_settled(pod: PodState | None) -> bool:
    """Say whether waiting will change nothing: it runs, has ended, or never will start."""
    return pod is not None and (has_started(pod) or pod.is_over or pod.is_hopeless)


def why_not(pod: PodState | None, image: str) -> str:
    """Say why it does not run, in Kubernetes' words, with what mends it; "" if it does."""
    if pod is None or pod.deleting:
        return "it was deleted"
    if has_started(pod):
        return ""
    kind = pod.trouble.partition(":")[0]
    if kind in UNPULLED:
        return (
            f"its image {image} cannot be pulled on node {pod.node}: {pod.trouble}; name one in [services] "
            "of kvsync-ci.toml that the nodes can pull, or for Kind have it on this machine (docker pull)"
        )
    if pod.exit_code is not None or pod.is_over or kind == "CrashLoopBackOff":
        status = "" if pod.exit_code is None else f" with exit code {pod.exit_code}"
        return (
            f"its program ended{status} ({pod.trouble or pod.phase}); what it wrote is above. It runs as "
            f"user {USER}, and may write to {', '.join(WRITABLE.values())} alone: name an image that can"
        )
    if pod.is_hopeless:
        return f"its container cannot be made: {pod.trouble}; name an image that user {USER} can start"
    if not pod.node:
        why = pod.trouble or "no node was chosen yet"
        return f"it is pending: {why}; end other pods, or give the cluster room for 128 MiB"
    return f"it is pending on node {pod.node}: {pod.trouble or 'its container is being made'}"
