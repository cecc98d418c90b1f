"""How a subscriber's task is woken: by its sockets' descriptors, which tell what is new and nothing more."""

import asyncio
from collections.abc import Iterator

import pytest
import zmq

from kvsync.connection import Alarm, Bell, Socket

PATIENCE_S = 20.0


@pytest.fixture
def sockets() -> Iterator[tuple[Socket, Socket]]:
    """Two sockets that are connected: what is sent to the first arrives at the second."""
    with (
        zmq.Context[Socket]() as context,
        context.socket(zmq.PAIR) as ours,
        context.socket(zmq.PAIR) as theirs,
    ):
        theirs.bind("inproc://pair")
        ours.connect("inproc://pair")
        yield theirs, ours


def drain(socket: Socket) -> list[bytes]:
    """Take what has arrived, until there is no more."""
    taken = []
    try:
        while True:
            taken.append(socket.recv(zmq.NOBLOCK))
    except zmq.Again:
        return taken


async def turns(count: int) -> None:
    """Let the event loop look at its descriptors some times."""
    for _ in range(count):
        await asyncio.sleep(0)


class CountedAlarm(Alarm):
    """An alarm that counts how often it rings."""

    rings = 0

    def ring(self) -> None:
        """Ring, and count it."""
        self.rings += 1
        super().ring()


async def test_each_message_is_heard(sockets: tuple[Socket, Socket]) -> None:
    """Whenever a message comes, before, while or after the task falls asleep, the task is woken for it."""
    theirs, ours = sockets
    alarm = Alarm()
    bell = Bell(ours, alarm)
    loop = asyncio.get_running_loop()
    heard: list[bytes] = []
    for number in range(60):
        message = [b"%d" % number]
        if number % 3 == 0:
            theirs.send_multipart(message)
        elif number % 3 == 1:
            loop.call_soon(theirs.send_multipart, message)
        else:
            loop.call_later(0.001, theirs.send_multipart, message)
        async with asyncio.timeout(PATIENCE_S):
            while len(heard) <= number:
                await alarm.wait(PATIENCE_S)
                heard += drain(ours)
    bell.close()

    assert heard == [b"%d" % number for number in range(60)]


async def test_what_is_left_unread_does_not_ring_again(sockets: tuple[Socket, Socket]) -> None:
    """A socket that is not read for a while costs nothing: its queue is left to fill, in silence."""
    theirs, ours = sockets
    alarm = CountedAlarm()
    bell = Bell(ours, alarm)
    assert drain(ours) == []
    alarm.rings = 0
    for _ in range(10):
        theirs.send(b"left")
        await turns(20)
    bell.close()

    assert alarm.rings == 1
    assert drain(ours) == [b"left"] * 10


async def test_others_run_while_it_rings_all_the_time() -> None:
    """Waiting lets other tasks run even when there is nothing to wait for."""
    alarm = Alarm()
    other = asyncio.create_task(turns(5))
    for _ in range(7):
        alarm.ring()
        await alarm.wait(PATIENCE_S)

    assert other.done()


async def test_waiting_ends_with_its_time() -> None:
    """Without a ring, it ends when the time is over."""
    await asyncio.wait_for(Alarm().wait(0.001), PATIENCE_S)


async def test_a_short_wait_after_a_long_one_is_short() -> None:
    """A timer that is left of a wait that was rung does not hold up the next."""
    alarm = Alarm()
    asyncio.get_running_loop().call_soon(alarm.ring)
    await alarm.wait(10 * PATIENCE_S)

    await asyncio.wait_for(alarm.wait(0.001), PATIENCE_S)
    alarm.close()


async def test_a_timer_that_is_left_is_used_once() -> None:
    """A timer that is left may end the next wait, and then the one after it has a timer of its own."""
    alarm = Alarm()
    asyncio.get_running_loop().call_soon(alarm.ring)
    await alarm.wait(0.01)

    await asyncio.wait_for(alarm.wait(10 * PATIENCE_S), PATIENCE_S)
    await asyncio.wait_for(alarm.wait(0.001), PATIENCE_S)
