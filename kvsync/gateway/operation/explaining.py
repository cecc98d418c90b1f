"""`kvsync explain`: what a gateway says of a request, for people."""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from kvsync.errors import ConfigError


def ask(gateway: str, body: bytes) -> str:
    """Ask a gateway why a request would go where it would. Raises ConfigError when it does not say."""
    url = f"{gateway.rstrip('/')}/index/explain"
    try:
        answer = httpx.post(url, content=body, timeout=30, trust_env=False)
        said = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ConfigError("kvsync explain", [f"{url}: {error}"]) from error
    if not answer.is_success:
        raise ConfigError("kvsync explain", [f"{url}: {said.get('error', {}).get('message', said)}"])
    return "\n".join(lines(said))


def lines(said: Mapping[str, Any]) -> Iterator[str]:
    """Write an answer of `/index/explain` as lines."""
    blocks = ", ".join(f"{len(owns)} blocks of {size}" for size, owns in said["blocks"].items())
    model = f"{said['model']} with {said['lora']}" if said["lora"] else said["model"]
    yield f"model {model}: {said['tokens']} tokens, {blocks or 'of no known block size'}"
    if not said["order"]:
        yield "no pod serves it"
        return
    first, *others = said["order"]
    yield f"goes to {first} ({said['selection']}), predicted cached tokens: {said['predicted_cached_tokens']}"
    if others:
        yield f"then to {', '.join(others)}"
    if bounds := said.get("bounds"):
        yield (
            f"a prefix counts up to {bounds['load_with_prefix']} running requests, an expected one up to"
            f" {bounds['load_with_expected_prefix']}"
        )
    for each in said["candidates"]:
        rank = "" if each["rank"] is None else f" rank {each['rank']}"
        yield f"  {each['pod']}{rank} ({each['state']}, {each['running']} running): {each['why']}"
