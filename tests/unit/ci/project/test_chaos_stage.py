"""Stages of the kind `chaos` in `stages.toml`: what they say, and every mistake with its line."""

import pytest

from kvsync.ci.project.chaos_stage import BandwidthTable, ChaosStageTable, Criteria, LatencyTable, criteria_of
from kvsync.ci.project.choice import stages_of
from kvsync.ci.project.reading import parse_project
from kvsync.errors import ConfigError

GOOD = """\
[services.database]
kind = "postgres"
[services.api]
kind = "process"
command = ["x", "{port}"]
needs = ["database"]
ready = "{url}/"
[stages.chaos]
kind = "chaos"
needs = ["api"]
whole = ["bin/whole"]
criteria = {availability = "98 %", errors = "2 %"}
[stages.chaos.steady]
probe = "{services.api.url}/healthz"
[stages.chaos.faults.slow-database]
on = "database"
kind = "latency"
delay = "200ms"
criteria = {availability = 0.9, p95 = false}
[stages.chaos.faults.killed-pods]
on = {selector = "app=api,tier=web", namespace = "shop"}
kind = "kill"
for = "20s"
[stages.chaos.faults.narrow]
on = "api"
kind = "bandwidth"
rate = "64 KiB"
"""

BAD = """\
[services.api]
kind = "process"
command = ["x", "{port}"]
ready = "{url}/"
[services.other]
kind = "redis"
[stages.chaos]
kind = "chaos"
needs = ["api"]
timeout = "10s"
criteria = {availability = 99, errors = "1", p95 = 0.5, recovry = 3}
[stages.chaos.steady]
load = "load"
probe = "api/x"
rate = -1
[stages.chaos.faults.a]
on = "apy"
kind = "latency"
dely = "200ms"
[stages.chaos.faults.b]
on = "other"
kind = "latensy"
[stages.chaos.faults.c]
on = {selectr = "a=b"}
kind = "kill"
delay = 3
[stages.chaos.faults.d]
on = {selector = "a in (b)", namespace = "A"}
kind = "bandwidth"
rate = "3 parsecs"
[stages.chaos.faults.e]
kind = "pause"
on = 3
for = "x"
[stages.chaos.faults.F]
on = "other"
[stages.chaos.faults.g]
on = "api"
kind = "corruption"
fraction = "0 %"
criteria = {p95 = true, quick = "1 day"}
[stages.few]
kind = "chaos"
needs = "api"
timeout = 10
[stages.few.steady]
probe = ["x"]
[stages.few.faults.a]
on = "api"
kind = "outage"
for = "9s"
[stages.none]
kind = "chaos"
faults = {}
"""

PROBLEMS = """\
11: stages.chaos.criteria.availability: 99 is no share; give one from 0 to 1, such as 0.99, or a \
text such as "99 %"
11: stages.chaos.criteria.errors: '1' is no share; give one such as "99 %", or 0.99
11: stages.chaos.criteria.p95: input should be greater than or equal to 1, not 0.5
11: stages.chaos.criteria.recovry: unknown key; is 'recovery' meant?
12: stages.chaos.steady: it has both `load` and `probe`; give one of them, which is asked all the \
time
13: stages.chaos.steady.load: there is no stage 'load' of the kind load; there are none; probe \
something instead
14: stages.chaos.steady.probe: 'api/x' is neither an address nor a program; give one such as \
"{services.api.url}/healthz", or ["bin/probe", "--quick"]
15: stages.chaos.steady.rate: input should be greater than 0, not -1
16: stages.chaos.faults.a.delay: is missing; add it
17: stages.chaos.faults.a.on: there is no service 'apy'; is 'api' meant?
19: stages.chaos.faults.a.dely: unknown key; is 'delay' meant?
20: stages.chaos.faults.b: there is no kind 'latensy'; is 'latency' meant?
21: stages.chaos.faults.b.on: the stage has no service 'other'; add it to its `needs`
24: stages.chaos.faults.c.on.selector: is missing; add it
24: stages.chaos.faults.c.on.selectr: unknown key; is 'selector' meant?
26: stages.chaos.faults.c.delay: unknown key; there are: on, for, criteria, kind
28: stages.chaos.faults.d.on.namespace: string should match pattern \
'^[a-z0-9]([a-z0-9-]*[a-z0-9])?$', not 'A'
28: stages.chaos.faults.d.on.selector: 'a in (b)' is no list of labels; give it such as "app=api" \
or "app=api,tier=web"
30: stages.chaos.faults.d.rate: '3 parsecs' is no number of bytes; give one, or a text such as \
"64 KiB" or "512 MiB"
33: stages.chaos.faults.e.on: input should be a valid string, not 3
34: stages.chaos.faults.e.for: 'x' is no time; give seconds, or a text such as "90s", "10m" or "2h"
35: stages.chaos.faults.F: a name has small letters, digits and . _ - within; rename it
35: stages.chaos.faults.F: has no kind; give one, such as kind = "latency": latency, bandwidth, \
loss, corruption, partition, outage, reset, kill, down, restart, pause, cpu, memory
36: stages.chaos.faults.F.on: the stage has no service 'other'; add it to its `needs`
40: stages.chaos.faults.g.fraction: input should be greater than 0, not '0 %'
41: stages.chaos.faults.g.criteria.p95: true is no limit; give a number such as 2.0, or false for \
none
41: stages.chaos.faults.g.criteria.quick: '1 day' is no time; give seconds, or a text such as \
"90s", "10m" or "2h"
42: stages.few.baseline: 5 requests per second make 25, which say nothing; raise steady.rate or the time \
to 40
45: stages.few.timeout: its faults take more than 14 s; raise it, or shorten them
51: stages.few.faults.a.for: 5 requests per second make 45, and a p95 needs 250; raise \
steady.rate or the time, or set criteria.p95 = false
52: stages.none.steady: is missing; add it
54: stages.none.faults: it is empty; give at least one value"""


def chaos(text: str = GOOD) -> ChaosStageTable:
    """Return the chaos stage of a file."""
    table = parse_project(text).stages["chaos"]
    assert isinstance(table, ChaosStageTable)
    return table


def problems(text: str) -> list[str]:
    """Return what is said to be wrong."""
    with pytest.raises(ConfigError) as raised:
        parse_project(text)
    return [each.removeprefix("stages.toml:") for each in raised.value.problems]


def test_what_it_says_is_in_seconds_bytes_and_shares() -> None:
    """With the defaults of what it does not say."""
    table = chaos()
    slow, killed, narrow = table.faults.values()

    assert isinstance(slow, LatencyTable)
    assert isinstance(narrow, BandwidthTable)
    assert (slow.delay, narrow.rate) == (0.2, 64 * 1024)
    assert (killed.seconds, narrow.seconds) == (20.0, 10.0)
    assert (table.steady.rate_per_s, table.baseline) == (50.0, 5.0)


def test_a_fault_has_the_criteria_of_its_stage_but_for_its_own() -> None:
    """What neither says is the default."""
    table = chaos()

    assert criteria_of(table.criteria, table.faults["slow-database"].criteria) == Criteria(
        availability=0.9, errors=0.02, p95=None, recovery=30.0
    )


def test_pods_need_a_cluster() -> None:
    """So that forks' commits have no such stage, and a run makes one for it."""
    without = GOOD.replace('{selector = "app=api,tier=web", namespace = "shop"}', '"api"')

    assert [stages_of(parse_project(text))["chaos"].uses_cluster for text in (GOOD, without)] == [True, False]


def test_every_mistake_is_told_at_once_with_its_line() -> None:
    """Unknown services, kinds and keys, values that are out of range, and what could never be judged."""
    assert problems(BAD) == PROBLEMS.splitlines()


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ("lod", "there is no stage 'lod' of the kind load; is 'load' meant?"),
        ("script", "script sends the requests of a script; name a stage that declares them"),
        ("load", "load needs cache; add that to this stage's `needs`"),
    ],
)
def test_the_load_that_is_asked_has_to_be_one_of_the_file(load: str, said: str) -> None:
    """Whose requests are declared, and whose services the stage has."""
    text = GOOD.replace('probe = "{services.api.url}/healthz"', f'load = "{load}"')
    text += """
[services.cache]
kind = "redis"
[stages.script]
kind = "load"
script = "k6.js"
thresholds = "errors < 1 %"
[stages.load]
kind = "load"
needs = ["api", "cache"]
target = "{services.api.url}"
thresholds = "errors < 1 %"
requests.read.path = "/"
phases = [{kind = "hold", rate = 1, for = 1}]
"""
    assert problems(text) == [f"14: stages.chaos.steady.load: {said}"]
