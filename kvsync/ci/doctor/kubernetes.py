"""What the answers of kubectl mean for a run in the user's own cluster. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kvsync.ci.cluster_settings import FILE
from kvsync.ci.doctor.findings import Finding, missing, ok, unavailable
from kvsync.testing.clusters.kubernetes.namespace import Namespace
from kvsync.testing.processes.tools import ToolAnswer

NEEDED = (
    ("create", "namespaces", ""),
    ("get", "namespaces", ""),
    ("list", "namespaces", ""),
    ("watch", "namespaces", ""),
    ("delete", "namespaces", ""),
    ("create", "deployments", "apps"),
    ("get", "deployments", "apps"),
    ("patch", "deployments", "apps"),
    ("patch", "deployments/scale", "apps"),
    ("delete", "deployments", "apps"),
    ("create", "services", ""),
    ("create", "configmaps", ""),
    ("create", "serviceaccounts", ""),
    ("create", "roles", "rbac.authorization.k8s.io"),
    ("create", "rolebindings", "rbac.authorization.k8s.io"),
    ("get", "pods", ""),
    ("list", "pods", ""),
    ("watch", "pods", ""),
    ("delete", "pods", ""),
    ("get", "pods/log", ""),
    ("get", "pods/proxy", ""),
    ("create", "pods/proxy", ""),
    ("update", "pods/proxy", ""),
    ("get", "pods/exec", ""),
    ("create", "pods/exec", ""),
    ("get", "services/proxy", ""),
    ("create", "services/proxy", ""),
    ("list", "events", ""),
)
"""What a run does, as verb, resource and API group: it deploys into its own namespaces.

`kubectl exec` gets the pod first, and then asks in one of two ways; `kubectl delete` waits with a watch. The
run itself does not watch pods, but grants gateways the right to, and one can grant only what one has.
"""

TO_DRAIN = (("get", "nodes", ""), ("patch", "nodes", ""), ("create", "pods/eviction", ""))

EXPERIMENTS = ("networkchaos", "podchaos", "stresschaos", "iochaos", "timechaos", "httpchaos")
TO_INJECT = tuple(
    (verb, kind, "chaos-mesh.org")
    for kind in EXPERIMENTS
    for verb in ("create", "get", "list", "watch", "patch", "delete")
)
"""What it also does where Chaos Mesh is installed."""

Right = tuple[str, str, str]
Rights = Sequence[Right]


@dataclass(frozen=True, slots=True)
class Contexts:
    """The contexts of a kubeconfig; `current` is "" if there is no current one."""

    names: Sequence[str]
    current: str

    @classmethod
    def read(cls, view: Mapping[str, object]) -> "Contexts":
        """Read what `kubectl config view -o json` prints."""
        listed = view.get("contexts")
        names = [str(each["name"]) for each in listed] if isinstance(listed, list) else []
        return cls(names, str(view.get("current-context") or ""))


def kubectl(version: ToolAnswer) -> Finding:
    """Judge the answer of `kubectl version --client -o json`."""
    match version.document:
        case {"clientVersion": {"gitVersion": str(number)}}:
            return ok("kubectl", number)
    return missing("kubectl", version.reason, "install it: https://kubernetes.io/docs/tasks/tools/")


def kubeconfig(view: ToolAnswer, path: Path | None) -> Finding:
    """Judge the answer of `kubectl config view -o json`; `path` is the file, if one was named."""
    mend = "name a kubeconfig: set KVSYNC_CI_KUBECONFIG=FILE, or KUBECONFIG as for kubectl"
    if path and not path.is_file():
        return missing("kubeconfig", f"there is no file {path}", mend)
    if not view.ok:
        return missing("kubeconfig", f"cannot be read: {view.reason}", mend)
    names = Contexts.read(view.document).names
    if not names:
        return missing("kubeconfig", f"{path or 'the kubeconfig that kubectl finds'} has no context", mend)
    return ok("kubeconfig", f"contexts: {', '.join(names)}")


def context(wanted: str | None, contexts: Contexts, allowed: Sequence[str]) -> Finding:
    """Judge the context that a run asked for; None stands for the current one."""
    valid = ", ".join(contexts.names)
    name = wanted or contexts.current
    if not name:
        return missing(
            "context", "there is no current context", f"--cluster kubeconfig:CONTEXT, one of: {valid}"
        )
    if name not in contexts.names:
        return missing("context", f"there is no context {name}", f"one of: {valid}")
    if name not in allowed:
        return missing(
            "context",
            f"{name} is not allowed: a run touches only contexts that are allowed by name",
            f"set KVSYNC_CI_ALLOWED_CONTEXTS={name}, or allowed_contexts in {FILE}, if runs may use that "
            "cluster",
        )
    return ok("context", f"{name} is allowed")


def api_server(version: ToolAnswer) -> Finding:
    """Judge the answer of `kubectl get --raw /version`."""
    match version.document:
        case {"gitVersion": str(number)}:
            return ok("API server", f"answers; Kubernetes {number}")
    mend = "try `kubectl version` in this context: is the cluster up and reachable, and the login valid?"
    return missing("API server", f"does not answer: {version.reason}", mend)


def hidden_login(version: ToolAnswer) -> Finding:
    """Return the finding about an API server that answers us, but not in the environment that tests get."""
    return missing(
        "API server",
        f"answers us, but not tests, whose environment has no secrets and no AWS_*: {version.reason}",
        "use a login that needs neither: a service account's token in the kubeconfig, or an exec plugin that "
        "reads files (put AWS_PROFILE and the like in its `env` there), and a proxy without a password",
    )


def reviews(rights: Rights) -> dict[str, object]:
    """Return the question that `permissions` judges the answer to, for `kubectl create -f -`."""
    return {"apiVersion": "v1", "kind": "List", "items": [_review(*right) for right in rights]}


REVIEW_OUTPUT = (
    "jsonpath={.spec.resourceAttributes.verb} {.spec.resourceAttributes.resource}"
    "/{.spec.resourceAttributes.subresource} {.status.allowed}{'\\n'}"
)
"""One line for each review: `create pods/proxy true`, `list pods/ false`."""


def permissions(answer: ToolAnswer) -> list[Finding]:
    """Judge the lines of REVIEW_OUTPUT for NEEDED and TO_DRAIN."""
    lacking, for_drains = _lacking(NEEDED, answer), _lacking(TO_DRAIN, answer)
    found = []
    if not answer.lines:
        mend = "ask the cluster's administrator"
        return [missing("permissions", f"could not be determined: {answer.reason}", mend)]
    if lacking:
        mend = "ask the cluster's administrator for a role that allows it"
        found.append(missing("permissions", f"not allowed: {', '.join(lacking)}", mend))
    else:
        found.append(ok("permissions", "everything that a run does is allowed"))
    if for_drains:
        without = f"not allowed: {', '.join(for_drains)}; draining a node will be not run"
        found.append(unavailable("permission to drain nodes", without, "the same, if these tests matter"))
    return found


def namespaces(answer: ToolAnswer, now: datetime) -> Finding:
    """Judge whether one of our namespaces is stuck, by `kubectl get namespaces -l ... -o json`."""
    items = answer.document.get("items")
    ours = [Namespace.read(item) for item in items] if isinstance(items, list) else []
    stuck = [each for each in ours if each.is_stuck(now)]
    if not answer.ok:
        return missing("namespaces", f"cannot be listed: {answer.reason}", "ask the cluster's administrator")
    if stuck:
        return missing(
            "namespaces",
            "; ".join(f"{each.name} is stuck in Terminating: {each.held_by}" for each in stuck),
            "delete what holds it, or remove its finalizers; then run `kvsync-ci clean`",
        )
    return ok("namespaces", f"of other runs: {', '.join(each.name for each in ours) or 'none'}")


def image(name: str | None) -> Finding:
    """Judge the image for the user's cluster: what is built here is not on its nodes."""
    if name:
        return ok("image", f"{name}; the cluster's nodes have to be able to pull it")
    mend = "build infra/docker/Dockerfile, push it where the cluster pulls from, and set KVSYNC_CI_IMAGE"
    return missing("image", "none is set, and one built here would not be on the nodes of your cluster", mend)


def chaos_mesh(resources: ToolAnswer, controllers: ToolAnswer, rights: ToolAnswer) -> Finding:
    """Judge `kubectl get crd -o name`, a list of its available controllers, and what we may do.

    The last of these are the lines of REVIEW_OUTPUT for TO_INJECT.
    """
    kinds = [line for line in resources.lines if line.endswith(".chaos-mesh.org")]
    without = "faults that need it will be not run"
    mend = "https://chaos-mesh.org/docs/production-installation-using-helm/"
    if not kinds:
        return unavailable("Chaos Mesh", f"not installed; {without}", mend)
    if not any(re.search(r" [1-9]\d*$", line) for line in controllers.lines):
        return unavailable("Chaos Mesh", f"its resources are known, but no controller runs; {without}", mend)
    if lacking := _lacking(TO_INJECT, rights):
        mend = "ask the cluster's administrator for a role that allows it, if these faults matter"
        return unavailable("Chaos Mesh", f"not allowed: {', '.join(lacking)}; {without}", mend)
    return ok("Chaos Mesh", f"kinds of experiment: {len(kinds)}; its controller runs")


def _review(verb: str, resource: str, group: str) -> dict[str, object]:
    name, _, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": name, "subresource": subresource}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }


def _lacking(rights: Rights, answer: ToolAnswer) -> list[str]:
    """Name the rights that the lines of REVIEW_OUTPUT do not grant."""
    granted = {" ".join(words[:2]) for words in map(str.split, answer.lines) if words[2:] == ["true"]}
    return [
        f"{verb} {resource}"
        for verb, resource, _ in rights
        if f"{verb} {resource if '/' in resource else resource + '/'}" not in granted
    ]
