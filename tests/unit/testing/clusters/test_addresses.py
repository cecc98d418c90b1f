"""Local pods get addresses on which nothing listens."""

import socket

import pytest

from kvsync.testing.clusters.local.addresses import LoopbackBlock
from kvsync.testing.errors import WaitTimeout
from kvsync.testing.processes.wait import wait_for


def test_the_seed_decides_where_a_block_begins() -> None:
    """Two blocks of one seed give the same addresses, another seed begins elsewhere."""
    first, again, other = LoopbackBlock(7), LoopbackBlock(7), LoopbackBlock(8)
    hosts = [first.next().host, first.next().host]

    assert hosts == [again.next().host, again.next().host]
    assert other.next().host not in hosts
    assert hosts[0] != hosts[1]


def test_an_address_in_use_is_passed_over() -> None:
    """An address on one of whose ports somebody listens is not given."""
    taken = LoopbackBlock(7).next()
    with socket.socket() as listener:
        listener.bind((taken.host, taken.replay_port))
        listener.listen()

        assert LoopbackBlock(7).next().host != taken.host


def test_without_own_hosts_every_pod_has_own_ports() -> None:
    """Where only 127.0.0.1 exists, pods share the host and no port, though the system gives some again."""
    block = LoopbackBlock(7, own_hosts=False)
    given = [block.next() for _ in range(150)]

    assert {each.host for each in given} == {"127.0.0.1"}
    assert len({port for each in given for port in each.ports}) == 600


def test_waiting_returns_the_first_true_answer() -> None:
    """The answer that ended the wait is returned, earlier ones are asked again."""
    answers = iter([None, 0, "third"])

    assert wait_for(lambda: next(answers), what="a word", timeout_s=9, sleep=lambda _: None) == "third"


def test_waiting_too_long_says_what_was_last_seen() -> None:
    """A wait ends at its deadline, with what was awaited and the last thing seen."""
    now = [0.0]

    def sleep(duration_s: float) -> None:
        now[0] += duration_s

    with pytest.raises(WaitTimeout, match=r"not within 1 s: three pods; last seen: 2 pods"):
        wait_for(
            lambda: False,
            what="three pods",
            timeout_s=1,
            interval_s=0.3,
            last_seen=lambda: "2 pods",
            clock=lambda: now[0],
            sleep=sleep,
        )
    assert now[0] == pytest.approx(1.0)
