"""Stages of the kind `load` in `stages.toml`: what they say, and every mistake with its line and its mend."""

from pathlib import Path

import pytest

from kvsync.ci.project.load_stage import LoadStageTable, described
from kvsync.ci.project.reading import parse_project, read_project
from kvsync.ci.stages.load.stream import asked_of
from kvsync.errors import ConfigError

GOOD = """\
[services.api]
kind = "process"
command = ["x", "{port}"]
ready = "{url}/"
[stages.load]
kind = "load"
needs = ["api"]
target = "{services.api.url}"
setup = [".venv/bin/python", "load/seed.py"]
thresholds = ["p95 of read < 10 ms", "p99 of write in spike < 50 ms", "errors < 5 %", "rate > 1000"]
[stages.load.values]
subject = ["orders", "users", "payments"]
number = {from = 1, to = 1000}
document = {file = "load/documents.txt"}
[stages.load.requests.read]
weight = 80
path = "/subjects/{subject}/versions/{version}"
[stages.load.requests.write]
weight = 15
method = "POST"
path = "/subjects/{subject}/versions"
json = {schema = "{document}"}
headers = {Authorization = "Bearer x"}
expect = [200, 201, 409]
capture = {version = "version"}
timeout = "5s"
[[stages.load.phases]]
kind = "ramp"
from = 10
to = 300
for = "10s"
[[stages.load.phases]]
name = "spike"
kind = "spike"
rate = 900
for = "5s"
"""

BAD = """\
[stages.load]
kind = "load"
target = "127.0.0.1:3"
timeout = "10s"
thresholds = ["p95 of raed < 10 ms", "p99 of write in spyke < 50 ms", "errors < 5", "p95 < 10 mss",
  "p95x < 3 ms", "fast", "rate > 1000 ms"]
tresholds = 3
program = "k6"
[stages.load.values]
subject = []
number = {from = 10, to = 1}
other = {file = "../x"}
fourth = {form = 1, to = 3}
version = ["a"]
seed = ["a"]
[stages.load.requests.read]
weight = 0
path = "subjects/{subject}/versions/{versoin}"
wieght = 3
[stages.load.requests.write]
method = "post"
path = "/subjects/{subject}/versions"
json = {schema = ["{documnt}"]}
body = "x"
expect = [2000]
capture = {version = ""}
timeout = "5 weeks"
[[stages.load.phases]]
kind = "ramp"
from = 0
to = 0
for = "10s"
[[stages.load.phases]]
name = "spike"
kind = "spike"
rate = 0
for = "5s"
[[stages.load.phases]]
name = "spike"
kind = "spke"
rate = 1
for = "5s"
[[stages.load.phases]]
kind = "climb"
from = 5
too = 6
to = 3
[stages.empty]
kind = "load"
thresholds = []
[stages.circle]
kind = "load"
target = "http://x"
thresholds = "errors < 1 %"
[stages.circle.requests.a]
path = "/{b}"
capture = {b = "x"}
[[stages.circle.phases]]
kind = "hold"
rate = 1
for = 3
profiles = ["full"]
[stages.script]
kind = "load"
script = "x.rb"
thresholds = "p95 of a < 1 s"
phases = []
"""

PROBLEMS = """\
3: stages.load.target: '127.0.0.1:3' is not an address; give one such as "http://127.0.0.1:8000"
5: stages.load.thresholds[0]: 'p95 of raed < 10 ms': there is no request 'raed'; is 'read' meant?
5: stages.load.thresholds[1]: 'p99 of write in spyke < 50 ms': there is no phase 'spyke'; is 'spike' meant?
5: stages.load.thresholds[2]: 'errors < 5': a share needs a unit; write it such as 5 %
5: stages.load.thresholds[3]: 'p95 < 10 mss': there is no unit 'mss' of a time; write it such as 10 \
ms: us, ms, s or m
5: stages.load.thresholds[4]: 'p95x < 3 ms': there is no measure 'p95x'; there are: p95 and other \
percentiles, mean, max, errors, rate
5: stages.load.thresholds[5]: 'fast' is not a threshold; write one such as "p95 of read < 10 ms", \
"errors < 5 %" or "rate > 1000"
5: stages.load.thresholds[6]: 'rate > 1000 ms': there is no unit 'ms' of a rate; write it such as \
1000 or 1000/s
7: stages.load.tresholds: unknown key; is 'thresholds' meant?
8: stages.load.program: this is for a script of k6 or Locust, and there is none; leave it out
10: stages.load.values.subject: it is empty; give at least one value
11: stages.load.values.number: there is no number from 10 to 1; exchange them
12: stages.load.values.other.file: '../x' leads out of the repository; give a path below its top
13: stages.load.values.fourth.form: unknown key; is 'from' meant?
13: stages.load.values.fourth.from: is missing; add it
14: stages.load.values.version: requests capture a value of this name, too; rename one
15: stages.load.values.seed: {seed} stands for something else already; rename the value
17: stages.load.requests.read.weight: input should be greater than 0, not 0
18: stages.load.requests.read.path: 'subjects/{subject}/versions/{versoin}' is not a path on the \
target; begin it with /
18: stages.load.requests.read.path: {versoin} stands for nothing: no value is called so, and no \
request captures it; is 'version' meant?
19: stages.load.requests.read.wieght: unknown key; is 'weight' meant?
21: stages.load.requests.write.method: 'post' is not a method of HTTP; write it in capitals: 'POST'
23: stages.load.requests.write.json: it has a body, too; leave one out
23: stages.load.requests.write.json: {documnt} stands for nothing: no value is called so, and no \
request captures it; there are: fourth, number, other, profile, seed, subject, version
25: stages.load.requests.write.expect[0]: input should be less than or equal to 599, not 2000
26: stages.load.requests.write.capture.version: '' leads nowhere; give such as "items.0.id" or \
"header:Location"
27: stages.load.requests.write.timeout: '5 weeks' is no time; give seconds, or a text such as \
"90s", "10m" or "2h"
31: stages.load.phases[0].to: it goes from 0 to 0; give a rate above 0
36: stages.load.phases[1].rate: input should be greater than 0, not 0
38: stages.load.phases[2]: another phase is called 'spike', too; give them names
38: stages.load.phases[2]: there is no kind 'spke'; is 'spike' meant?
43: stages.load.phases[3].for: is missing; add it
43: stages.load.phases[3].step: is missing; add it
46: stages.load.phases[3].too: unknown key; is 'to' meant?
47: stages.load.phases[3].to: it climbs from 5 to 3; exchange them
48: stages.empty.phases: is missing; add [[stages.NAME.phases]] with kind = "hold", rate = 10 and \
for = "10s"
48: stages.empty.requests: is missing; add [stages.NAME.requests.read] with path = "/"
48: stages.empty.target: is missing; add target = "{services.api.url}"
50: stages.empty.thresholds: it is empty; give at least one value
55: stages.circle.requests: each needs what an answer gives, so none can be the first; add one that does not
58: stages.circle.phases: none is for the profile 'quick'; add one, or leave it out of `when`
65: stages.script.script: 'x.rb' is not a script of k6 (.js, .mjs, .ts) or of Locust (.py)
67: stages.script.phases: the script sends requests of its own; leave this out, or the script
"""


def load(text: str) -> LoadStageTable:
    """Return the stage `load` of a file."""
    table = parse_project(text).stages["load"]
    assert isinstance(table, LoadStageTable)
    return table


def test_thresholds_that_are_not_asked_are_one_remark() -> None:
    """It says how many, and of which phases; the file has the rest."""
    text = GOOD.replace('kind = "spike"', 'kind = "spike"\nprofiles = ["full"]').replace(
        '"errors < 5 %"', '"errors in spike < 5 %"'
    )
    table = parse_project(text).stages["load"]
    assert isinstance(table, LoadStageTable)

    asked, said = asked_of(table, "quick")

    assert [each.text for each in asked] == ["p95 of read < 10 ms", "rate > 1000"]
    assert said == ["not asked in the profile quick: 2 thresholds over spike"]
    assert asked_of(table, "full")[1] == []


def test_a_method_that_nobody_knows_is_refused_with_its_line() -> None:
    """A slip of the pen would otherwise be a load of refusals; WebDAV's are known."""
    with pytest.raises(ConfigError) as raised:
        parse_project(GOOD.replace('"POST"', '"FROB"'))
    (problem,) = raised.value.problems

    assert problem.startswith("stages.toml:20: stages.load.requests.write.method: 'FROB' is not a method of ")
    assert parse_project(GOOD.replace('"POST"', '"PROPFIND"'))


def test_a_whole_stage_is_read() -> None:
    """Requests with weights, values and captures, phases, and thresholds over them."""
    table = load(GOOD)

    assert [(each.kind, each.duration) for each in table.phases] == [("ramp", 10), ("spike", 5)]
    assert table.requests["write"].json_body == {"schema": "{document}"}
    assert (table.requests["write"].timeout, table.requests["read"].timeout) == (5, 10)


def test_every_mistake_is_told_with_its_line() -> None:
    """Names that stand for nothing, weights of 0, phases and requests that are missing, unknown units."""
    with pytest.raises(ConfigError) as raised:
        parse_project(BAD)

    assert [each.removeprefix("stages.toml:") for each in raised.value.problems] == PROBLEMS.splitlines()


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """Values and scripts are looked for before anything starts."""
    script = 'kind = "load"\nscript = "k6.js"\nthresholds = "errors < 1 %"\n'
    (tmp_path / "stages.toml").write_text(f"{GOOD}\n[stages.script]\n{script}")

    with pytest.raises(ConfigError) as raised:
        read_project(tmp_path)

    mend = "in the repository; mend the name, or leave the stage out"
    values, script = raised.value.problems
    document = "stages.toml:14: stages.load.values.document.file: there is no file 'load/documents.txt'"
    assert values == f"{document} {mend}"
    assert script == f"stages.toml:40: stages.script.script: there is no file 'k6.js' {mend}"


def test_a_phase_of_each_profile_may_have_the_same_name() -> None:
    """A soak is short in the quick profile, and long in the full one; the time limit holds for each."""
    soak = '[[stages.load.phases]]\nkind = "soak"\nrate = 3\nfor = "{}"\nprofiles = "{}"\n'

    assert load(GOOD + soak.format("5s", "quick") + soak.format("10m", "full"))
    with pytest.raises(
        ConfigError, match="in the profile 'full' these take 7215 s, and the stage 900 s at most"
    ):
        parse_project(GOOD + soak.format("5s", "quick") + soak.format("2h", "full"))


def test_a_climb_needs_something_that_can_break() -> None:
    """A rate is what it looks for, and a threshold over another phase says nothing of it."""
    climb = '[[stages.load.phases]]\nkind = "climb"\nfrom = 1\nto = 9\nstep = 2\nfor = "5s"\n'
    only = 'thresholds = ["rate > 3", "p95 in spike < 1 s"]'

    assert load(GOOD + climb)
    with pytest.raises(ConfigError, match=r"phases\[2\]: nothing says where it breaks; add a threshold"):
        parse_project((GOOD + climb).replace(GOOD.splitlines()[9], only))


def test_a_stage_in_one_line() -> None:
    """What `kvsync-ci plan` shows of it."""
    script = '[stages.load]\nkind = "load"\nscript = "load/k6.js"\nthresholds = "errors < 1 %"'
    script += '\noptions = ["-u", "9"]'

    assert described(load(GOOD), "quick") == (
        "read, write at {services.api.url}: ramp 10 to 300/s for 10 s, spike 900/s for 5 s"
    )
    assert described(load(script), "quick") == "k6 load/k6.js -u 9"
