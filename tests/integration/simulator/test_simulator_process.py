"""The simulator as a process: how it starts, what it says, how it ends."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kvsync.testing.clusters.local.addresses import Address, LoopbackBlock

ADDRESSES = LoopbackBlock(os.getpid() + 1)

Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start `kvsync simulate` on an address; killed after the test if it still runs."""
    processes: list[asyncio.subprocess.Process] = []

    async def launch(address: Address, *flags: str) -> asyncio.subprocess.Process:
        ports = {
            "--port": address.port,
            "--event-port": address.event_port,
            "--replay-port": address.replay_port,
            "--admin-port": address.admin_port,
        }
        command = ["-m", "kvsync", "simulate", "--name", "a", "--model", "m", "--host", address.host]
        command += [str(word) for pair in ports.items() for word in pair]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            *flags,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        processes.append(process)
        return process

    yield launch
    for process in processes:
        if process.returncode is None:
            process.kill()
        async with asyncio.timeout(5):
            await process.communicate()


async def ready(process: asyncio.subprocess.Process) -> str:
    """The line that says that it serves."""
    assert process.stdout
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode()


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """Exit status and standard error."""
    assert process.stderr
    async with asyncio.timeout(10):
        errors = (await process.stderr.read()).decode()
        return await process.wait(), errors


async def test_it_says_when_it_serves_and_ends_on_a_signal(start: Start) -> None:
    """One line when ready; SIGTERM ends it cleanly and quietly."""
    address = ADDRESSES.next()
    process = await start(address)
    assert await ready(process) == f"simulator a serves m on {address.host}:{address.port}\n"

    process.send_signal(signal.SIGTERM)

    assert await ended(process) == (0, "")


async def test_it_ends_when_standard_input_closes(start: Start) -> None:
    """With the lifeline it does not outlive the process that started it."""
    process = await start(ADDRESSES.next(), "--exit-with-stdin")
    await ready(process)

    assert process.stdin
    process.stdin.close()

    assert await ended(process) == (0, "")


async def test_taken_port_is_a_message_and_status_2(start: Start) -> None:
    """Who holds the port is said in one line, without a traceback."""
    address = ADDRESSES.next()
    first = await start(address)
    await ready(first)

    status, errors = await ended(await start(address))

    assert status == 2
    holder = rf"python\S* \(pid {first.pid}\)"
    address_in_use = rf"kvsync: tcp://{address.host}:{address.port} is in use by {holder}; stop it or .*\n"
    assert re.fullmatch(address_in_use, errors)
