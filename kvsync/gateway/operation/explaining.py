"""`kvsync explain`: what a gateway says of a request, for people."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from kvsync.access.peers import PeerClient, PeerError, Reply
from kvsync.errors import ConfigError

TIMEOUT_S = 30.0


def ask(gateway: str, body: bytes, key: str | None = None) -> str:
    """Ask a gateway why a request would go where it would. Raises ConfigError when it does not say."""
    url = f"{gateway.rstrip('/')}/index/explain"
    try:
        answer = asyncio.run(_post(url, body, {"x-api-key": key} if key else {}))
    except TimeoutError as error:
        raise ConfigError("kvsync explain", [f"{url}: no answer within {TIMEOUT_S:g} s"]) from error
    except (PeerError, UnicodeEncodeError) as error:
        raise ConfigError("kvsync explain", [f"{url}: {error}"]) from error
    try:
        said = answer.json()
    except ValueError:
        raise ConfigError(
            "kvsync explain", [f"{url} is not a gateway's: it answers {answer.status}"]
        ) from None
    if isinstance(said, dict) and "order" in said:
        return "\n".join(lines(said))
    why = said.get("error", {}).get("message", said) if isinstance(said, dict) else said
    raise ConfigError("kvsync explain", [f"{url}: {why}{_INSTEAD.get(answer.status, '')}"])


async def _post(url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    async with PeerClient() as client:  # trusts the system's authorities, or those of SSL_CERT_FILE
        return await client.ask("POST", url, headers=headers, content=body, timeout_s=TIMEOUT_S)


_INSTEAD = {401: "; give `kvsync explain` one in the variable KVSYNC_KEY"}


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
