"""`kvsync explain`: what a gateway says of a request, for people."""

import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from kvsync.errors import ConfigError


def ask(gateway: str, body: bytes, key: str | None = None) -> str:
    """Ask a gateway why a request would go where it would. Raises ConfigError when it does not say."""
    url = f"{gateway.rstrip('/')}/index/explain"
    trusted = ssl.create_default_context()  # the system's authorities, or those of SSL_CERT_FILE
    headers = {"x-api-key": key} if key else {}
    try:
        answer = httpx.post(url, content=body, headers=headers, timeout=30, verify=trusted, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeEncodeError) as error:
        raise ConfigError("kvsync explain", [f"{url}: {error}"]) from error
    try:
        said = answer.json()
    except ValueError:
        raise ConfigError(
            "kvsync explain", [f"{url} is not a gateway's: it answers {answer.status_code}"]
        ) from None
    if isinstance(said, dict) and "order" in said:
        return "\n".join(lines(said))
    why = said.get("error", {}).get("message", said) if isinstance(said, dict) else said
    raise ConfigError("kvsync explain", [f"{url}: {why}{_INSTEAD.get(answer.reason_phrase, '')}"])


_INSTEAD = {"Unauthorized": "; give `kvsync explain` one in the variable KVSYNC_KEY"}


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
