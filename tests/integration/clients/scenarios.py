"""The scenarios that all clients play, and the clients that are installed."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.clients.outcome import Outcome, read
from tests.integration.clients.plan import LEAVE, READ

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

CLIENTS = ("httpx", "curl", "aiohttp", "openai", "anthropic", "java")

WITHIN_S = 240.0
"""For all scenarios at two servers, on a busy machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One of scenarios.json, as sent to a model."""

    name: str
    path: str
    act: str
    body: bytes
    status: int
    answers: int
    output_tokens: int | None

    @property
    def is_left(self) -> bool:
        """Whether the client does not wait for the end."""
        return self.act == LEAVE

    def unlike(self, outcome: Outcome, *, counts: bool) -> list[str]:
        """Say what differs from what is expected; if it `counts`, also how long the answers are."""
        found = [f"status {outcome.status}"] if outcome.status != self.status else []
        if len(outcome.texts) != self.answers and not self.is_left:
            found.append(f"{len(outcome.texts)} answers")
        if counts and self.output_tokens is not None and outcome.output_tokens != self.output_tokens:
            found.append(f"{outcome.output_tokens} tokens")
        if self.answers and not self.is_left and len(outcome.endings) not in (0, self.answers):
            found.append(f"endings {outcome.endings}")
        if bool(outcome.error) != (self.status >= 400):
            found.append(f"error {outcome.error!r}")
        return found


def scenarios(model: str, *, without: Sequence[str] = ()) -> list[Scenario]:
    """Read the file; scenarios `only` for, or too long for, what a server is `without` are left out."""
    return [
        Scenario(
            name=each["name"],
            path=each["path"],
            act=each.get("act", READ),
            body=json.dumps({"model": model, **_expanded(each["body"])}).encode(),
            status=each["expect"]["status"],
            answers=each["expect"]["answers"],
            output_tokens=each["expect"].get("output_tokens"),
        )
        for each in json.loads((HERE / "scenarios.json").read_text("utf-8"))
        if each.get("only") not in without and not (each.get("long") and "long" in without)
    ]


def _expanded(value: Any) -> Any:
    """Write out what is to be repeated: `{"repeat": part, "times": count}`."""
    match value:
        case {"repeat": part, "times": count}:
            return part * count
        case dict():
            return {name: _expanded(its) for name, its in value.items()}
        case list():
            return [_expanded(its) for its in value]
        case _:
            return value


def command(client: str, environ: os._Environ[str] = os.environ) -> list[str]:
    """Return how a client is run. Skips where it is not installed, and says how to mend that."""
    if client == "java":
        if not (shutil.which("java") and shutil.which("javac")):
            pytest.skip("no JDK: put java and javac (11 or later) on the path, as `apt install default-jdk`")
        return ["java", "-XX:TieredStopAtLevel=1", "-Xmx256m", str(HERE / "WithJava.java")]
    if client == "curl" and not shutil.which("curl"):
        pytest.skip("no curl: put it on the path, as `apt install curl` does")
    if client in ("curl", "httpx"):
        return [sys.executable, str(HERE / f"with_{client}.py")]
    folder = environ.get("KVSYNC_CI_CLIENTS")
    if not folder:
        pytest.skip(
            "KVSYNC_CI_CLIENTS names no virtual environment with openai, anthropic, httpx and aiohttp"
        )
    python = Path(folder) / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(f"KVSYNC_CI_CLIENTS: there is no {python}")
    return [str(python), str(HERE / f"with_{client}.py")]


async def play(
    client: str, plan: Sequence[Scenario], folder: Path, *urls: str
) -> dict[str, dict[str, Outcome]]:
    """Let a client play scenarios at some servers; returns the outcomes by server and scenario."""
    for number, each in enumerate(plan):
        (folder / f"{number}.json").write_bytes(each.body)
    lines = [f"{each.name}\t{each.path}\t{each.act}\n" for each in plan]
    (folder / "plan.tsv").write_text("".join(lines), "utf-8")
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *command(client),
        str(folder),
        *urls,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            printed, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaints.decode()[-2000:]
    paths = {each.name: each.path for each in plan}
    found: dict[str, dict[str, Outcome]] = {url: {} for url in urls}
    for got in map(json.loads, printed.splitlines()):
        found[got["server"]][got["scenario"]] = read(got, paths[got["scenario"]])
    return found


def wrong(plan: Sequence[Scenario], outcomes: dict[str, Outcome], *, counts: bool = True) -> Iterator[str]:
    """Give what is not as a scenario expects it; an engine that ends when it likes `counts` its own way."""
    for each in plan:
        if each.name in outcomes and (how := each.unlike(outcomes[each.name], counts=counts)):
            yield f"{each.name}: {', '.join(how)}: {outcomes[each.name].error}"
