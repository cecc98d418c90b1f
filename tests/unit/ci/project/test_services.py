"""The services of a file: what is wrong with them, their order and their names."""

import textwrap

import pytest

from kvsync.ci.project.choice import Occasion, choose
from kvsync.ci.project.reading import parse_project
from kvsync.ci.project.services import placeholders, start_order, variables
from kvsync.errors import ConfigError

GOOD = """
[services.cache]
kind = "redis"

[services.api]
kind = "process"
command = ["./api", "{port}", "{services.database.url}"]
needs = "database"
ready = "{url}/healthz"

[services.database]
kind = "postgres"

[services.gate-way]
kind = "process"
command = ["./gateway", "{url}"]
needs = ["cache", "api"]
ready = "tcp://{host}:{port}"

[stages.unit]
kind = "pytest"
folder = "tests"

[stages.whole]
kind = "command"
command = ["./whole", "{services.database.password}", "{other}"]
needs = ["unit", "gate-way"]
environment = {API = "{services.api.url}/v1"}
"""

MALFORMED = """\
[services.database]
kind = "postgresql"

[services.cache]
kind = "redis"
prot = 3

[services.a]
kind = "process"
command = ["a", "{port}"]
ready = "http://example.com/"
needs = ["b", "cach"]

[services.b]
kind = "process"
command = ["b"]
ready = "{url}/"
needs = "a"
environment = {C = "{services.cache.url}"}

[services.c]
kind = "process"
command = ["c", "{port}"]

[services.X]
kind = "s3"

[services.u]
kind = "s3"

[stages.u]
kind = "command"
command = ["u", "{services.cache.user}", "{services.u.bucket}", "{services.nothing.url}"]
needs = ["cache", "databse"]
after = "cache"
"""

PROBLEMS = """\
stages.toml: 15 problems
stages.toml:1: services.database: there is no kind 'postgresql'; is 'postgres' meant?
stages.toml:6: services.cache.prot: unknown key; there are: start_timeout, kind
stages.toml:11: services.a.ready: 'http://example.com/' is not an address of its own that can be asked; \
give one such as "{url}/healthz" or "tcp://{host}:{port}"
stages.toml:12: services.a.needs: the services wait for each other in a circle: a -> b -> a; \
leave one link out
stages.toml:12: services.a.needs: there is no service 'cach'; is 'cache' meant?
stages.toml:14: services.b: nothing tells it its port; put {port} into its command or environment
stages.toml:19: services.b.environment: {services.cache.url} stands for nothing; add 'cache' to `needs`
stages.toml:21: services.c.ready: is missing; add it
stages.toml:25: services.X: a name has small letters, digits and - within, a letter first; rename it
stages.toml:28: services.u: a stage has the same name, and `needs` names both; rename one
stages.toml:33: stages.u.command: {services.cache.user} stands for nothing; there are: url, host, port
stages.toml:33: stages.u.command: {services.nothing.url} stands for nothing; there are: \
database, cache, a, b, c, X, u
stages.toml:33: stages.u.command: {services.u.bucket} stands for nothing; add 'u' to `needs`
stages.toml:34: stages.u.needs: there is no stage or service 'databse'; is 'database' meant?
stages.toml:35: stages.u.after: 'cache' is a service; name it in `needs`"""


def problems(text: str) -> list[str]:
    """Return what is said to be wrong."""
    with pytest.raises(ConfigError) as raised:
        parse_project(textwrap.dedent(text))
    return list(raised.value.problems)


def test_every_problem_is_told_at_once_with_its_line() -> None:
    """Kinds, keys, names, circles, and texts that name what is not there."""
    with pytest.raises(ConfigError) as raised:
        parse_project(MALFORMED)

    assert str(raised.value) == PROBLEMS


def test_what_a_stage_gets_starts_after_what_it_needs() -> None:
    """In the order of the file otherwise; what only services need comes along, and nothing else."""
    project = parse_project(GOOD)

    assert start_order(project.services, project.stages["whole"].needs) == [
        "cache",
        "database",
        "api",
        "gate-way",
    ]
    assert start_order(project.services, ["api"]) == ["database", "api"]
    assert start_order(project.services, project.stages["unit"].needs) == []


def test_a_service_is_not_a_stage_that_has_to_pass() -> None:
    """A run of the stage brings along the stages that it needs."""
    assert choose(parse_project(GOOD), ["whole"], Occasion()) == ("unit", "whole")


def test_a_service_is_found_by_variables_and_in_braces() -> None:
    """Each field by a name of its own."""
    fields = {"url": "http://127.0.0.1:4", "access_key": "k"}

    assert variables("gate-way", fields) == {"GATE_WAY_URL": "http://127.0.0.1:4", "GATE_WAY_ACCESS_KEY": "k"}
    assert placeholders("gate-way", fields)["services.gate-way.url"] == "http://127.0.0.1:4"


@pytest.mark.parametrize(
    "ready", ["{url}", "{url}/healthz", "{url}?deep", "tcp://{host}:{port}", "http://{host}:{port}/live"]
)
def test_a_service_is_asked_at_an_address_of_its_own(ready: str) -> None:
    """By HTTP or by a connection."""
    parse_project(GOOD.replace("{url}/healthz", ready))


@pytest.mark.parametrize(
    "ready", ["{url}.example.com", "http://{host}:{port}0/", "tcp://10.0.0.1:{port}", ""]
)
def test_a_service_is_not_asked_anywhere_else(ready: str) -> None:
    """Another host would be another's, whose answer says nothing."""
    (problem,) = problems(GOOD.replace("{url}/healthz", ready))

    assert "services.api.ready" in problem
    assert "is not an address of its own" in problem
