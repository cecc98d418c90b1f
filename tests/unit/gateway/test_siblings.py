"""What the workers of a gateway counted, on one page."""

from prometheus_client.parser import text_string_to_metric_families

from kvsync.gateway.siblings import Worker, merged

ONE = b"""# HELP kvsync_requests_total Requests.
# TYPE kvsync_requests_total counter
kvsync_requests_total{model="m"} 3.0
# HELP kvsync_index_blocks Blocks.
# TYPE kvsync_index_blocks gauge
kvsync_index_blocks{pod="a"} 8.0
# HELP kvsync_routing_seconds Time.
# TYPE kvsync_routing_seconds histogram
kvsync_routing_seconds_bucket{le="+Inf"} 1.0
kvsync_routing_seconds_count 1.0
kvsync_routing_seconds_sum 0.5
"""

TWO = ONE.replace(b"3.0", b"4.0").replace(b"8.0", b"9.0")


def test_each_sample_says_whose_it_is() -> None:
    """What is known of sources is the same for all, and is there once."""
    page = merged({1: ONE, 2: TWO}, own=2).decode()
    samples = {
        (each.name, *sorted(each.labels.items())): each.value
        for family in text_string_to_metric_families(page)
        for each in family.samples
    }

    assert page.count("# TYPE") == 3
    assert samples[("kvsync_requests_total", ("model", "m"), ("worker", "1"))] == 3
    assert samples[("kvsync_requests_total", ("model", "m"), ("worker", "2"))] == 4
    assert samples[("kvsync_routing_seconds_sum", ("worker", "1"))] == 0.5
    assert [value for (name, *_), value in samples.items() if name == "kvsync_index_blocks"] == [9]


def test_a_worker_learns_who_it_is() -> None:
    """From a line of its standard input."""
    worker = Worker(number=2, of=3, family="@family", files=(4, 5))

    assert Worker.read(worker.written()) == worker
    assert worker.address(1) == "@family-1"
