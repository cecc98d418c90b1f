"""Where settings come from: the file, the variables over it, and every problem at once."""

from pathlib import Path

import pytest

from kvsync.ci.cluster_settings import ClusterSettings
from kvsync.ci.settings import RepositorySettings, Settings, load_settings
from kvsync.errors import ConfigError


def test_without_file_and_variables_the_defaults_hold(tmp_path: Path) -> None:
    """Nothing has to be configured."""
    settings = load_settings(tmp_path, {"HOME": "/root", "KVSYNC_PORT": "1"})

    assert settings == Settings()
    clusters = settings.cluster
    assert (clusters.node_image, clusters.workers, clusters.base_image) == ("", 2, "python:3.11-slim")
    assert (clusters.image, clusters.allowed_contexts, clusters.kubeconfig) == (None, (), None)


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    """Fields of the file stay, those that a variable names are replaced; an empty variable is none."""
    (tmp_path / "kvsync-ci.toml").write_text(
        '[cluster]\nnode_image = "kindest/node:a"\nworkers = 4\nallowed_contexts = ["one", "two"]\n'
        'kubeconfig = "dev/config"\n'
    )

    settings = load_settings(
        tmp_path,
        {
            "KVSYNC_CI_KIND_NODE_IMAGE": "kindest/node:b",
            "KVSYNC_CI_ALLOWED_CONTEXTS": "three, four,",
            "KVSYNC_CI_BASE_IMAGE": "",
            "KVSYNC_CI_CREATE_TIMEOUT_S": "9.5",
        },
    )

    assert settings.cluster == ClusterSettings(
        node_image="kindest/node:b",
        workers=4,
        allowed_contexts=("three", "four"),
        kubeconfig=tmp_path / "dev/config",
        create_timeout_s=9.5,
    )


def test_the_engines_are_handed_to_the_tests(tmp_path: Path) -> None:
    """What the file or a variable says of real engines is what the tests of their stage find."""
    (tmp_path / "kvsync-ci.toml").write_text('[vllm]\ncommand = "/old/vllm"\nmodel = "/models/tiny"\n')

    settings = load_settings(tmp_path, {"KVSYNC_CI_VLLM": "/new/vllm"})

    assert settings.vllm.variables == {
        "KVSYNC_CI_VLLM": "/new/vllm",
        "KVSYNC_CI_VLLM_MODEL": "/models/tiny",
    }


def test_every_problem_is_reported_with_its_place(tmp_path: Path) -> None:
    """A wrong value and an unknown key in the file, a wrong and an unknown variable are one message."""
    file = tmp_path / "kvsync-ci.toml"
    file.write_text('[cluster]\nworkers = -1\nimages = "x"\n[other]\n')

    with pytest.raises(ConfigError) as caught:
        load_settings(
            tmp_path,
            {
                "KVSYNC_CI_READY_TIMEOUT_S": "0",
                "KVSYNC_CI_NODE_IMAGE": "x",
                "KVSYNC_CI_BASE_IMAGE": "a b",
                "KVSYNC_CI_TEST_KIND": "1",
                "KVSYNC_CI_TRACE": "trace.jsonl",
                "KVSYNC_CI_RECORDINGS": "recordings",
                "KVSYNC_CI_INPUTS": "inputs",
                "KVSYNC_CI_PEERS": "peers",
                "KVSYNC_CI_CHAOS_CRDS": "definitions",
            },
        )

    assert sorted(line.partition("; valid: ")[0] for line in caught.value.problems) == [
        "cluster.base_image: string should match pattern '^\\S+$', not 'a b' (KVSYNC_CI_BASE_IMAGE)",
        f"cluster.images: unknown key ({file}:3)",
        "cluster.ready_timeout_s: input should be greater than 0, not 0.0 (KVSYNC_CI_READY_TIMEOUT_S)",
        f"cluster.workers: input should be greater than or equal to 0, not -1 ({file}:2)",
        f"other: unknown key ({file}:4)",
        "unknown variable 'KVSYNC_CI_NODE_IMAGE'",
    ]
    assert "valid: KVSYNC_CI_KIND_NODE_IMAGE, KVSYNC_CI_WORKERS," in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("SERVE_PORT", "99999999", "serve.port: input should be less than or equal to 65535"),
        ("WEBHOOK_PORT", "65536", "webhook.port: input should be less than or equal to 65535"),
        ("SERVE_CLUSTER", "moon", "serve.cluster: unknown cluster 'moon'; valid: local, kind, kubeconfig"),
        (
            "GITHUB_WEB_URL",
            "https://someone:s3cret@host",
            "github.web_url: http:// or https:// without a user",
        ),
        ("GITHUB_API_URL", "https://s3cret@host", "github.api_url: http:// or https:// without a user"),
    ],
)
def test_what_cannot_be_is_known_before_anything_starts(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    """The message names the field, and does not repeat what may be a password."""
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, {f"KVSYNC_CI_{name}": text})

    assert caught.value.problems[0].startswith(problem)
    assert "s3cret" not in str(caught.value)


def test_where_commits_are_fetched_from(tmp_path: Path) -> None:
    """GitHub, another server, or a folder; a slash at the end says nothing."""
    found = [
        load_settings(tmp_path, {"KVSYNC_CI_GITHUB_WEB_URL": url}).github.web_url
        for url in ("", "https://git.example.com/", "file:///srv/git")
    ]

    assert found == ["https://github.com", "https://git.example.com", "file:///srv/git"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[cluster\n", "expected ']'"),
        (b"\xff", "cannot read"),
        (b"cluster = 3\n", "cluster: a mapping is needed, not 3"),
    ],
    ids=["no TOML", "no text", "no table"],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    """A file that cannot be read is an error that names it and what is wrong."""
    (tmp_path / "kvsync-ci.toml").write_bytes(content)

    with pytest.raises(ConfigError, match=r"kvsync-ci\.toml") as caught:
        load_settings(tmp_path, {"KVSYNC_CI_WORKERS": "1"})

    assert problem in str(caught.value).replace("Expected", "expected")


def test_variables_of_other_tables_carry_the_table(tmp_path: Path) -> None:
    """A field of another table than the clusters' is set by a variable that names the table."""
    (tmp_path / "kvsync-ci.toml").write_text('[store]\nurl = "reports"\nkeep_days = 7\n')

    settings = load_settings(
        tmp_path,
        {
            "KVSYNC_CI_STORE_URL": "s3://bucket/ci",
            "KVSYNC_CI_WEBHOOK_REPOSITORIES": "one/a, two/b",
            "KVSYNC_CI_WEBHOOK_SECRET": "s3cr3t",
        },
    )

    assert (settings.store.url, settings.store.keep_days) == ("s3://bucket/ci", 7)
    assert settings.webhook.repositories == ("one/a", "two/b")
    assert settings.webhook.secret.get_secret_value() == "s3cr3t"
    assert "s3cr3t" not in repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '[webhook]\nskip_ci = "yes"\n',
            "webhook.skip_ci: true or false is needed, without quotes, not 'yes' ({}:2)",
        ),
        (
            '[cluster]\n\nworkers = "3"\n',
            "cluster.workers: a number is needed, without quotes, not '3' ({}:3)",
        ),
        (
            "[cluster]\nworkers = true\n",
            "cluster.workers: a number is needed, without quotes, not True ({}:2)",
        ),
        (
            '[store]\nkeep_days = "7"\n',
            "store.keep_days: a number is needed, without quotes, not '7' ({}:2)",
        ),
    ],
)
def test_a_text_is_neither_a_number_nor_a_switch(tmp_path: Path, text: str, problem: str) -> None:
    """TOML has both: `"no"` would count as much as `"yes"`. The line is named."""
    (file := tmp_path / "kvsync-ci.toml").write_text(text)

    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, {})

    assert [*caught.value.problems] == [problem.format(file)]


def test_a_variable_is_a_text_whatever_it_sets(tmp_path: Path) -> None:
    """There is no other way to write it; what says no number is wrong there, too."""
    given = {"KVSYNC_CI_WEBHOOK_SKIP_CI": "true", "KVSYNC_CI_WORKERS": "3", "KVSYNC_CI_READY_TIMEOUT_S": "9"}

    settings = load_settings(tmp_path, given)

    found = settings.webhook.skip_ci, settings.cluster.workers, settings.cluster.ready_timeout_s
    assert found == (True, 3, 9.0)
    with pytest.raises(ConfigError, match=r"cluster.workers: .*not 'many' \(KVSYNC_CI_WORKERS\)"):
        load_settings(tmp_path, {"KVSYNC_CI_WORKERS": "many"})


def test_a_file_may_begin_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    """Some editors write one (U+FEFF); it is not part of what they say."""
    (tmp_path / "kvsync-ci.toml").write_text("[cluster]\nworkers = 3\n", encoding="utf-8-sig")

    assert load_settings(tmp_path, {}).cluster.workers == 3


def test_a_secret_in_the_file_is_refused(tmp_path: Path) -> None:
    """A secret in a file that is under version control is an error, which does not repeat the secret."""
    (tmp_path / "kvsync-ci.toml").write_text('[github]\ntoken = "ghp_x"\n')

    with pytest.raises(ConfigError, match=r"github\.token: a secret; put it into the environment") as caught:
        load_settings(tmp_path, {})

    assert "ghp_x" not in str(caught.value)


def test_a_secret_comes_from_a_file_of_its_own(tmp_path: Path) -> None:
    """Its line ending does not count."""
    (kept := tmp_path / "token").write_text("ghp_x\n")
    kept.chmod(0o600)

    settings = load_settings(tmp_path, {"KVSYNC_CI_GITHUB_TOKEN_FILE": str(kept)})

    assert settings.github.token.get_secret_value() == "ghp_x"


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        ("ghp_x\n", 0o644, "every user can read"),
        ("", 0o600, "must hold the secret on one line"),
        ("ghp_x\nghp_y\n", 0o600, "must hold the secret on one line"),
    ],
)
def test_a_file_of_a_secret_is_for_few_and_holds_only_it(
    tmp_path: Path, content: str, mode: int, problem: str
) -> None:
    """A file that is not as it should be is an error, which does not repeat the secret."""
    (kept := tmp_path / "token").write_text(content)
    kept.chmod(mode)

    with pytest.raises(ConfigError, match=problem) as caught:
        load_settings(tmp_path, {"KVSYNC_CI_GITHUB_TOKEN_FILE": str(kept)})

    assert "ghp_" not in str(caught.value)


def test_a_file_of_a_secret_is_named_when_it_is_missing_or_one_too_many(tmp_path: Path) -> None:
    """A secret that is set twice is an error: which of them is meant, we do not guess."""
    given = {
        "KVSYNC_CI_GITHUB_TOKEN_FILE": str(tmp_path / "none"),
        "KVSYNC_CI_WEBHOOK_SECRET_FILE": str(tmp_path / "none"),
        "KVSYNC_CI_WEBHOOK_SECRET": "s3cr3t",
        "KVSYNC_CI_SERVE_PORT_FILE": "port",
    }

    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, given)

    problems = sorted(caught.value.problems)
    assert [each.split(":")[0] for each in problems[:2]] == [
        "KVSYNC_CI_GITHUB_TOKEN_FILE",
        "KVSYNC_CI_WEBHOOK_SECRET",
    ]
    assert "KVSYNC_CI_SERVE_PORT_FILE" in problems[2]


def test_repositories_that_are_tested_by_themselves(tmp_path: Path) -> None:
    """Each has its own table; what is wrong with one is told with its name, and no password is repeated."""
    file = tmp_path / "kvsync-ci.toml"
    file.write_text('[repositories.shop]\nurl = "git@example.org:team/shop.git"\nfollow = "*/5 * * * *"\n')
    assert load_settings(tmp_path, {}).repositories == {
        "shop": RepositorySettings(url="git@example.org:team/shop.git", follow="*/5 * * * *")
    }

    file.write_text('[repositories.shop]\nurl = "https://me:s3cret@git.example.org/x"\nnightly = "at 3"\n')
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, {})
    said = str(caught.value)
    assert "repositories.shop.url: give what git fetches from" in said
    assert "repositories.shop.nightly: five fields are needed" in said
    assert "s3cret" not in said
