"""What a temporary server of Prefect leaves out: what no run asks for, and what no one would see the end of.

Of what such a server imports, and prepares before its first answer, half is for others. Its docket, which
queues deletions and bulk changes, brings a client of Redis, a key-value store and a type checker (600
modules); FastAPI looks closely at each of 190 routes when it is declared.
"""

import sys
from collections.abc import Iterable
from functools import partial
from types import ModuleType
from typing import Self

ASKED_FOR = frozenset({"admin", "artifacts", "events", "flow_runs", "flows", "logs"})
"""What of its API a run asks for, and a client for the version. Anything else is answered with 404."""

ROUTED = frozenset(
    {"automations", "block_capabilities", "block_documents", "block_schemas", "block_types", "collections"}
    | {"concurrency_limits", "concurrency_limits_v2", "csrf_token", "deployments", "flow_run_states", "root"}
    | {"saved_searches", "task_run_states", "task_runs", "task_workers", "templates", "ui", "variables"}
    | {"work_queues"}
)
"""The other modules with routes. One that is imported by these all the same, such as `workers`, is there."""

UNUSED = (
    "docket",
    "docket.dependencies",
    "docket.execution",
    # It vacuums, marks late runs and the like, and looks for work twenty times a second.
    "prefect.server.api.background_workers",
)


FOR_PEOPLE = ("prefect.blocks.notifications", "prefect.blocks.webhook")
"""Prefect's own ways to tell people. A run has no use for them either; at their import, each describes its
fields, and there are four transports that read all certificates of this machine."""


class _Names(type):
    def __getattr__(cls, name: str) -> type:
        if name.startswith("_"):
            raise AttributeError(name)
        return cls


class Unused(metaclass=_Names):
    """Stands for all that a module has: Prefect declares with it what it would do."""

    def __init__(self, *_: object, **__: object) -> None:
        """Take what the real one takes."""

    async def __aenter__(self) -> Self:
        """Enter nothing."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave nothing."""


def leave_out(modules: Iterable[str]) -> None:
    """Have modules that have not been imported stand for nothing."""
    for name in modules:
        sys.modules[name] = module = ModuleType(name)
        vars(module)["__getattr__"] = partial(getattr, Unused)  # of the module, see PEP 562


def import_bare() -> ModuleType:
    """Import Prefect's server without what is left out; returns its module, which has `create_app`."""
    leave_out(UNUSED)
    from fastapi import APIRouter
    from prefect.server import api

    vars(api).update(dict.fromkeys(ROUTED, Unused))
    from prefect.logging import configuration
    from prefect.server.api import server
    from prefect.settings import Settings

    # Each lists all settings: to tell an app from others, of which there are none, and to set up what is.
    setattr(Settings, "hash_key", lambda _: "")  # noqa: B010  # mypy takes methods for constants
    setattr(configuration, "setup_logging", dict)  # noqa: B010  # as above
    # FastAPI prepares every router before the one that is asked for.
    routers = [each for each in server.API_ROUTERS if isinstance(each, APIRouter)]
    routers.sort(key=lambda each: each.prefix.strip("/") not in ASKED_FOR)
    setattr(server, "API_ROUTERS", tuple(routers))  # noqa: B010  # as above
    return server
