"""The custom resource of one experiment on an API server: made, read, and removed within a bounded time."""

from dataclasses import asdict, dataclass
from typing import cast

from kubernetes.client import ApiClient, ApiException, CustomObjectsApi

from kvsync.testing.clusters.kubernetes.api_errors import NOT_FOUND, failures
from kvsync.testing.clusters.kubernetes.manifests import Manifest
from kvsync.testing.errors import WaitTimeout
from kvsync.testing.processes.wait import wait_for

REQUEST_TIMEOUT_S = 10.0
DELETE_TIMEOUT_S = 20.0
"""How long recovery may keep a deleted resource; a controller that is well needs about a second."""
FORCE_TIMEOUT_S = 5.0
INTERVAL_S = 0.2

FORCE = "chaos-mesh.chaos-mesh.org/cleanFinalizer"
"""With the value "forced", controllers drop the finalizer without recovering anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where a resource is; its fields are what a ledger holds besides the name and the cluster."""

    group: str
    version: str
    plural: str
    namespace: str
    name: str

    @property
    def facts(self) -> dict[str, str]:
        """All but the name, which a ledger's entry has itself."""
        return {key: value for key, value in asdict(self).items() if key != "name"}


class ExperimentResource:
    """One resource. Every call raises ClusterError when the API server cannot be asked or refuses."""

    def __init__(self, client: ApiClient, reference: Reference) -> None:
        self.reference = reference
        self._api = CustomObjectsApi(client)

    @property
    def _place(self) -> tuple[str, str, str, str]:
        where = self.reference
        return where.group, where.version, where.namespace, where.plural

    def create(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Create it and return what the API server made of it; a dry run only validates."""
        with failures(f"create {self.reference.name}"):
            made = self._api.create_namespaced_custom_object(
                *self._place,
                body=manifest,
                dry_run="All" if dry_run else None,
                _request_timeout=REQUEST_TIMEOUT_S,
            )
        return cast("Manifest", made)

    def read(self) -> Manifest | None:
        """Return it as it is now, None when it is gone."""
        with failures(f"read {self.reference.name}"):
            try:
                found = self._api.get_namespaced_custom_object(
                    *self._place, self.reference.name, _request_timeout=REQUEST_TIMEOUT_S
                )
            except ApiException as exc:
                if exc.status == NOT_FOUND:
                    return None
                raise
        return cast("Manifest", found)

    def annotate(self, key: str, value: str) -> None:
        """Set an annotation; does nothing when it is gone."""
        self._patch({"annotations": {key: value}})

    def remove(
        self, *, timeout_s: float = DELETE_TIMEOUT_S, force_timeout_s: float = FORCE_TIMEOUT_S
    ) -> bool:
        """Delete it and wait until it is gone; returns whether its finalizer had to be forced.

        Then what it did was not recovered, and traffic rules may be left in the pods it selected. First
        the controllers are asked to drop the finalizer; if none of them is alive, it is taken away. Raises
        WaitTimeout when even that did not help.
        """
        with failures(f"delete {self.reference.name}", unless=NOT_FOUND):
            self._api.delete_namespaced_custom_object(
                *self._place, self.reference.name, _request_timeout=REQUEST_TIMEOUT_S
            )
        try:
            self._await_gone(timeout_s)
        except WaitTimeout:
            self._force(force_timeout_s)
            return True
        return False

    def _force(self, timeout_s: float) -> None:
        self.annotate(FORCE, "forced")
        try:
            self._await_gone(timeout_s)
        except WaitTimeout:
            self._patch({"finalizers": None})
            self._await_gone(timeout_s)

    def _patch(self, metadata: Manifest) -> None:
        with failures(f"change {self.reference.name}", unless=NOT_FOUND):
            self._api.patch_namespaced_custom_object(
                *self._place,
                self.reference.name,
                body={"metadata": metadata},
                _request_timeout=REQUEST_TIMEOUT_S,
            )

    def _await_gone(self, timeout_s: float) -> None:
        wait_for(
            lambda: self.read() is None,
            what=f"{self.reference.name} is gone",
            timeout_s=timeout_s,
            interval_s=INTERVAL_S,
        )
