"""The gateway's settings: where they come from, which wins, and what is refused."""

from pathlib import Path

import pytest

from kvsync.config import GatewayConfig, KubernetesConfig, load_gateway_config
from kvsync.errors import ConfigError
from kvsync.pods import Pod

POD = Pod(name="a", model="m", host="h")

YAML = "pods: [{name: a, model: m, host: h}]\nblock_size: 32\ntokenizer: {kind: none, timeout_s: 2}"
JSON = (
    '{"pods": [{"name": "a", "model": "m", "host": "h"}], "block_size": 32, '
    '"tokenizer": {"kind": "none", "timeout_s": 2}}'
)
TOML = """
block_size = 32
pods = [{name = "a", model = "m", host = "h"}]
[tokenizer]
kind = "none"
timeout_s = 2
"""

NEW_SYNC = "AIBRIX_PREFIX_CACHE_KV_EVENT_SYNC_ENABLED"
NEW_REMOTE = "AIBRIX_PREFIX_CACHE_USE_REMOTE_TOKENIZER"
TYPE = "AIBRIX_PREFIX_CACHE_TOKENIZER_TYPE"
ENDPOINT = "AIBRIX_PREFIX_CACHE_REMOTE_TOKENIZER_ENDPOINT"
OLD_SYNC = "AIBRIX_KV_EVENT_SYNC_ENABLED"
OLD_REMOTE = "AIBRIX_USE_REMOTE_TOKENIZER"
REMOTE = {NEW_REMOTE: "true", TYPE: "remote", ENDPOINT: "http://tokenizer:8000"}


def load(environ: dict[str, str]) -> GatewayConfig:
    """Settings of an environment that also names a file of pods."""
    return load_gateway_config(None, {"KVSYNC_PODS_FILE": "/pods.yaml", **environ})


def refused(file: Path | None, environ: dict[str, str]) -> tuple[str, ...]:
    """The problems of settings that must not load."""
    with pytest.raises(ConfigError) as raised:
        load_gateway_config(file, environ)
    return raised.value.problems


@pytest.mark.parametrize(
    ("name", "text"), [("g.yaml", YAML), ("g.json", JSON), ("g.toml", TOML)], ids=["yaml", "json", "toml"]
)
def test_every_format_gives_the_same_settings(tmp_path: Path, name: str, text: str) -> None:
    """A file may be YAML, JSON or TOML; what it leaves out has its default."""
    file = tmp_path / name
    file.write_text(text)

    config = load_gateway_config(file, {})

    assert (config.pods, config.block_size, config.hash_seed) == ((POD,), 32, 0)
    assert (config.tokenizer.kind, config.tokenizer.timeout_s) == ("none", 2.0)
    assert (config.host, config.port, config.sync_enabled, config.warnings) == ("127.0.0.1", 8080, True, ())


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """Variables replace single fields of a file, at any depth; an empty one is not set."""
    file = tmp_path / "g.yaml"
    file.write_text(YAML)
    environ = {
        "KVSYNC_PORT": "9000",
        "KVSYNC_BLOCK_SIZE": "",
        "KVSYNC_TOKENIZER__KIND": "remote",
        "KVSYNC_TOKENIZER__ENDPOINT": "https://tokenizer",
        "KVSYNC_SUBSCRIBER__PROBE_INTERVAL_S": "0.5",
    }

    config = load_gateway_config(file, environ)

    assert (config.port, config.block_size, config.subscriber.probe_interval_s) == (9000, 32, 0.5)
    assert (config.tokenizer.kind, config.tokenizer.endpoint) == ("remote", "https://tokenizer")
    assert config.tokenizer.timeout_s == 2.0


def test_pods_can_be_a_variable() -> None:
    """A variable that starts like a list is read as one."""
    pods = '[{"name": "a", "model": "m", "host": "h"}]'

    assert load_gateway_config(None, {"KVSYNC_PODS": pods}).pods == (POD,)


def test_variables_of_others_are_no_settings() -> None:
    """The pipeline's variables and those of Kubernetes' service links do not stop a gateway."""
    config = load(
        {
            "KVSYNC_RUN": "r1",
            "KVSYNC_CI_STORE": "/reports",
            "KVSYNC_SERVICE_HOST": "10.96.0.7",
            "KVSYNC_GATEWAY_SERVICE_PORT_HTTP": "8080",
            "KVSYNC_PORT": "tcp://10.96.0.7:8080",
            "KVSYNC_PORT_8080_TCP_ADDR": "10.96.0.7",
            "PATH": "/bin",
        }
    )

    assert config == GatewayConfig(pods_file=Path("/pods.yaml"))


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    """One error names each wrong field by its path and by the file or variable it came from."""
    file = tmp_path / "g.yaml"
    file.write_text("pods: [{name: a, host: h}, 5]\nblock_size: 0\ncolour: red\nrouting: 3")
    environ = {
        "KVSYNC_PORT": "99999",
        "KVSYNC_HEALTH__INTERVAL_S": "-1",
        "KVSYNC_UPSTREAM__IDLE_S": "inf",
        "KVSYNC_BLOK_SIZE": "16",
        "KVSYNC_SUBSCRIBER": "{turn_s: [",
        "KVSYNC_TOKENIZER__KIND": "remote",
        OLD_REMOTE: "perhaps",
    }

    problems = refused(file, environ)

    assert problems[1].startswith("subscriber: while parsing a flow node")
    assert problems[1].endswith("(KVSYNC_SUBSCRIBER)")
    assert problems[:1] + problems[2:] == (
        f"{OLD_REMOTE}: input should be a valid boolean, unable to interpret input, not 'perhaps'",
        "port: input should be less than or equal to 65535, not '99999' (KVSYNC_PORT)",
        f"pods[0].model: is missing ({file})",
        f"pods[1]: a mapping is needed, not 5 ({file})",
        f"block_size: input should be greater than 0, not 0 ({file})",
        f"tokenizer.endpoint: is needed by tokenizer.kind 'remote' ({file})",
        f"routing: a mapping is needed, not 3 ({file})",
        "health.interval_s: input should be greater than 0, not '-1' (KVSYNC_HEALTH__INTERVAL_S)",
        "upstream.idle_s: input should be a finite number, not 'inf' (KVSYNC_UPSTREAM__IDLE_S)",
        f"colour: unknown key ({file})",
        "blok_size: unknown key (KVSYNC_BLOK_SIZE)",
    )


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"KVSYNC_PODS_FILE": "/p.yaml", "KVSYNC_PODS": "[{name: a, model: m, host: h}]"},
        {"KVSYNC_PODS_FILE": "/p.yaml", "KVSYNC_KUBERNETES": "{}"},
        {"KVSYNC_KUBERNETES__NAMESPACE": "x", "KVSYNC_PODS": "[{name: a, model: m, host: h}]"},
    ],
    ids=["none", "pods and file", "file and kubernetes", "kubernetes and pods"],
)
def test_pods_come_from_one_place(environ: dict[str, str]) -> None:
    """A gateway without pods, or with two sources of them, is a mistake that shows at the start."""
    assert [problem.partition(" (")[0] for problem in refused(None, environ)] == [
        "kubernetes: give exactly one of pods, pods_file and kubernetes"
    ]


@pytest.mark.parametrize(
    ("environ", "settings"),
    [
        ({"KVSYNC_KUBERNETES": "{}"}, KubernetesConfig()),
        ({"KVSYNC_KUBERNETES__NAMESPACE": "*"}, KubernetesConfig(namespace="*")),
        (
            {"KVSYNC_KUBERNETES__KUBECONFIG": "/k", "KVSYNC_KUBERNETES__CONTEXT": "kind-a"},
            KubernetesConfig(kubeconfig=Path("/k"), context="kind-a"),
        ),
    ],
    ids=["the cluster it is in", "all namespaces", "a context"],
)
def test_pods_come_from_kubernetes(environ: dict[str, str], settings: KubernetesConfig) -> None:
    """Environment variables are enough to follow the pods of a cluster."""
    assert load_gateway_config(None, environ).kubernetes == settings


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("{context: kind-a}", "kubernetes.context: needs kubeconfig, the file that has this context"),
        ("{namespace: Name}", "kubernetes.namespace: string should match pattern"),
        ("{namespace: ''}", "kubernetes.namespace: string should match pattern"),
        ("{watch_s: 0.5}", "kubernetes.watch_s: input should be a valid integer"),
        ("{retry_s: 0}", "kubernetes.retry_s: input should be greater than 0"),
        ("{name: a}", "kubernetes.name: unknown key"),
    ],
    ids=["context alone", "no name of a namespace", "empty namespace", "fraction", "no pause", "unknown"],
)
def test_settings_of_kubernetes_are_checked(given: str, problem: str) -> None:
    """A wrong setting is the only problem that is told."""
    (told,) = refused(None, {"KVSYNC_KUBERNETES": given})

    assert told.startswith(problem)


@pytest.mark.parametrize("path", ["/sleep", "/v1/load_lora_adapter", "/adapters"])
def test_paths_that_administer_engines_must_be_allowed(path: str) -> None:
    """One of them is refused among the paths that are passed on, and what would allow it is said."""
    given = {"KVSYNC_PODS": "[{name: a, model: m, host: h1}]", "KVSYNC_UPSTREAM__MORE_PATHS": f"[{path}]"}

    (told,) = refused(None, given)
    assert told.startswith(f"upstream.more_paths: {path} administers an engine")

    allowed = load_gateway_config(None, {**given, "KVSYNC_UPSTREAM__ALLOWS_ADMINISTRATION": "true"})
    assert allowed.upstream.more_paths == (path,)


@pytest.mark.parametrize("path", ["v1/x", "/", "/v1/{id}", "/v1/x/", "//x", "/../x"])
def test_a_path_is_a_path(path: str) -> None:
    """What would match other paths than it says is refused."""
    given = {"KVSYNC_PODS": "[{name: a, model: m, host: h1}]"}
    (told,) = refused(None, {**given, "KVSYNC_UPSTREAM__MORE_PATHS": f"['{path}']"})

    assert told.startswith("upstream.more_paths[0]: string should match pattern")


def test_pods_need_different_names() -> None:
    """A pod that has another one's name is refused, since its events would change the other's blocks."""
    pods = "[{name: a, model: m, host: h1}, {name: a, model: m, host: h2}]"

    assert refused(None, {"KVSYNC_PODS": pods}) == ("pods[1].name: another pod is named 'a' (KVSYNC_PODS)",)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot read"),
        (b"\xff", "cannot read"),
        (b"pods: [", "while parsing"),
        (b"[]", ".: a mapping is needed"),
    ],
    ids=["absent", "not utf-8", "syntax", "no mapping"],
)
def test_a_file_that_is_no_configuration_is_refused(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    """A file that cannot be used is named, whatever is the matter with it."""
    file = tmp_path / "g.yaml"
    if content is not None:
        file.write_bytes(content)

    assert refused(file, {})[0].startswith(problem)


@pytest.mark.parametrize(
    ("remote", "sync", "followed", "warned"),
    [
        ("true", "true", True, 0),
        ("false", "true", False, 1),
        ("true", "false", False, 0),
        ("false", "false", False, 0),
    ],
    ids=["both", "sync without tokenizer", "tokenizer only", "neither"],
)
@pytest.mark.parametrize(
    ("sync_name", "remote_name", "more"),
    [(OLD_SYNC, OLD_REMOTE, {}), (NEW_SYNC, NEW_REMOTE, REMOTE)],
    ids=["older names", "names in use"],
)
def test_following_events_depends_on_the_remote_tokenizer(
    sync_name: str,
    remote_name: str,
    more: dict[str, str],
    remote: str,
    sync: str,
    followed: bool,
    warned: int,
) -> None:
    """AIBrix' four cases: events are followed only with a tokenizer, and a refusal is a warning."""
    config = load({**more, sync_name: sync, remote_name: remote})

    assert (config.sync_enabled, len(config.warnings)) == (followed, warned)


@pytest.mark.parametrize(
    ("absent", "needs"),
    [
        ({TYPE: "local"}, f"{TYPE}=remote"),
        ({ENDPOINT: ""}, ENDPOINT),
        ({TYPE: "", ENDPOINT: ""}, f"{TYPE}=remote, {ENDPOINT}"),
        ({NEW_REMOTE: ""}, f"{NEW_REMOTE}=true"),
    ],
    ids=["type", "endpoint", "both", "switch"],
)
def test_an_incomplete_remote_tokenizer_is_none(absent: dict[str, str], needs: str) -> None:
    """The warning names the variables that are needed for events to be followed."""
    config = load({**REMOTE, NEW_SYNC: "true", **absent})

    assert not config.sync_enabled
    assert config.warnings == (f"{NEW_SYNC} is on but events are not followed: it needs {needs}",)


@pytest.mark.parametrize(
    ("environ", "sync_enabled", "tokenizer", "endpoint"),
    [
        ({NEW_SYNC: "false", NEW_REMOTE: "false"}, False, "pod", None),
        ({**REMOTE, NEW_SYNC: "false"}, False, "remote", "http://tokenizer:8000"),
        ({**REMOTE, NEW_SYNC: "true"}, True, "remote", "http://tokenizer:8000"),
    ],
    ids=["neither", "tokenizer only", "both"],
)
def test_aibrix_routing_modes_are_kept(
    environ: dict[str, str], sync_enabled: bool, tokenizer: str, endpoint: str | None
) -> None:
    """A gateway with AIBrix' variables routes by events only where AIBrix used its synchronised index."""
    config = load(environ)

    assert (config.sync_enabled, config.tokenizer.kind, config.tokenizer.endpoint) == (
        sync_enabled,
        tokenizer,
        endpoint,
    )


def test_the_name_in_use_wins_over_the_older_one() -> None:
    """Of two names of one switch the current one counts."""
    assert not load({**REMOTE, NEW_SYNC: "false", OLD_SYNC: "true"}).sync_enabled


def test_our_own_variable_wins_over_aibrix() -> None:
    """Who sets kvsync's own switch is not overruled, and not warned."""
    config = load({OLD_SYNC: "true", OLD_REMOTE: "false", "KVSYNC_SYNC_ENABLED": "true"})

    assert (config.sync_enabled, config.warnings) == (True, ())


@pytest.mark.parametrize("key", ["k", "k\n", " k "])
def test_a_key_of_engines_loses_what_files_end_with(key: str) -> None:
    """Secrets that are mounted as files end with a line break."""
    config = load_gateway_config(None, {"KVSYNC_PODS_FILE": "/p", "KVSYNC_UPSTREAM__API_KEY": key})

    assert config.upstream.credentials == {"authorization": "Bearer k"}


@pytest.mark.parametrize("key", ["clé", "a\nb", "\n"])
def test_a_key_that_cannot_be_sent_is_refused_unseen(key: str) -> None:
    """What cannot be the value of a header, at the start; the message does not have it."""
    with pytest.raises(ConfigError, match=r"upstream\.api_key: must be printable ASCII") as caught:
        load_gateway_config(None, {"KVSYNC_PODS_FILE": "/p", "KVSYNC_UPSTREAM__API_KEY": key})
    assert key.strip() == "" or key not in str(caught.value)
