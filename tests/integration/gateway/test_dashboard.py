"""The dashboard and the alerts ask for what a gateway really shows: each metric, label and value."""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from kvsync.config import GatewayConfig
from kvsync.gateway.server import running
from kvsync.pods import Pod
from kvsync.testing.clusters.endpoints import NO_CERTIFICATES
from kvsync.testing.doubles.upstream import UNAVAILABLE, Upstream, listening
from tests.integration.gateway.conftest import ADDRESSES, until
from tests.integration.gateway.test_gateway import TOKENS, Site

ROOT = Path(__file__).parents[3]

DASHBOARD = ROOT / "infra/grafana/kvsync.json"
ALERTS = ROOT / "infra/grafana/alerts.yaml"

SELECTOR = re.compile(r"\b((?:kvsync|aibrix|process)_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\bby\s*\(([^)]*)\)")
NAMED = re.compile(r"\$labels\.(\w+)|\{\{(\w+)\}\}")

ADDED = {"instance", "job"}
"""Labels that Prometheus adds to whatever it scrapes."""

Samples = Mapping[str, Sequence[Mapping[str, str]]]
"""Labels of each sample, by name."""


def expressions() -> list[tuple[str, str]]:
    """Return every expression with the texts that show its labels."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [(target["expr"], target["legendFormat"]) for panel in panels for target in panel["targets"]]
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    return asked + [(rule["expr"], " ".join(rule["annotations"].values())) for rule in rules]


def problems(expression: str, text: str, samples: Samples) -> list[str]:
    """Say what an expression asks for that is not there."""
    wrong = []
    grouped = {label.strip() for labels in GROUPING.findall(expression) for label in labels.split(",")}
    for name, matchers in SELECTOR.findall(expression):
        shown = samples.get(name, [])
        labels = {label for sample in shown for label in sample} | ADDED
        if not shown:
            wrong.append(f"there is no {name}")
        wrong += [f"{name} has no label {label}" for label in grouped - labels]
        for label, how, value in MATCHER.findall(matchers):
            if label not in labels:
                wrong.append(f"{name} has no label {label}")
            elif how == "=" and value not in {sample.get(label) for sample in shown}:
                wrong.append(f"{name} has no {label} {value}")
        wrong += [
            f"{label} is shown but not known"
            for label in {first or second for first, second in NAMED.findall(text)}
            if label not in (grouped | ADDED if grouped else labels)
        ]
    return wrong


@pytest.fixture
async def scraped(tmp_path: Path) -> AsyncIterator[Samples]:
    """What a gateway shows to which everything has happened that is counted."""
    async with AsyncExitStack() as stack:
        site = Site(stack)
        engine = await site.engine("a")
        site.pods.append(Pod(name="full", model="base", host=ADDRESSES.next().host))
        await stack.enter_async_context(listening(site.pods[-1], Upstream(answer=UNAVAILABLE)))
        given = {
            "host": ADDRESSES.next().host,
            "pods": site.pods,
            "health": {"interval_s": 60},
            "routing": {"policy": "round_robin"},
            "snapshots": {"folder": tmp_path, "interval_s": 0.05},
        }
        url = await stack.enter_async_context(running(GatewayConfig.model_validate(given)))
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=url, timeout=10, verify=NO_CERTIFICATES)
        )

        async def page() -> str:
            request = {"model": "base", "prompt": TOKENS, "max_tokens": 2}
            await client.post("/v1/completions", json=request)
            return (await client.get("/metrics")).text

        engine.publisher.publish(b"garbage")
        counted = ("predictions_total", "retries_total", "upstream_failures_total", "events_skipped_total")
        wanted = (*(f"kvsync_{name}{{" for name in (*counted, "pod_engine_requests")), 'outcome="written"')
        text = ""

        async def complete() -> bool:
            nonlocal text
            text = await page()
            return all(part in text for part in wanted)

        await until(complete, bool)
        found: dict[str, list[Mapping[str, str]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append(sample.labels)
        yield found


async def test_every_expression_asks_for_what_there_is(scraped: Samples) -> None:
    """In a real scrape of a gateway."""
    asked = expressions()

    assert len(asked) > 40
    assert {
        expression: wrong for expression, text in asked if (wrong := problems(expression, text, scraped))
    } == {}


@pytest.mark.parametrize(
    ("expression", "text", "wrong"),
    [
        ('sum by (pod) (kvsync_a{by="x"})', "{{pod}} $labels.instance", []),
        ("kvsync_b", "", ["there is no kvsync_b"]),
        ("sum by (rank) (kvsync_a)", "", ["kvsync_a has no label rank"]),
        ('kvsync_a{rank=~"x"}', "", ["kvsync_a has no label rank"]),
        ('kvsync_a{by="y"}', "", ["kvsync_a has no by y"]),
        ("sum by (pod) (kvsync_a)", "{{by}}", ["by is shown but not known"]),
    ],
    ids=["right", "metric", "grouping", "label", "value", "text"],
)
def test_what_is_not_there_is_found(expression: str, text: str, wrong: Sequence[str]) -> None:
    """Each kind of mistake is named."""
    assert problems(expression, text, {"kvsync_a": [{"pod": "p", "by": "x"}]}) == wrong
