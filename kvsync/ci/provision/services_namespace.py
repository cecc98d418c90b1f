"""The namespace in which services of a run's stages are pods, from the first stage to the end of the run."""

from dataclasses import replace

from kvsync.ci.services.pods.manifest import namespace
from kvsync.testing.clusters.kubernetes.machine import Machine
from kvsync.testing.clusters.kubernetes.manifests import RUN_LABEL
from kvsync.testing.processes.ledger import Ledger, LedgerEntry

NAME = "services-of-stages"

FACT = "of_services"
"""By which it is told from the namespaces that tests make."""


def with_services(machine: Machine, ledger: Ledger) -> Machine:
    """Return the machine with such a namespace, which is in the ledger before it is made.

    One that an earlier attempt made is used again. Raises ClusterError.
    """
    # Only here: the client of Kubernetes takes a second to import.
    from kvsync.testing.clusters.kubernetes.api import KubernetesApi
    from kvsync.testing.clusters.kubernetes.provider import namespace_of

    api, name = KubernetesApi(machine), namespace_of(machine.namespace_prefix, ledger.run, NAME)
    if name not in api.namespaces(f"{RUN_LABEL}={ledger.run}"):
        ledger.intend("namespace", name, **{FACT: True}, **machine.access)
        api.create(namespace(name, ledger.run))
    return replace(machine, services=name)


def is_of_services(entry: LedgerEntry) -> bool:
    """Say whether an entry is for such a namespace."""
    return entry.kind == "namespace" and bool(entry.facts.get(FACT))
