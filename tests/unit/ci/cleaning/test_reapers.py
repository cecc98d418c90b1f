"""In which order leftovers are removed, what goes with a cluster, and whose mark a thing bears."""

import pytest

from kvsync.ci.cleaning.labelled import containers
from kvsync.ci.cleaning.reapers import in_order, is_inside, reap
from kvsync.errors import UnknownName
from kvsync.testing.errors import ClusterError
from kvsync.testing.processes.ledger import LedgerEntry
from kvsync.testing.processes.tools import Tools


def entry(kind: str, name: str = "x", **facts: object) -> LedgerEntry:
    """Return an entry of the run "7"."""
    return LedgerEntry(id="1", kind=kind, name=name, run="7", facts=facts)


def test_what_can_create_goes_first_and_what_holds_others_before_those() -> None:
    """Processes, the oldest first, then clusters, then what is in clusters that stay; newest first."""
    kinds = ["image", "namespace", "path", "custom-resource", "later", "kind-cluster", "process"]
    entries = [entry(kind) for kind in kinds] + [entry("namespace", "older"), entry("container")]
    entries += [entry("network-rule"), entry("node-image"), entry("docker"), entry("cordon")]
    entries += [entry("process", "older")]

    ordered = [(each.kind, each.name) for each in in_order(entries)]

    assert ordered == [
        ("process", "older"),
        ("process", "x"),
        ("kind-cluster", "x"),
        ("network-rule", "x"),
        ("custom-resource", "x"),
        ("namespace", "x"),
        ("namespace", "older"),
        ("cordon", "x"),
        ("node-image", "x"),
        ("container", "x"),
        ("image", "x"),
        ("docker", "x"),
        ("path", "x"),
        ("later", "x"),
    ]


@pytest.mark.parametrize(
    ("thing", "inside"),
    [
        (entry("network-rule", node="kvsync-7-worker2"), True),
        (entry("network-rule", node="kvsync-77-worker"), False),
        (entry("namespace", kind_cluster="kvsync-7"), True),
        (entry("namespace", kind_cluster=""), False),
        (entry("custom-resource", kind_cluster="kvsync-7"), True),
        (entry("custom-resource"), False),
        (entry("cordon", kind_cluster="kvsync-7"), True),
        (entry("cordon", kind_cluster="kvsync-77"), False),
        (entry("node-image", kind_cluster="kvsync-7"), True),
        (entry("image", "kvsync:7", kind_cluster="kvsync-7"), False),
    ],
    ids=lambda value: value.kind if isinstance(value, LedgerEntry) else "",
)
def test_what_is_in_a_kind_cluster_goes_with_it(thing: LedgerEntry, inside: bool) -> None:
    """Rules in its nodes, its namespaces and resources; not what is on this machine."""
    assert is_inside(thing, entry("kind-cluster", "kvsync-7")) is inside


def test_containers_bear_the_mark_of_a_run_by_label_or_by_their_kind_cluster() -> None:
    """Nodes are listed as their cluster; other people's containers and clusters are not listed."""
    found = containers(
        [
            "kvsync-a-1-control-plane\tkvsync-a-1\t",
            "kvsync-a-1-worker\tkvsync-a-1\ta-1",
            "mine-control-plane\tmine\t",
            "probe\t\tb-2",
            "database\t\t",
        ]
    )

    assert [(each.kind, each.name, each.run) for each in found] == [
        ("kind-cluster", "kvsync-a-1", "a-1"),
        ("container", "probe", "b-2"),
    ]


def test_a_kind_that_nobody_knows_is_refused_with_those_there_are() -> None:
    """A newer version's ledger is not cleaned silently."""
    with pytest.raises(UnknownName, match="'moon'; valid: process, kind-cluster, network-rule"):
        reap(entry("moon"))


@pytest.mark.parametrize("kind", ["network-rule", "custom-resource"])
def test_an_entry_without_its_facts_says_so(kind: str) -> None:
    """A fault written down without the way to undo it is an error, not a success."""
    with pytest.raises(ClusterError, match="the ledger does not say"):
        reap(entry(kind), Tools("/nowhere"))
