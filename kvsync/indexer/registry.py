"""Publishers that are registered while the indexer runs, besides those that a discovery lists.

The fields are those of Mooncake's RFC 1403 and of Dynamo's indexer. Each registration is one data-parallel
rank of an instance, and counts until it is taken back or the indexer ends.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, ValidationError

from kvsync.discovery import Discovery
from kvsync.errors import ConfigError, UnknownName
from kvsync.pods import Name, Pod, engine_host, path, problems

Key = tuple[str, int]
"""Instance and rank."""

TENANT = "default"
"""The only one: what is to be kept apart has a salt (`cache_salt`) or a model of its own."""


Instance = Annotated[str, Field(min_length=1), BeforeValidator(lambda it: str(it) if type(it) is int else it)]


class Unregistration(BaseModel):
    """Which instance to follow no longer, or which one of its ranks."""

    instance_id: Instance
    dp_rank: Annotated[int, Field(ge=0)] | None = None


class Registration(BaseModel):
    """What is said of a publisher; fields that mean nothing here, such as `type`, may be there."""

    instance_id: Instance
    model: Name = Field(validation_alias=AliasChoices("model_name", "modelname", "model"))
    endpoint: str
    replay_endpoint: str | None = None
    dp_rank: Annotated[int, Field(ge=0)] = 0
    tenant_id: str = Field(TENANT, validation_alias=AliasChoices("tenant_id", "routing_group"))
    lora_name: str | None = None
    additionalsalt: str | None = None

    def pod(self) -> Pod:
        """Return it as a pod of one rank. Raises ConfigError with all that cannot be followed."""
        wrong = [
            f"{name}: only {only!r} is followed: {why}"
            for name, given, only, why in (
                ("tenant_id", self.tenant_id, TENANT, "tenants are kept apart by their salts"),
                ("lora_name", self.lora_name or "", "", "events name their adapters"),
                ("additionalsalt", self.additionalsalt or "", "", "events name what enters their hashes"),
            )
            if given != only
        ]
        host, port = _tcp("endpoint", self.endpoint, wrong)
        at, replay = (
            _tcp("replay_endpoint", self.replay_endpoint, wrong) if self.replay_endpoint else (host, None)
        )
        if at != host:
            wrong.append(f"replay_endpoint: it has to be at {host}, as the endpoint is")
        if wrong:
            raise ConfigError("registration", wrong)
        return Pod(
            name=self.instance_id,
            model=self.model,
            host=host,
            event_port=port - self.dp_rank,
            replay_port=None if replay is None else replay - self.dp_rank,
            dp_rank=self.dp_rank,
        )


def _tcp(name: str, endpoint: str, wrong: list[str]) -> tuple[str, int]:
    """Return host and port of an endpoint."""
    try:
        parts = urlsplit(endpoint)
        if parts.scheme != "tcp" or not parts.hostname or not parts.port or len(endpoint.split()) > 1:
            raise ValueError("tcp://HOST:PORT is needed")
        return engine_host(parts.hostname), parts.port
    except ValueError as error:
        wrong.append(f"{name}: {error}, not {endpoint!r}")
        return "", 0


def read(model: type[BaseModel], body: object) -> BaseModel:
    """Read a request's body. Raises ConfigError with every problem."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise ConfigError("body", [f"{path(where)}: {what}" for where, what in problems(error)]) from error


class Registry:
    """A discovery of the pods of another one and of those that are registered."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self._registered: dict[Key, Pod] = {}
        self._listed: tuple[Pod, ...] = ()
        self._changed = asyncio.Event()

    @property
    def problem(self) -> str:
        """Why the latest list may be out of date; empty: it is not."""
        return self._discovery.problem

    @property
    def registered(self) -> Mapping[Key, Pod]:
        """What is registered now."""
        return self._registered

    def register(self, registration: Registration) -> None:
        """Follow a publisher, in place of an earlier one of this instance and rank.

        Raises ConfigError, also for an instance that is listed anyway.
        """
        if registration.instance_id in self._names():
            said = f"{registration.instance_id!r} is listed by the settings: give it another name"
            raise ConfigError("registration", [f"instance_id: {said}"])
        self._registered[registration.instance_id, registration.dp_rank] = registration.pod()
        self._changed.set()

    def unregister(self, instance: str, rank: int | None) -> list[Key]:
        """Follow an instance, or one of its ranks, no longer. Raises UnknownName."""
        gone = [key for key in self._registered if key[0] == instance and rank in (None, key[1])]
        if not gone:
            raise UnknownName("registered instance", instance, sorted({name for name, _ in self._registered}))
        for key in gone:
            del self._registered[key]
        self._changed.set()
        return gone

    async def watch(self) -> AsyncIterator[tuple[Pod, ...]]:
        """All pods there are: once at the beginning, then after each change."""
        listing = asyncio.create_task(self._follow())
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                if listing.done():
                    await listing
                listed = self._names()
                yield (*self._listed, *(pod for pod in self._registered.values() if pod.name not in listed))
        finally:
            listing.cancel()

    def _names(self) -> set[str]:
        return {pod.name for pod in self._listed}

    async def _follow(self) -> None:
        async for pods in self._discovery.watch():
            self._listed = pods
            self._changed.set()
