"""An API server of Kubernetes, as far as pods are asked of it.

`kubernetes.aio` gives credentials, TLS and requests. Its `Watch` is not used: in 37.0 it begins again without
any pause when a connection ends, asks again with the version that a 410 has just refused, hands out a body
that is not JSON (a proxy's "502 Bad Gateway") as an event, and makes a model of every field of every pod.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration, CoreV1Api
from kubernetes.aio.config import load_incluster_config, load_kube_config
from pydantic import ValidationError

from kvsync.config import KubernetesConfig
from kvsync.errors import ApiRefused, ApiUnreachable
from kvsync.kube.pods import WATCH_EVENT, KubePodList, PodChange, Refusal, WatchFailure

ALL = "*"
"""The namespace that means all of them."""

GONE = 410
"""The version asked for is too old: what happened since then is forgotten."""

_OK = 200

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_TEXT_CHARS = 300
"""Enough of a message or a body to tell what it is."""


class WatchedNamespace(NamedTuple):
    """Which pods: those of one namespace of a cluster, or of ALL."""

    url: str
    namespace: str


class ApiServer:
    """An API server, and the identity we have there."""

    def __init__(
        self, settings: Configuration, *, identity: str, namespace: str, selector: str, timeout_s: float
    ) -> None:
        self.place = WatchedNamespace(settings.host, namespace)
        self._client = ApiClient(settings)
        self._identity = identity
        self._selector = selector
        self._timeout_s = timeout_s
        self._answer: aiohttp.ClientResponse | None = None

    async def close(self) -> None:
        """Close all connections, including one whose answer is still being read."""
        if self._answer:
            self._answer.close()
        await self._client.close()  # type: ignore[no-untyped-call]  # the library has no types here

    async def list(self) -> KubePodList:
        """All pods as they are now: no cache may answer a question without a version. Raises ApiUnreachable,
        ApiRefused."""
        with self.failures():
            answer = await self._get(_request_timeout=self._timeout_s)
            return KubePodList.model_validate_json(await answer.read())

    async def watch(self, version: str, watch_s: int) -> "Watch":
        """Follow what happens after a version, for `watch_s`. Raises ApiUnreachable, ApiRefused."""
        with self.failures():
            async with asyncio.timeout(self._timeout_s):
                answer = await self._get(
                    watch=True,
                    allow_watch_bookmarks=True,
                    resource_version=version,
                    timeout_seconds=watch_s,
                    _request_timeout=watch_s + self._timeout_s,
                )
        return Watch(self, answer)

    async def _get(self, **query: Any) -> aiohttp.ClientResponse:
        core = CoreV1Api(self._client)
        ask = (
            core.list_pod_for_all_namespaces_without_preload_content
            if self.place.namespace == ALL
            else partial(core.list_namespaced_pod_without_preload_content, self.place.namespace)
        )
        self._answer = answer = await ask(label_selector=self._selector, **query)
        if answer.status != _OK:
            raise self.refused(answer.status, _message(await answer.text(errors="replace")))
        return answer

    def refused(self, code: int, message: str) -> ApiRefused:
        """Say what to do about a refusal."""
        match code:
            case 401:
                text = f"the credentials of {self._identity} are not accepted; renew them"
            case 403:
                text = f"{message}; allow {self._identity} to list and watch pods there"
            case _:
                text = f"answered {code}: {message}"
        return ApiRefused(f"{self.place.url}: {text}", code)

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Make every failure of a request or an answer one of ours."""
        try:
            yield
        except TimeoutError as error:
            raise ApiUnreachable(f"{self.place.url}: no answer in time") from error
        except (OSError, aiohttp.ClientError) as error:
            raise ApiUnreachable(f"{self.place.url}: {_short(error)}") from error
        except ValueError as error:  # what pydantic raises, and aiohttp for a line without an end
            raise ApiRefused(f"{self.place.url}: the answer is not understood: {_short(error)}") from error


class Watch:
    """What becomes of the pods, line by line."""

    def __init__(self, server: ApiServer, answer: aiohttp.ClientResponse) -> None:
        self._server = server
        self._answer = answer

    async def next(self) -> PodChange | None:
        """Wait for a change; None: the API server ended the watch. Raises ApiUnreachable, ApiRefused."""
        with self._server.failures():
            line = await self._answer.content.readline()
            event = WATCH_EVENT.validate_json(line) if line else None
        if isinstance(event, WatchFailure):
            raise self._server.refused(event.object.code, _message(event.object.message))
        return event


async def connect(config: KubernetesConfig) -> ApiServer:
    """Read credentials and namespace, without asking the API server anything. Raises ApiRefused."""
    settings = Configuration()
    try:
        async with asyncio.timeout(config.timeout_s):
            identity, namespace = await _credentials(config, settings)
        return ApiServer(
            settings,
            identity=identity,
            namespace=namespace,
            selector=config.selector,
            timeout_s=config.timeout_s,
        )
    except Exception as error:  # a wrong kubeconfig fails in a dozen ways: no YAML, no key, no certificate
        if config.kubeconfig is None:
            raise ApiRefused(
                f"this is not a pod of a cluster; give kubernetes.kubeconfig: {_short(error)}"
            ) from error
        raise ApiRefused(f"kubeconfig {config.kubeconfig}: {_short(error)}") from error


async def _credentials(config: KubernetesConfig, settings: Configuration) -> tuple[str, str]:
    """Complete the settings; returns our identity and the namespace that is meant."""
    if config.kubeconfig is None:
        load_incluster_config(settings)  # type: ignore[no-untyped-call]  # as above
        return "this pod's service account", config.namespace or _own_namespace()
    file = config.kubeconfig.expanduser()
    file.stat()
    loader = await load_kube_config(  # type: ignore[no-untyped-call]  # as above
        str(file), config.context, settings, persist_config=False
    )
    context = loader.current_context
    namespace = config.namespace or context["context"].get("namespace") or "default"
    return f"context {context['name']} of {config.kubeconfig}", namespace


def _own_namespace() -> str:
    return _OWN_NAMESPACE.read_text().strip()


def _message(body: str) -> str:
    """The words of a Status; other bodies, such as a proxy's, as they are."""
    try:
        return _short(Refusal.model_validate_json(body).message)
    except ValidationError:
        return _short(body)


def _short(text: object) -> str:
    """One line, in case of an error without words its type."""
    return " ".join(str(text).split())[:_TEXT_CHARS] or type(text).__name__
