"""The client that asks peers: what it sends, and what it makes of any answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

import pytest

from kvsync.access.exchange import HEAD_BYTES, UNREAD_BYTES
from kvsync.access.peers import Disconnected, NotConnected, PeerClient, PeerError

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: 4\r\n\r\nwell"
IN_PARTS = OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n"


@dataclass
class Peer:
    """A peer that gives each request the same bytes for an answer, and then may close the connection."""

    answer: bytes
    closes: bool = False
    url: str = ""
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    tasks: set[asyncio.Task[object]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        self.connections += 1
        if task := asyncio.current_task():
            self.tasks.add(task)
        with closing(writer), suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                self.heads.append(head := await reader.readuntil(b"\r\n\r\n"))
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                self.contents.append(await reader.readexactly(int(length or 0)))
                writer.write(self.answer)
                await writer.drain()
                if self.closes:
                    return


@asynccontextmanager
async def peer(answer: bytes, *, closes: bool = False) -> AsyncIterator[Peer]:
    """Run one."""
    its = Peer(answer, closes)
    server = await asyncio.start_server(its.serve, "127.0.0.1", 0)
    async with server:
        its.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield its
        for task in its.tasks:
            task.cancel()
        await asyncio.gather(*its.tasks)


@pytest.fixture
async def client() -> AsyncIterator[PeerClient]:
    """A client that is open."""
    async with PeerClient() as opened:
        yield opened


async def test_a_request_is_sent_as_it_is_given(client: PeerClient) -> None:
    """Nothing is added to it but where it goes and how long it is."""
    async with peer(WHOLE) as its:
        answer = await client.ask("POST", f"{its.url}/a%20b?c=d", headers=[(b"X-Y", b"\xff")], content=b"{}")

    host = its.url.removeprefix("http://").encode()
    assert (answer.status, answer.content) == (200, b"well")
    assert its.heads == [
        b"POST /a%%20b?c=d HTTP/1.1\r\nhost: %b\r\nX-Y: \xff\r\ncontent-length: 2\r\n\r\n" % host
    ]
    assert its.contents == [b"{}"]


@pytest.mark.parametrize(
    ("answer", "closes", "said"),
    [
        pytest.param(WHOLE, False, b"well", id="a length"),
        pytest.param(IN_PARTS + b"0\r\nx-trailer: 1\r\n\r\n", False, b"well", id="parts"),
        pytest.param(OK + b"\r\nwell", True, b"well", id="until the end"),
        pytest.param(OK + b"Content-Length: 0\r\n\r\n", False, b"", id="empty"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", False, b"", id="no content"),
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + WHOLE, False, b"well", id="a hint before"
        ),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nwell", True, b"well", id="HTTP/1.0"),
    ],
)
async def test_an_answer_has_an_end(client: PeerClient, answer: bytes, closes: bool, said: bytes) -> None:
    """However it is told; a second request gets its own."""
    async with peer(answer, closes=closes) as its:
        contents = [(await client.ask("GET", its.url)).content for _ in range(2)]

    assert contents == [said, said]
    assert its.connections == (2 if closes else 1)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(OK + b"Content-Length: 5\r\n\r\nwell", PeerError, id="too short"),
        pytest.param(IN_PARTS, PeerError, id="a part is missing"),
        pytest.param(OK + b"Transfer-Encoding: chunked\r\n\r\nx", PeerError, id="no part"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", PeerError, id="not HTTP"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", PeerError, id="another protocol"
        ),
        pytest.param(OK + b"x: " + b"y" * HEAD_BYTES, PeerError, id="no end of its head"),
        pytest.param(OK, Disconnected, id="half a head"),
        pytest.param(b"", Disconnected, id="nothing"),
    ],
)
async def test_what_is_no_whole_answer(client: PeerClient, answer: bytes, error: type[PeerError]) -> None:
    """It is an error, which says whether an answer had begun."""
    async with peer(answer, closes=True) as its:
        with pytest.raises(PeerError) as caught:
            await client.ask("GET", its.url)

    assert type(caught.value) is error


@pytest.mark.parametrize(
    "answer", [WHOLE + WHOLE, OK + b"Connection: close\r\nContent-Length: 4\r\n\r\nwell"]
)
async def test_a_connection_is_not_used_again(client: PeerClient, answer: bytes) -> None:
    """After more than was asked for, which would be the next answer, or when the peer says so."""
    async with peer(answer) as its:
        for _ in range(2):
            assert (await client.ask("GET", its.url)).content == b"well"

    assert its.connections == 2


async def test_an_answer_to_head_has_no_content(client: PeerClient) -> None:
    """However long it says that one would be."""
    async with peer(OK + b"Content-Length: 4\r\n\r\n") as its:
        for _ in range(2):
            answer = await client.ask("HEAD", its.url, timeout_s=10)

            assert (answer.status, answer.content) == (200, b"")


async def test_an_answer_that_is_left_early_takes_its_connection_with_it(client: PeerClient) -> None:
    """Its rest is not read as the next one."""
    async with peer(IN_PARTS) as its:
        for _ in range(2):
            async with await client.begin("GET", its.url) as answer:
                assert await anext(answer) == b"well"

    assert its.connections == 2


async def test_connections_are_told_from_idle_ones(client: PeerClient) -> None:
    """Who sends a request learns whether one was made for it."""
    made: list[list[str]] = [[], []]
    async with peer(WHOLE) as its:
        for connected in made:
            async with await client.begin("GET", its.url, connected=connected) as answer:
                await answer.read()

    assert [len(each) for each in made] == [1, 0]


async def test_who_reads_slowly_is_waited_for(client: PeerClient) -> None:
    """Not all of an answer is taken off its connection before it is read, and then all of it."""
    length = 64 * UNREAD_BYTES
    async with (
        peer(OK + b"Content-Length: %d\r\n\r\n" % length + bytes(length)) as its,
        await client.begin("GET", its.url) as answer,
    ):
        first = await anext(answer)
        await asyncio.sleep(0.05)
        second = await anext(answer)
        rest = await answer.read()

    assert len(first) + len(second) < length / 2
    assert len(first) + len(second) + len(rest) == length


@pytest.mark.parametrize("url", ["ftp://h/", "http://", "http://h:x/", "http://h/a b", "http://h/\r\nx: y"])
async def test_what_is_no_address(client: PeerClient, url: str) -> None:
    """It is said, and nothing is sent."""
    with pytest.raises(PeerError, match="no URL"):
        await client.ask("GET", url)


async def test_a_header_of_two_lines_is_not_sent(client: PeerClient) -> None:
    """It would be two headers."""
    with pytest.raises(PeerError, match="end of a line"):
        await client.ask("GET", "http://127.0.0.1:1/", headers=[(b"a", b"b\r\nc: d")])


async def test_where_nobody_listens(client: PeerClient) -> None:
    """A peer that has seen nothing is told from one that broke off."""
    async with peer(WHOLE) as its:
        pass
    with pytest.raises(NotConnected, match=r"refused|[Cc]onnect"):
        await client.ask("GET", its.url)
