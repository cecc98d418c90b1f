"""What a node is told for each fault, how that is taken back, and what its answers mean."""

import pytest

from kvsync.testing.faults.fault import (
    Bandwidth,
    Corruption,
    Latency,
    PacketLoss,
    Partition,
    PortsBlocked,
    Stall,
)
from kvsync.testing.faults.node.rules import (
    NodeNetworkFault,
    changes,
    connections,
    counters,
    hits,
    refusal,
    retransmitted,
    statistics,
)

IN_POD = "nsenter --net=/run/netns/n"
MARK = "-m comment --comment kvsync-7-1"

RULES = [
    pytest.param(
        Partition(pod="a"),
        [f"INPUT -i eth0 -j DROP {MARK}", f"OUTPUT -o eth0 -j DROP {MARK}"],
        id="partition",
    ),
    pytest.param(
        Partition(pod="a", direction="to"), [f"INPUT -i eth0 -j DROP {MARK}"], id="partition to the pod"
    ),
    pytest.param(
        Partition(pod="a", direction="from"),
        [f"OUTPUT -o eth0 -j DROP {MARK}"],
        id="partition from the pod",
    ),
    pytest.param(
        Stall(pod="a", ports=("http", "events")),
        [
            f"INPUT -i eth0 -p tcp -m multiport --dports 8000,5557 --tcp-flags SYN NONE -j DROP {MARK}",
            f"OUTPUT -o eth0 -p tcp -m multiport --sports 8000,5557 --tcp-flags SYN NONE -j DROP {MARK}",
        ],
        id="stall",
    ),
    pytest.param(
        PortsBlocked(pod="a", ports=("replay",)),
        [f"INPUT -i eth0 -p tcp -m multiport --dports 5558 -j REJECT --reject-with tcp-reset {MARK}"],
        id="ports blocked",
    ),
    pytest.param(
        PacketLoss(pod="a", fraction=0.1, correlation=0.25),
        [
            f"INPUT -i eth0 -m statistic --mode random --probability 0.1 -j DROP {MARK}",
            f"OUTPUT -o eth0 -m statistic --mode random --probability 0.1 -j DROP {MARK}",
        ],
        id="packet loss",
    ),
]

QDISCS = [
    pytest.param(
        Bandwidth(pod="a", bytes_per_s=125_000),
        [(f"{IN_POD} ", "eth0", "tbf rate 1000000bit burst 10000b limit 100000b")],
        id="bandwidth",
    ),
    pytest.param(
        Latency(pod="a", delay_s=0.5, jitter_s=0.1, correlation=0.25),
        [
            (f"{IN_POD} ", "eth0", "netem delay 500ms 100ms 25%"),
            ("", "veth7", "netem delay 500ms 100ms 25%"),
        ],
        id="latency with jitter",
    ),
    pytest.param(
        Latency(pod="a", delay_s=0.0005),
        [(f"{IN_POD} ", "eth0", "netem delay 0.5ms"), ("", "veth7", "netem delay 0.5ms")],
        id="latency",
    ),
    pytest.param(
        Corruption(pod="a", fraction=0.5, correlation=0.25),
        [(f"{IN_POD} ", "eth0", "netem corrupt 50% 25%"), ("", "veth7", "netem corrupt 50% 25%")],
        id="corruption",
    ),
]


def rendered(fault: NodeNetworkFault) -> list[tuple[str, str]]:
    """Return each command and the one that takes it back, as a person would type them."""
    made = changes(fault, "/run/netns/n", "veth7", "kvsync-7-1")
    return [(" ".join(change.do), " ".join(change.undo)) for change in made]


@pytest.mark.parametrize(("fault", "rules"), RULES)
def test_a_rule_is_inserted_and_deleted_in_the_same_words(fault: NodeNetworkFault, rules: list[str]) -> None:
    """It is in the pod's network namespace, for eth0, and bears the mark of the run."""
    expected = [(f"{IN_POD} iptables -w 5 -I {rule}", f"{IN_POD} iptables -w 5 -D {rule}") for rule in rules]
    assert rendered(fault) == expected


@pytest.mark.parametrize(("fault", "qdiscs"), QDISCS)
def test_a_queue_is_added_at_the_end_where_packets_leave(
    fault: NodeNetworkFault, qdiscs: list[tuple[str, str, str]]
) -> None:
    """What the pod sends leaves its eth0; what comes to it leaves the node's end of the link."""
    assert rendered(fault) == [
        (f"{where}tc qdisc add dev {device} root {what}", f"{where}tc qdisc del dev {device} root")
        for where, device, what in qdiscs
    ]


def test_connections_to_ports_are_reset_by_one_command() -> None:
    """Only open ones: who listens goes on listening."""
    listed = ("ss", "--tcp", "--no-header", "--numeric", "state", "established")

    assert connections([6443]) == (*listed, "( sport = :6443 )")
    assert connections([5557, 5558], "/run/netns/n", reset=True) == (
        *("nsenter", "--net=/run/netns/n", "ss", "--kill", *listed[1:]),
        "( sport = :5557 or sport = :5558 )",
    )


def test_a_port_of_a_node_is_refused_to_everybody() -> None:
    """Also to programs of the node itself, which talk to it by other interfaces."""
    change = refusal(6443, "kvsync-7-api")
    rule = "INPUT -p tcp --dport 6443 -j REJECT --reject-with tcp-reset -m comment --comment kvsync-7-api"

    assert (" ".join(change.do), " ".join(change.undo)) == (
        f"iptables -w 5 -I {rule}",
        f"iptables -w 5 -D {rule}",
    )


def test_counters_are_asked_for_in_the_pod() -> None:
    """With all their digits: iptables writes "12K" otherwise."""
    assert " ".join(counters("/run/netns/n", "INPUT")) == f"{IN_POD} iptables -w 5 -nvxL INPUT"
    assert " ".join(statistics("/run/netns/n")) == f"{IN_POD} cat /proc/net/snmp"


def test_packets_are_counted_that_marked_rules_hit() -> None:
    """The rules of another fault do not count."""
    listed = """\
Chain INPUT (policy ACCEPT 12 packets, 480 bytes)
    pkts      bytes target  prot opt in     out     source       destination
      15      900 DROP      0    --  eth0   *       0.0.0.0/0    0.0.0.0/0    /* kvsync-7-1 */
     100     6000 DROP      0    --  eth0   *       0.0.0.0/0    0.0.0.0/0    /* kvsync-7-12 */
       2       80 DROP      6    --  eth0   *       0.0.0.0/0    0.0.0.0/0    /* kvsync-7-1 */ tcp
"""
    assert hits(listed, "kvsync-7-1") == 17


def test_segments_are_counted_that_were_sent_again() -> None:
    """The kernel names its counters in one line and has their values in the next."""
    shown = """\
Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm RtoMin RetransSegs InErrs
Tcp: 1 200 35 0
"""
    assert retransmitted(shown) == 35
