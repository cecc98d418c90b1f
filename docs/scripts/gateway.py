"""Settings and metrics of the gateway, made from its code, and what its page has to name besides.

python docs/scripts/gateway.py            # print them
python docs/scripts/gateway.py --write    # bring docs/gateway.md up to date
"""

import argparse
import asyncio
import inspect
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
from prometheus_client.core import Metric
from pydantic import BaseModel, SecretStr
from starlette.routing import Route

from docs.scripts.reference import fields_table
from kvsync.access.keys import SHORTEST
from kvsync.access.settings import AccessConfig
from kvsync.config import GatewayConfig
from kvsync.discovery import StaticDiscovery
from kvsync.gateway.app import Gateway
from kvsync.gateway.relay import RANK_HEADER, ROUTING_HEADERS
from kvsync.gateway.server import running
from kvsync.pods import Pod
from kvsync.testing.clusters.local.addresses import LoopbackBlock

PAGE = Path(__file__).parents[1] / "gateway.md"
BEGIN, END = (
    "<!-- settings and metrics: docs/scripts/gateway.py -->\n",
    "<!-- end of settings and metrics -->\n",
)

ENDINGS = {"counter": "_total", "info": "_info"}
"""What Prometheus' text adds to the name of a metric."""

POD = Pod(name="a", model="m", host="127.0.0.1")


def tables() -> str:
    """Return the generated part of the page."""
    return "\n".join(["", *_settings(), *_metrics()])


def updated(page: str) -> str:
    """Return the page with today's tables."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}{tables()}\n{END}{rest.partition(END)[2]}"


def named() -> dict[str, list[str]]:
    """Return what the page has to name in its own words, by kind: in a code span, as it stands here."""
    routes = [route for route in _gateway().app().routes if isinstance(route, Route)]
    pod = asyncio.run(_status())
    (source,) = pod["sources"]
    return {
        "route": [re.sub(r"\{id(:path)?\}", "ID", route.path) for route in routes],
        "header": [*ROUTING_HEADERS, RANK_HEADER.decode()],
        "field of a pod": sorted(pod),
        "field of a source": sorted(source),
        "field of predictions": sorted(pod["predictions"]),
    }


async def _status() -> dict[str, Any]:
    """Return what a gateway says of a pod, as soon as it follows one that is not there."""
    config = GatewayConfig(host=LoopbackBlock(f"page {os.getpid()}").next().host, pods=(POD,))
    async with running(config) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        while True:
            pods = (await client.get("/status")).json()["pods"]
            if pods and pods[0]["sources"]:
                return dict(pods[0])
            await asyncio.sleep(0.01)


def _gateway(access: AccessConfig | None = None) -> Gateway:
    config = GatewayConfig(pods=(POD,), access=access or AccessConfig())
    return Gateway(config, StaticDiscovery(config.pods), random.Random(0))  # noqa: S311 - it chooses nothing


def _settings() -> Iterator[str]:
    yield f"## All settings\n\n{inspect.getdoc(GatewayConfig)}\n"
    yield _table(GatewayConfig)
    for name, model in _parts(GatewayConfig, ""):
        yield f"### `{name}`\n\n{inspect.getdoc(model)}\n"
        yield _table(model)


def _table(model: type[BaseModel]) -> str:
    """Return the fields of a model; a file may hold all of them, and tables stand below."""
    table = fields_table(model, {}).replace(", a secret: from the environment only", ", a secret")
    return table.replace("those of the installation", "see below")


def _parts(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Give the models within a model, each with the path to it."""
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield prefix + name, kind
                yield from _parts(kind, f"{prefix}{name}.")


def _metrics() -> Iterator[str]:
    yield "## All metrics\n"
    rows = "".join(f"| `{name}` | {text} |\n" for name, text in sorted(asyncio.run(_families()).items()))
    yield f"| metric | meaning |\n|---|---|\n{rows}"


async def _families() -> dict[str, str]:
    """Return the meaning of each metric, by its name and labels."""
    found: dict[str, str] = {}
    gateway = _gateway(AccessConfig(keys={"alice": SecretStr("k" * SHORTEST)}))
    gateway.app().build_middleware_stack()  # which counts by key
    for collector in [*gateway._metrics.registry._collector_to_names]:
        families: list[Metric] = [*collector.collect()]
        for family in families:
            labels = getattr(family, "_labelnames", None) or getattr(collector, "_labelnames", ())
            if family.type == "info":
                labels = sorted(family.samples[0].labels)
            name = family.name + ENDINGS.get(family.type, "")
            found[name + (f"{{{','.join(labels)}}}" if labels else "")] = family.documentation
    return found


def main() -> None:
    """Print the tables; with --write, also bring the page up to date."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    if parser.parse_args().write:
        PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(tables())


if __name__ == "__main__":
    main()
