"""What a pod of Kubernetes says of itself, and which pods are engines to follow."""

import pytest

from kvsync.kube.pods import WATCH_EVENT, KubePod, KubePodList, PodChange, WatchFailure, read_pod
from kvsync.pods import Pod, PodDefaults

ENABLED = {"model.aibrix.ai/kv-events-enabled": "true"}
NAMED = ENABLED | {"model.aibrix.ai/name": "qwen"}
PORT = "model.aibrix.ai/port"
UNNAMED = "is left out: a label or an annotation must name its model"
RANKS = "kvsync.dev/data-parallel-size"
READY = {"type": "Ready", "status": "True"}


def pod(
    labels: dict[str, str] | None = NAMED,
    annotations: dict[str, str] | None = None,
    deleted: str | None = None,
    **status: object,
) -> KubePod:
    """A pod that is an engine, unless something says otherwise."""
    running: dict[str, object] = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [READY]}
    return KubePod.model_validate(
        {
            "metadata": {
                "resourceVersion": "1",
                "labels": labels,
                "annotations": annotations,
                "deletionTimestamp": deleted,
            },
            "status": running | status,
        }
    )


@pytest.mark.parametrize(
    ("found", "model"),
    [
        (pod(), "qwen"),
        (pod(ENABLED, {"model.aibrix.ai/name": "llama"}), "llama"),
        (pod(NAMED, {"model.aibrix.ai/name": "llama"}), "qwen"),
        (pod(ENABLED | {"model.aibrix.ai/name": ""}, {"model.aibrix.ai/name": "llama"}), "llama"),
        (pod(NAMED | {"model.aibrix.ai/lora-id": "7"}), "qwen"),
        (pod({"llm-d.ai/model": "phi"}), "phi"),
        (pod(NAMED, {"kvsync.dev/model": "org/qwen"}), "org/qwen"),
    ],
    ids=[
        "label",
        "annotation",
        "label before annotation",
        "an empty label names nothing",
        "an adapter's id",
        "llm-d",
        "with a slash",
    ],
)
def test_a_running_pod_that_publishes_events_is_an_engine(found: KubePod, model: str) -> None:
    """It has the name it is given, its address, its model, and vLLM's default ports."""
    engine, problems = read_pod(found, "a", PodDefaults())

    assert engine == Pod(name="a", model=model, host="10.0.0.1", loras=())
    assert problems == ()


@pytest.mark.parametrize(
    "found",
    [
        pod(phase="Pending"),
        pod(phase="Succeeded"),
        pod(phase="Failed"),
        pod(podIP=""),
        pod(deleted="2026-01-02T03:04:05Z"),
        KubePod.model_validate({"metadata": {"resourceVersion": "1", "labels": NAMED}}),
    ],
    ids=[
        "pending",
        "succeeded",
        "failed",
        "no address",
        "being deleted",
        "no status",
    ],
)
def test_other_pods_are_none(found: KubePod) -> None:
    """Pods that do not run or are about to end are left out without a word."""
    assert read_pod(found, "a", PodDefaults()) == (None, ())


@pytest.mark.parametrize(
    "conditions",
    [
        None,
        [],
        [{"type": "Ready", "status": "False"}],
        [{"type": "Ready", "status": "Unknown"}],
        [{"type": "ContainersReady", "status": "True"}],
    ],
    ids=["null", "none", "not ready", "unknown", "other condition"],
)
def test_a_pod_that_is_not_ready_is_followed(conditions: object) -> None:
    """Only requests wait for readiness."""
    engine, _ = read_pod(pod(conditions=conditions), "a", PodDefaults())

    assert engine == Pod(name="a", model="qwen", host="10.0.0.1", ready=False)


def test_an_ipv6_address_is_used_as_it_is() -> None:
    """Endpoints of a pod with an IPv6 address have it in brackets."""
    engine, _ = read_pod(pod(podIP="fd00::7"), "a", PodDefaults())

    assert engine is not None
    assert engine.endpoint() == "tcp://[fd00::7]:5557"


@pytest.mark.parametrize(
    ("labels", "annotations", "engine"),
    [
        ({"model.aibrix.ai/port": "9000"}, {}, {"port": 9000}),
        ({}, {"model.aibrix.ai/port": "9001"}, {"port": 9001}),
        ({"model.aibrix.ai/port": "9000"}, {"model.aibrix.ai/port": "9001"}, {"port": 9000}),
        ({"model.aibrix.ai/port": "9000"}, {"kvsync.dev/port": "9001"}, {"port": 9001}),
        ({"kvsync.dev/scheme": "https"}, {}, {"scheme": "https"}),
        ({}, {"kvsync.dev/event-port": "6000"}, {"event_port": 6000}),
        ({}, {"kvsync.dev/replay-port": "6001"}, {"replay_port": 6001}),
        ({}, {"kvsync.dev/replay-port": "0"}, {"replay_port": None}),
        (
            {},
            {"kvsync.dev/replay-port": "5600", "kvsync.dev/data-parallel-size": "8"},
            {"replay_port": 5600, "dp_size": 8},
        ),
    ],
    ids=[
        "port",
        "port annotation",
        "label before annotation",
        "own name before AIBrix'",
        "TLS",
        "events",
        "replays",
        "no replays",
        "ranks",
    ],
)
def test_a_pod_says_where_it_listens(
    labels: dict[str, str], annotations: dict[str, str], engine: dict[str, int | None]
) -> None:
    """Labels and annotations replace the default ports and the number of ranks."""
    read, problems = read_pod(pod(NAMED | labels, annotations), "a", PodDefaults())

    assert read == Pod(name="a", model="qwen", host="10.0.0.1", **engine)  # type: ignore[arg-type]
    assert problems == ()


@pytest.mark.parametrize(
    ("annotations", "kept", "problems"),
    [
        (
            {"model.aibrix.ai/port": "x", "kvsync.dev/event-port": "6000"},
            {"event_port": 6000},
            {PORT: "input should be a valid integer, unable to parse string as an integer, not 'x'"},
        ),
        (
            {"model.aibrix.ai/port": "9000", "kvsync.dev/event-port": "70000"},
            {"port": 9000},
            {"kvsync.dev/event-port": "input should be less than or equal to 65535, not '70000'"},
        ),
        (
            {"kvsync.dev/data-parallel-size": "4"},
            {},
            {RANKS: "4 rank(s) from event_port 5557 on overlap those from replay_port 5558 on"},
        ),
        (
            {"kvsync.dev/event-port": "5558"},
            {},
            {RANKS: "1 rank(s) from event_port 5558 on overlap those from replay_port 5558 on"},
        ),
        (
            {"model.aibrix.ai/port": "0", "kvsync.dev/replay-port": "65536", "kvsync.dev/event-port": "6000"},
            {},
            {
                "model.aibrix.ai/port": "input should be greater than or equal to 1, not '0'",
                "kvsync.dev/replay-port": "input should be less than or equal to 65535, not '65536'",
            },
        ),
    ],
    ids=["no number", "no port", "ranks overlap", "overlap by default", "two problems"],
)
def test_a_wrong_value_is_told_and_the_engine_kept(
    annotations: dict[str, str], kept: dict[str, int], problems: dict[str, str]
) -> None:
    """Each wrong value is a problem; the default takes its place, and the event ports fall back together."""
    read = read_pod(pod(NAMED, annotations), "a", PodDefaults())

    assert read.pod == Pod(name="a", model="qwen", host="10.0.0.1", **kept)  # type: ignore[arg-type]
    assert read.problems == tuple(f"{key}: {what}; the default is used" for key, what in problems.items())


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (
            pod(ENABLED),
            f"{UNNAMED}, one of kvsync.dev/model, model.aibrix.ai/name, llm-d.ai/model",
        ),
        (pod(None), UNNAMED),
        (pod(podIP="10.0.0.1/8"), "is left out: host: string should match pattern"),
    ],
    ids=["no model", "no labels", "no address"],
)
def test_a_pod_that_cannot_be_used_is_told(found: KubePod, problem: str) -> None:
    """An engine that no request could be sent to is left out, which is told."""
    read = read_pod(found, "a", PodDefaults())

    assert read.pod is None
    assert [text.startswith(problem) for text in read.problems] == [True]


def test_what_a_pod_does_not_say_is_a_default() -> None:
    """A Deployment of others needs no word of ours; what a pod says itself comes first."""
    defaults = PodDefaults(model="qwen", scheme="https", port=8200, event_port=6000, replay_port=None)

    read = read_pod(pod({}, {"kvsync.dev/event-port": "6001"}), "a", defaults)

    assert read.problems == ()
    assert read.pod == Pod(
        name="a",
        model="qwen",
        host="10.0.0.1",
        scheme="https",
        port=8200,
        event_port=6001,
        replay_port=None,
    )


@pytest.mark.parametrize("items", ["null", "[]"], ids=["null", "empty"])
def test_an_empty_list_has_a_version(items: str) -> None:
    """Kubernetes writes lists without items in two ways."""
    found = KubePodList.model_validate_json(
        f'{{"kind": "PodList", "metadata": {{"resourceVersion": "7"}}, "items": {items}}}'
    )

    assert found.items == []
    assert found.metadata.version == "7"


def test_a_bookmark_has_a_version() -> None:
    """A bookmark's object is a pod with nothing but the version."""
    event = WATCH_EVENT.validate_json(
        '{"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": '
        '{"resourceVersion": "12746", "creationTimestamp": null}, "spec": {"containers": null}}}'
    )

    assert isinstance(event, PodChange)
    assert event.object.metadata.version == "12746"


def test_an_error_says_why() -> None:
    """An ERROR's object is not a pod but a Status."""
    event = WATCH_EVENT.validate_json(
        '{"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": '
        '"Failure", "message": "too old resource version: 1 (9)", "reason": "Expired", "code": 410}}'
    )

    assert isinstance(event, WatchFailure)
    assert (event.object.code, event.object.message) == (410, "too old resource version: 1 (9)")
