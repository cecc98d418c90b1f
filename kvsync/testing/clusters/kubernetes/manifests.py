"""The manifests of infra/manifests, adapted to one test cluster. Pure, but for reading the files."""

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kvsync.testing.clusters.cluster import PortName

PORT_NUMBERS: Mapping[PortName, int] = {"http": 8000, "events": 5557, "replay": 5558}
"""Where the engines of infra/manifests listen."""


Manifest = dict[str, Any]
"""One Kubernetes object as plain values; each kind has its own shape."""

RUN_LABEL = "kvsync.dev/run"
MANAGED = {"app.kubernetes.io/managed-by": "kvsync-ci"}
MODEL_LABEL = "model.aibrix.ai/name"
GATEWAY_PORT, HTTP_PORT, ADMIN_PORT = 8080, 8000, 9000


@dataclass(frozen=True, slots=True)
class Manifests:
    """What a test cluster consists of, as the files have it."""

    namespace: Manifest
    access: Sequence[Manifest]
    gateway: Sequence[Manifest]
    engine: Manifest

    @classmethod
    def read(cls, folder: Path) -> "Manifests":
        """Read the files. Raises OSError, and yaml.YAMLError for a file that is not YAML."""

        def documents(name: str) -> list[Manifest]:
            return list(yaml.safe_load_all((folder / name).read_text(encoding="utf-8")))

        (namespace,), (engine,) = documents("namespace.yaml"), documents("engine.yaml")
        return cls(namespace, documents("access.yaml"), documents("gateway.yaml"), engine)


def namespace(manifests: Manifests, name: str, run: str) -> Manifest:
    """Return the namespace of one test cluster."""
    made = copy.deepcopy(manifests.namespace)
    made["metadata"]["name"] = name
    made["metadata"]["labels"] |= {RUN_LABEL: run}
    return made


def gateway(
    manifests: Manifests, *, image: str, settings: Mapping[str, object], replicas: int
) -> list[Manifest]:
    """Return the gateway's objects; `settings` go on top of those in the file."""
    objects = copy.deepcopy(list(manifests.gateway))
    for each in objects:
        if each["kind"] == "ConfigMap":
            written = json.loads(each["data"]["gateway.json"])
            each["data"]["gateway.json"] = json.dumps(written | settings, indent=1)
        elif each["kind"] == "Deployment":
            each["spec"]["replicas"] = replicas
            _container(each)["image"] = image
    return objects


def engines(manifests: Manifests, *, model: str, replicas: int, image: str, flags: Iterable[str]) -> Manifest:
    """Return the Deployment of a model's engines; `flags` go on top of those in the file."""
    made = copy.deepcopy(manifests.engine)
    made["metadata"]["name"] = deployment_name(model)
    made["spec"]["replicas"] = replicas
    made["spec"]["selector"]["matchLabels"][MODEL_LABEL] = model
    made["spec"]["template"]["metadata"]["labels"][MODEL_LABEL] = model
    container = _container(made)
    container["image"] = image
    container["args"] += ["--model", model, *flags]
    return made


def deployment_name(model: str) -> str:
    """Return what the Deployment of a model's engines is called."""
    return "engine-" + re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")


def _container(deployment: Manifest) -> Manifest:
    container: Manifest
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container
