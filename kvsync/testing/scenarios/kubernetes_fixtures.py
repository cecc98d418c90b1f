"""What tests against a real API server share, as pytest fixtures; a conftest imports those it wants.

`KVSYNC_CI_TEST_KUBECONFIG` is the path of a kubeconfig whose current context these tests may change,
`KVSYNC_CI_TEST_MACHINE` that of a `machine.json` with a Kind cluster, which has the image on its nodes, and
`KVSYNC_CI_CHAOS_CRDS` a folder with Chaos Mesh's definitions of its kinds. Without them tests are skipped.
The client of Kubernetes takes a second to import, which other tests do without.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.kubernetes.manifests import MANAGED
from kvsync.testing.processes.wait import wait_for

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

KUBECONFIG = "KVSYNC_CI_TEST_KUBECONFIG"
MACHINE = "KVSYNC_CI_TEST_MACHINE"
CHAOS_CRDS = "KVSYNC_CI_CHAOS_CRDS"
READY_TIMEOUT_S = 20.0


def _path(variable: str, what: str) -> Path:
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"needs {what} ({variable})")
    return Path(path)


@pytest.fixture(scope="session")
def test_kubeconfig() -> Path:
    """The kubeconfig of a cluster that is there for tests."""
    return _path(KUBECONFIG, "the kubeconfig of a cluster for tests")


@pytest.fixture(scope="session")
def test_machine() -> Machine:
    """A Kind cluster that is there for tests."""
    return Machine.read(_path(MACHINE, "the machine.json of a Kind cluster for tests"))


@pytest.fixture(scope="session")
def kubernetes_client(test_kubeconfig: Path) -> Iterator["ApiClient"]:
    """A client of that cluster."""
    from kubernetes.config import new_client_from_config

    client: ApiClient = new_client_from_config(str(test_kubeconfig))  # type: ignore[no-untyped-call]  # has no types
    with client:
        yield client


@pytest.fixture
def kubernetes_namespace(kubernetes_client: "ApiClient") -> Iterator[str]:
    """A namespace for one test, in which pods can be created; its deletion is not waited for."""
    from kubernetes.client import CoreV1Api, V1Namespace, V1ObjectMeta

    core, name = CoreV1Api(kubernetes_client), f"kvsync-test-{secrets.token_hex(4)}"
    core.create_namespace(V1Namespace(metadata=V1ObjectMeta(name=name, labels=MANAGED)))
    wait_for(
        lambda: core.list_namespaced_service_account(name).items,
        what=f"{name} has the service account that pods need",
        timeout_s=READY_TIMEOUT_S,
    )
    yield name
    core.delete_namespace(name)


@pytest.fixture(scope="session")
def chaos_crds(kubernetes_client: "ApiClient") -> None:
    """Chaos Mesh's kinds, known to that cluster; they stay, because other tests may use them."""
    from kubernetes.utils import FailToCreateError, create_from_dict

    from kvsync.testing.faults.chaosmesh.installation import kinds

    folder = _path(CHAOS_CRDS, "a folder with the definitions of Chaos Mesh's kinds")
    definitions = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))]
    for definition in definitions:
        try:
            create_from_dict(kubernetes_client, definition)  # type: ignore[no-untyped-call]  # as above
        except FailToCreateError as exc:
            if any(each.reason != "Conflict" for each in exc.api_exceptions):
                raise
    wanted = {definition["spec"]["names"]["kind"] for definition in definitions}
    wait_for(
        lambda: wanted <= kinds(kubernetes_client),
        what=f"the API server knows {', '.join(sorted(wanted))}",
        timeout_s=READY_TIMEOUT_S,
    )
