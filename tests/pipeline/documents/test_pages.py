"""The documents keep their promises: links lead somewhere, and what a reader is told to type works."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import kvsync
from docs.scripts.pages import ROOT, anchors, broken, messages, outputs, pages, script, stuck
from docs.scripts.rooms import ROOTS
from kvsync.testing.clusters.local.addresses import LoopbackBlock
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.runner import run

RUNNABLE = [page for page in pages() if script(page.read_text(encoding="utf-8"))]


def test_links_lead_somewhere() -> None:
    """Every relative link, picture and anchor of every page exists."""
    assert {page.name: found for page in pages() if (found := broken(page))} == {}


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """A link without its file or its heading is named; links to other servers are not followed."""
    (tmp_path / "other.md").write_text("# One `kvsync-ci` page\n## Twice: read, and more\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](other.md) [b](other.md#one-kvsync-ci-page) [c](#here) [d](https://example.com/x#y)\n\n"
        "| [e](absent.md) | ![f](absent.png) |\n|---|---|\n| [g](other.md#three) | [h](#there) |\n"
    )

    assert anchors((tmp_path / "other.md").read_text()) == {"one-kvsync-ci-page", "twice-read-and-more"}
    assert broken(page) == ["absent.md", "absent.png", "other.md#three", "#there"]


def test_this_version_is_released_or_next() -> None:
    """CHANGELOG.md begins with what is not released; the newest release is this version, with its date."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, second = re.findall(r"^## (.+)$", text, re.M)[:2]

    assert first == "Unreleased"
    assert re.fullmatch(rf"{re.escape(kvsync.__version__)} - \d{{4}}-\d\d-\d\d", second)


def test_blocks_can_be_pasted() -> None:
    """No command of a block keeps the shell from the next one, and bash can read each page's blocks."""
    texts = {page.name: page.read_text(encoding="utf-8") for page in pages()}

    assert {name: found for name, text in texts.items() if (found := stuck(text))} == {}
    for name, text in texts.items():
        read = subprocess.run(["/bin/bash", "-n", "-c", script(text)], capture_output=True, text=True)
        assert (name, read.stderr) == (name, "")


def test_a_block_that_would_hang_is_found() -> None:
    """A service may come last, in the background, or show its help."""
    text = (
        "```sh\nvllm serve MODEL --kv-events-config '{\n}'\necho 1\n```\n\n```sh\n"
        "kvsync gateway --help      # ends\nA=1 kvsync gateway &\nkvsync tail tcp://x  # ends last\n```\n\n"
        "```sh\nA='b c' kvsync simulate \\\n  --name a\ntrue\n```\n"
    )

    assert stuck(text) == ["vllm serve MODEL --kv-events-config '{ }'", "A='b c' kvsync simulate   --name a"]


def test_messages_are_those_of_the_code() -> None:
    """Each message that the page on troubleshooting explains is one that a program prints."""
    files = [ROOT / "Makefile", *(file for root in ROOTS for file in (ROOT / root).rglob("*.py"))]
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    code = re.sub(r'"\s+f?"', "", code)
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")

    assert {part for part in messages(text) if part not in code} == set()


def test_tests_are_shown_as_they_are() -> None:
    """Each test that a page shows is the sample's own, word for word."""
    samples = "".join(
        file.read_text(encoding="utf-8") for file in (ROOT / "docs" / "sample").rglob("test_*.py")
    )
    shown = [
        block
        for name in ("end-to-end.md", "benchmarks.md", "chaos.md")
        for block in re.findall(
            r"```python\n(.+?)```", (ROOT / "docs" / name).read_text(encoding="utf-8"), re.S
        )
    ]

    assert shown
    assert [block for block in shown if block not in samples] == []


def test_only_marked_blocks_are_run() -> None:
    """Blocks that are marked runnable become one script, in their order; others are left out."""
    text = (
        "```sh runnable\necho 1\n```\n\n```sh\nmake run\n```\n\n```python runnable\nprint(2)\n```\n\n"
        "```text output\n1\n2\n```\n"
    )

    done = subprocess.run(
        ["/bin/bash", "-c", script(text)], capture_output=True, text=True, check=True, timeout=30
    )
    assert outputs(text) == [done.stdout]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_runnable_blocks(page: Path, tmp_path: Path, server: str) -> None:
    """All runnable blocks of a page succeed in one shell, and print what the page shows."""
    text = elsewhere(page.read_text(encoding="utf-8"), str(tmp_path))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "docs").symlink_to(ROOT / "docs")

    done = run(
        ["/bin/bash", "-euo", "pipefail", "-c", script(text)],
        log=tmp_path / "printed",
        timeout_s=240,
        ledger=Ledger(tmp_path / "ledger.jsonl"),
        cwd=tmp_path,
        env={"PATH": path, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": server},
    )

    assert done.exit_code == 0, done.tail
    assert [expected for expected in outputs(text) if expected not in done.tail] == [], done.tail


def elsewhere(text: str, seed: str) -> str:
    """Replace the addresses in a page by free ones: its readers have these to themselves, a test has not."""
    hosts = LoopbackBlock(seed)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    for written, free in (("127.0.0.2", hosts.next().host), ("127.0.0.3", hosts.next().host), ("8080", port)):
        text = text.replace(written, free)
    return text
