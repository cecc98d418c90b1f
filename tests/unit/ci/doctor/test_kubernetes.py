"""What the answers of kubectl mean for a run in the cluster of a user, and that each problem has its mend."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kvsync.ci.doctor import kubernetes as findings
from kvsync.ci.doctor.findings import Finding, FindingState
from kvsync.ci.doctor.kubernetes import Contexts
from kvsync.testing.clusters.kubernetes.namespace import Namespace
from kvsync.testing.processes.tools import ToolAnswer

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
CONTEXTS = Contexts(["dev", "prod"], "dev")
NO_FILE = "name a kubeconfig: set KVSYNC_CI_KUBECONFIG=FILE, or KUBECONFIG as for kubectl"


def said(document: object) -> ToolAnswer:
    """Return the answer of a program that printed JSON."""
    return ToolAnswer(exit_code=0, output=json.dumps(document))


def failed(errors: str) -> ToolAnswer:
    """Return the answer of a program that failed."""
    return ToolAnswer(exit_code=1, errors=errors)


def namespace(name: str, **more: object) -> dict[str, object]:
    """Return a namespace as the API server has it; `more` goes into its metadata."""
    return {"metadata": {"name": name, **more}, "status": {"phase": "Active"}}


HELD = {
    "metadata": {
        "name": "kvsync-7",
        "labels": {"kvsync.dev/run": "7"},
        "deletionTimestamp": "2026-03-01T11:58:00Z",
    },
    "status": {
        "phase": "Terminating",
        "conditions": [
            {"type": "NamespaceDeletionContentFailure", "status": "False", "message": "All is well"},
            {
                "type": "NamespaceContentRemaining",
                "status": "True",
                "message": "Some resources are remaining: podchaos.chaos-mesh.org has 1 resource instances",
            },
            {
                "type": "NamespaceFinalizersRemaining",
                "status": "True",
                "message": "Some content in the namespace has finalizers remaining: chaos-mesh/records",
            },
        ],
    },
}
WHY = (
    "Some resources are remaining: podchaos.chaos-mesh.org has 1 resource instances; "
    "Some content in the namespace has finalizers remaining: chaos-mesh/records"
)


def test_kubectl_is_there_or_has_a_mend() -> None:
    """Its version is shown, or where it comes from."""
    version = said({"clientVersion": {"gitVersion": "v1.32.4"}})

    assert findings.kubectl(version) == Finding("kubectl", FindingState.OK, "v1.32.4")
    assert findings.kubectl(failed("kubectl is not installed")) == Finding(
        "kubectl",
        FindingState.MISSING,
        "kubectl is not installed",
        "install it: https://kubernetes.io/docs/tasks/tools/",
    )


@pytest.mark.parametrize(
    ("view", "path", "meaning"),
    [
        (said({}), Path("/nowhere/config"), "there is no file /nowhere/config"),
        (
            failed('error: error loading config file "x": yaml: line 1'),
            None,
            'cannot be read: error: error loading config file "x": yaml: line 1',
        ),
        (said({"contexts": None}), None, "the kubeconfig that kubectl finds has no context"),
    ],
    ids=["no file", "no kubeconfig", "empty"],
)
def test_a_kubeconfig_that_cannot_be_used_has_a_mend(
    view: ToolAnswer, path: Path | None, meaning: str
) -> None:
    """A file that is missing, not a kubeconfig or empty is told apart."""
    assert findings.kubeconfig(view, path) == Finding("kubeconfig", FindingState.MISSING, meaning, NO_FILE)


def test_the_contexts_of_a_kubeconfig_are_named() -> None:
    """They are what can be asked for."""
    view = said({"contexts": [{"name": "dev"}, {"name": "prod"}], "current-context": "dev"})

    assert findings.kubeconfig(view, None) == Finding("kubeconfig", FindingState.OK, "contexts: dev, prod")
    assert Contexts.read(view.document) == CONTEXTS
    assert Contexts.read({"contexts": None}) == Contexts([], "")


@pytest.mark.parametrize(
    ("wanted", "contexts", "allowed", "found"),
    [
        ("prod", CONTEXTS, ["prod"], Finding("context", FindingState.OK, "prod is allowed")),
        (None, CONTEXTS, ["dev"], Finding("context", FindingState.OK, "dev is allowed")),
        (
            "prod",
            CONTEXTS,
            ["dev"],
            Finding(
                "context",
                FindingState.MISSING,
                "prod is not allowed: a run touches only contexts that are allowed by name",
                "set KVSYNC_CI_ALLOWED_CONTEXTS=prod, or allowed_contexts in kvsync-ci.toml, if runs may use "
                "that cluster",
            ),
        ),
        (
            "moon",
            CONTEXTS,
            ["moon"],
            Finding("context", FindingState.MISSING, "there is no context moon", "one of: dev, prod"),
        ),
        (
            None,
            Contexts(["dev"], ""),
            ["dev"],
            Finding(
                "context",
                FindingState.MISSING,
                "there is no current context",
                "--cluster kubeconfig:CONTEXT, one of: dev",
            ),
        ),
    ],
    ids=["allowed", "current and allowed", "not allowed", "does not exist", "none current"],
)
def test_only_a_context_that_is_allowed_by_name_is_used(
    wanted: str | None, contexts: Contexts, allowed: list[str], found: Finding
) -> None:
    """Also the current context has to be allowed."""
    assert findings.context(wanted, contexts, allowed) == found


def test_an_api_server_that_does_not_answer_has_a_mend() -> None:
    """The finding carries what kubectl said."""
    refused = failed("E1121 memcache.go:265] x\nThe connection to the server 127.0.0.1:1 was refused")

    assert findings.api_server(said({"gitVersion": "v1.34.0"})) == Finding(
        "API server", FindingState.OK, "answers; Kubernetes v1.34.0"
    )
    assert findings.api_server(refused) == Finding(
        "API server",
        FindingState.MISSING,
        "does not answer: The connection to the server 127.0.0.1:1 was refused",
        "try `kubectl version` in this context: is the cluster up and reachable, and the login valid?",
    )


def lines(*without: str) -> ToolAnswer:
    """Return the answer to all reviews, where these rights are not granted."""
    rights = [*findings.NEEDED, *findings.TO_DRAIN, *findings.TO_INJECT]
    named = [f"{verb} {resource if '/' in resource else resource + '/'}" for verb, resource, _ in rights]
    return ToolAnswer(
        exit_code=0, output="\n".join(f"{n} {'false' if n in without else 'true'}" for n in named)
    )


def test_rights_that_a_run_needs_are_named_when_they_are_not_granted() -> None:
    """A subresource is another right than its resource."""
    assert findings.permissions(lines()) == [
        Finding("permissions", FindingState.OK, "everything that a run does is allowed")
    ]
    assert findings.permissions(lines("create namespaces/", "get pods/log")) == [
        Finding(
            "permissions",
            FindingState.MISSING,
            "not allowed: create namespaces, get pods/log",
            "ask the cluster's administrator for a role that allows it",
        )
    ]


def test_without_the_right_to_drain_nodes_only_that_is_not_run() -> None:
    """Draining a node is one scenario of many."""
    assert findings.permissions(lines("patch nodes/")) == [
        Finding("permissions", FindingState.OK, "everything that a run does is allowed"),
        Finding(
            "permission to drain nodes",
            FindingState.UNAVAILABLE,
            "not allowed: patch nodes; draining a node will be not run",
            "the same, if these tests matter",
        ),
    ]


def test_rights_that_cannot_be_found_out_are_missing() -> None:
    """No answer is no permission."""
    assert findings.permissions(failed("error: Forbidden")) == [
        Finding(
            "permissions",
            FindingState.MISSING,
            "could not be determined: error: Forbidden",
            "ask the cluster's administrator",
        )
    ]


def test_a_review_asks_for_one_right() -> None:
    """A right becomes a SelfSubjectAccessReview with its subresource apart."""
    assert findings.reviews([("get", "pods/log", "")]) == {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {
                    "resourceAttributes": {
                        "verb": "get",
                        "group": "",
                        "resource": "pods",
                        "subresource": "log",
                    }
                },
            }
        ],
    }


def test_a_namespace_stuck_in_terminating_is_named_with_what_holds_it() -> None:
    """Kubernetes' own words say what is left in it."""
    assert findings.namespaces(said({"items": [namespace("kvsync-8"), HELD]}), NOW) == Finding(
        "namespaces",
        FindingState.MISSING,
        f"kvsync-7 is stuck in Terminating: {WHY}",
        "delete what holds it, or remove its finalizers; then run `kvsync-ci clean`",
    )


def test_a_namespace_that_is_being_deleted_is_not_stuck_yet() -> None:
    """Only one that has taken over a minute is."""
    going = namespace("kvsync-9", deletionTimestamp="2026-03-01T11:59:00Z")

    assert findings.namespaces(said({"items": [going]}), NOW) == Finding(
        "namespaces", FindingState.OK, "of other runs: kvsync-9"
    )
    assert findings.namespaces(said({"items": []}), NOW) == Finding(
        "namespaces", FindingState.OK, "of other runs: none"
    )


def test_namespaces_that_cannot_be_listed_are_a_problem() -> None:
    """Whether one is in the way is then not known."""
    assert findings.namespaces(failed("Forbidden"), NOW).state is FindingState.MISSING


def test_a_namespace_is_read_with_its_labels_and_what_holds_it() -> None:
    """Finalizers of the namespace itself hold it, too; one that is not being deleted is held by nothing."""
    assert Namespace.read(HELD) == Namespace(
        name="kvsync-7",
        labels={"kvsync.dev/run": "7"},
        deleted_at=datetime(2026, 3, 1, 11, 58, tzinfo=UTC),
        held_by=WHY,
    )
    going = namespace("a", deletionTimestamp="2026-03-01T11:59:00Z", finalizers=["x/y"])
    assert Namespace.read(going).held_by == "finalizers of the namespace: x/y"
    assert Namespace.read(namespace("a", finalizers=["x/y"])).held_by == ""


def test_another_cluster_needs_an_image_that_it_can_pull() -> None:
    """What is built here is not there."""
    assert findings.image("registry/kvsync:1") == Finding(
        "image", FindingState.OK, "registry/kvsync:1; the cluster's nodes have to be able to pull it"
    )
    assert findings.image(None) == Finding(
        "image",
        FindingState.MISSING,
        "none is set, and one built here would not be on the nodes of your cluster",
        "build infra/docker/Dockerfile, push it where the cluster pulls from, and set KVSYNC_CI_IMAGE",
    )


RUNS = "chaos-controller-manager 3\n"
WITHOUT = "faults that need it will be not run"


@pytest.mark.parametrize(
    ("kinds", "controllers", "rights", "state", "meaning"),
    [
        ("", "", lines(), FindingState.UNAVAILABLE, f"not installed; {WITHOUT}"),
        (
            "customresourcedefinition.apiextensions.k8s.io/podchaos.chaos-mesh.org",
            "chaos-controller-manager \n",
            lines(),
            FindingState.UNAVAILABLE,
            f"its resources are known, but no controller runs; {WITHOUT}",
        ),
        (
            "x/podchaos.chaos-mesh.org",
            RUNS,
            lines("create podchaos/", "delete iochaos/"),
            FindingState.UNAVAILABLE,
            f"not allowed: create podchaos, delete iochaos; {WITHOUT}",
        ),
        (
            "x/podchaos.chaos-mesh.org\nx/other.example.org\nx/iochaos.chaos-mesh.org",
            RUNS,
            lines(),
            FindingState.OK,
            "kinds of experiment: 2; its controller runs",
        ),
    ],
    ids=["absent", "no controller", "not allowed", "runs"],
)
def test_chaos_mesh_needs_its_kinds_its_controller_and_rights(
    kinds: str, controllers: str, rights: ToolAnswer, state: FindingState, meaning: str
) -> None:
    """Without one of them its faults are not run, and the run starts."""
    known, running = (ToolAnswer(exit_code=0, output=text) for text in (kinds, controllers))

    found = findings.chaos_mesh(known, running, rights)

    assert (found.state, found.meaning) == (state, meaning)
