"""An engine's own page of metrics, over HTTP: what it makes of its sources."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from kvsync.access.peers import PeerClient
from kvsync.events import Source
from kvsync.gateway.engines import Engines
from kvsync.pods import Pod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Background, Eventually

LINE = 'vllm:cache_config_info{{engine="{}",num_gpu_blocks="{}"}} 1.0\n'


class Page(BaseHTTPRequestHandler):
    """Two ranks of 512 blocks."""

    def do_GET(self) -> None:
        """Write the page."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write("".join(LINE.format(rank, 1024) for rank in range(2)).encode())

    def log_request(self, code: object = "", size: object = "") -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """Where an engine of two ranks serves its page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


async def test_a_pod_with_more_ranks_than_its_setting_is_doubted(
    background: Background, eventually: Eventually, port: int
) -> None:
    """Each of its sources is told so; one that says nothing, or cannot be reached, is not doubted."""
    short = Pod(name="short", model="m", host="127.0.0.1", port=port)
    right = Pod(name="right", model="m", host="127.0.0.1", port=port, replay_port=6000, dp_size=2)
    absent = Pod(name="absent", model="m", host="127.0.0.1", port=9)
    doubts: dict[tuple[str, int], str] = {}

    def doubt(source: Source, by: str, reason: str) -> None:
        doubts[source.pod, source.rank] = reason

    async with PeerClient() as client:
        engines = Engines(client, lambda: (short, right, absent), doubt)
        background(engines.run())
        await eventually(lambda: len(doubts) == 3)

        assert doubts["short", 0].startswith("the engine has 2 data-parallel ranks, dp_size is 1")
        assert (doubts["right", 0], doubts["right", 1]) == ("", "")
        assert [engines.blocks(Source("right", "m", rank)) for rank in range(3)] == [512, 512, None]
