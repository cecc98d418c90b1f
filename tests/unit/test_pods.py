"""Lists of pods: what is read from text, and what is refused."""

import pytest

from kvsync.errors import ConfigError
from kvsync.events import Source
from kvsync.pods import Pod, parse_pods


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("pods: [{name: a, model: m, host: 10.0.0.1, loras: [x]}]", "pods.yaml"),
        ('{"pods":\t[{"name": "a", "model": "m", "host": "10.0.0.1", "loras": ["x"]}]}', "pods.json"),
        ('[[pods]]\nname = "a"\nmodel = "m"\nhost = "10.0.0.1"\nloras = ["x"]', "pods.toml"),
    ],
    ids=["yaml", "json", "toml"],
)
def test_every_format_gives_the_same_pod(text: str, origin: str) -> None:
    """YAML, JSON and TOML are read by the ending of the file's name; ports have vLLM's defaults."""
    pod = Pod(
        name="a", model="m", host="10.0.0.1", port=8000, event_port=5557, replay_port=5558, loras=("x",)
    )

    assert parse_pods(text, origin) == (pod,)


def test_a_rank_has_its_own_ports() -> None:
    """Data-parallel rank r publishes and replays on the base ports plus r."""
    pod = Pod(name="a", model="m", host="h", event_port=5557, replay_port=5560, dp_size=2)

    assert [pod.endpoint(rank) for rank in (0, 1)] == ["tcp://h:5557", "tcp://h:5558"]
    assert [pod.replay_endpoint(rank) for rank in (0, 1)] == ["tcp://h:5560", "tcp://h:5561"]
    assert pod.sources == (Source("a", "m", 0), Source("a", "m", 1))


def test_a_rank_may_be_a_pod_of_its_own() -> None:
    """Where each rank is a pod, the ports are still those of rank 0, as the engine was told."""
    pod = Pod(name="a", model="m", host="h", dp_rank=3)

    assert pod.sources == (Source("a", "m", 3),)
    assert pod.endpoint(3) == "tcp://h:5560"


def test_an_ipv6_address_is_bracketed() -> None:
    """An address with colons stands in brackets in every endpoint."""
    pod = Pod(name="a", model="m", host="fd00::1")

    assert pod.url == "http://[fd00::1]:8000"
    assert pod.endpoint() == "tcp://[fd00::1]:5557"
    assert pod.replay_endpoint() == "tcp://[fd00::1]:5558"


def test_a_pod_may_have_no_replay_endpoint() -> None:
    """`replay_port: null` says that the engine repeats nothing, whatever its number of ranks."""
    (pod,) = parse_pods("pods: [{name: a, model: m, host: h, replay_port: null, dp_size: 8}]", "pods.yaml")

    assert pod.replay_endpoint(7) is None


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "::"])  # noqa: S104 - refused
def test_engines_that_connect_are_refused(host: str) -> None:
    """An address that only a listener could have is an error that says which side must bind."""
    text = f'pods: [{{name: a, model: m, host: "{host}"}}]'

    with pytest.raises(ConfigError, match="takes no connections from them; let the engine bind"):
        parse_pods(text, "pods.yaml")


def test_every_problem_is_reported_at_once() -> None:
    """One error names all that is wrong in a list, each with the path of its field."""
    text = """
    pods:
    - {name: a, model: m, host: 10.0.0.1, dp_size: 2}
    - {name: a, model: m, host: "::1", port: 90000}
    - {model: "", host: "tcp://h", weight: 1}
    - {name: b, model: m, host: h, event_port: 65535, replay_port: 5558, dp_size: 2}
    - 7
    """

    with pytest.raises(ConfigError) as raised:
        parse_pods(text, "/etc/pods.yaml")

    assert raised.value.origin == "/etc/pods.yaml"
    assert raised.value.problems == (
        "pods[0].dp_size: 2 rank(s) from event_port 5557 on overlap those from replay_port 5558 on",
        "pods[1].name: another pod is named 'a'",
        "pods[1].port: input should be less than or equal to 65535, not 90000",
        "pods[2].name: is missing",
        "pods[2].model: string should have at least 1 character, not ''",
        r"pods[2].host: string should match pattern '^[^\s/\[\]]+$', not 'tcp://h'",
        "pods[2].weight: unknown key",
        "pods[3].dp_size: the ports of rank 1 lie beyond 65535",
        "pods[4]: a mapping is needed, not 7",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ".: a mapping is needed, not None"),
        ("[]", ".: a mapping is needed, not []"),
        ("pods: 3", "pods: input should be a valid tuple, not 3"),
        ("pods: []\nmode: x", "mode: unknown key"),
        ("{", "while parsing a flow node expected the node content, but found '<stream end>'"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
    ],
    ids=["empty", "list", "scalar", "unknown key", "syntax", "nested without end"],
)
def test_a_document_that_is_no_list_of_pods_is_refused(text: str, problem: str) -> None:
    """Whatever the text holds, the caller gets a ConfigError that says what was found."""
    with pytest.raises(ConfigError) as raised:
        parse_pods(text, "pods.yaml")

    assert raised.value.problems[0].startswith(problem)
