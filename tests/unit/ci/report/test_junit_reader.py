"""JUnit files of any tool: one check per test, with its attempts, and never better than what happened."""

from pathlib import Path

import pytest

from kvsync.ci.report.junit_endings import OUTPUT_CHARACTERS
from kvsync.ci.report.junit_reader import read_junit
from kvsync.testing.results.outcome import CheckKind, Outcome, StageResult

SUREFIRE = """
<testsuite name="com.example.OrderTest" tests="2" failures="1" errors="0" flakes="1" time="1,234.5">
  <testcase name="ships" classname="com.example.OrderTest" time="1,200.25">
    <flakyFailure message="expected 3" type="AssertionError">
      <stackTrace>expected 3
at OrderTest.java:7</stackTrace><system-out>first try</system-out>
    </flakyFailure>
  </testcase>
  <testcase name="bills" classname="com.example.OrderTest" time="0.5">
    <failure message="no money" type="AssertionError">no money
at OrderTest.java:9</failure>
    <rerunError message="no network" type="IOException"><stackTrace>no network</stackTrace></rerunError>
  </testcase>
</testsuite>"""

PROW = """
<testsuites><testsuite name="e2e" tests="4" failures="3">
  <testcase name="heals"><failure message="lost">lost 3 blocks</failure></testcase>
  <testcase name="heals" time="2"/>
  <testcase name="drains"><failure message="timed out"/></testcase>
  <testcase name="drains"><failure message="timed out again"/></testcase>
</testsuite></testsuites>"""

RERUNFAILURES = """<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="0" failures="1" skipped="1" tests="4">
  <testcase classname="tests.test_a" name="test_flaky" time="0.1" />
  <testcase classname="tests.test_a" name="test_flaky" time="0.1" />
  <testcase classname="tests.test_a" name="test_flaky" time="0.1" />
  <testcase classname="tests.test_a" name="test_good" time="0.1" />
  <testcase classname="tests.test_a" name="test_bad" time="0.1" />
  <testcase classname="tests.test_a" name="test_bad" time="0.1">
    <failure message="no">E no</failure></testcase>
  <testcase classname="tests.test_a" name="test_known">
    <skipped type="pytest.xfail" message="known"/></testcase>
</testsuite></testsuites>"""

GOTESTSUM = """
<testsuites tests="3" failures="1" errors="0" time="2.1">
  <testsuite tests="2" failures="1" time="1.0" name="example.com/index">
    <testcase classname="example.com/index" name="TestMatch" time="0.5">
      <failure message="Failed" type="">index_test.go:3: 1 != 2</failure></testcase>
    <testcase classname="example.com/index" name="TestMatch" time="0.5"/>
  </testsuite>
  <testsuite tests="1" failures="0" time="1.0" name="example.com/codec">
    <testcase classname="example.com/codec" name="TestMatch" time="0.5"/>
  </testsuite>
</testsuites>"""


def read(tmp_path: Path, *texts: str | bytes) -> StageResult:
    """Return what the reader makes of files with these contents."""
    paths = [tmp_path / f"{number}.xml" for number, _ in enumerate(texts)]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text if isinstance(text, bytes) else text.strip().encode())
    return read_junit(paths, name="theirs")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            SUREFIRE,
            {"ships": ("flaky", ["failed"]), "bills": ("failed", ["error"])},
            id="surefire",
        ),
        pytest.param(PROW, {"heals": ("flaky", ["failed"]), "drains": ("failed", ["failed"])}, id="prow"),
        pytest.param(
            RERUNFAILURES,
            {
                "tests.test_a::test_flaky": ("flaky", ["failed", "failed"]),
                "tests.test_a::test_good": ("passed", []),
                "tests.test_a::test_bad": ("failed", ["failed"]),
                "tests.test_a::test_known": ("xfailed", []),
            },
            id="pytest-rerunfailures",
        ),
        pytest.param(
            GOTESTSUM,
            {
                "example.com/index TestMatch": ("flaky", ["failed"]),
                "example.com/codec TestMatch": ("passed", []),
            },
            id="gotestsum",
        ),
    ],
)
def test_dialects(tmp_path: Path, text: str, expected: dict[str, tuple[str, list[str]]]) -> None:
    """Each dialect gives one check per test: the last attempt decides, those before are kept."""
    result = read(tmp_path, text)

    found = {check.name: (check.kind, [each.kind for each in check.attempts]) for check in result.checks}
    assert found == expected
    assert result.doubt == ""


def test_what_is_said_of_an_attempt(tmp_path: Path) -> None:
    """The text of an attempt is kept, or that there is none; times have thousands separators."""
    ships, bills = read(tmp_path, SUREFIRE).checks
    flaky = read(tmp_path, RERUNFAILURES).checks[0]

    assert ships.attempts[0].detail == "expected 3\nat OrderTest.java:7"
    assert (bills.headline, ships.duration_s) == ("no money", 1200.25)
    assert "kept no text of it" in flaky.attempts[0].detail


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            '<testsuite name="s" tests="2"><testcase name="a"/><testcase name="a"/></testsuite>',
            {"a": "passed", "a #2": "passed"},
            id="rows that passed",
        ),
        pytest.param(
            '<testsuite name="s"><testcase name="a"><failure/></testcase><testcase name="a"/>'
            '<testcase name="b"/><testcase name="b"/></testsuite>',
            {"a": "failed", "a #2": "passed", "b": "passed", "b #2": "passed"},
            id="two rows, in a suite that repeats names",
        ),
        pytest.param(
            '<testsuite name="s"><testcase name="a"><failure/></testcase><testcase name="a"><failure/>'
            '</testcase><testcase name="a"/></testsuite>',
            {"a": "failed", "a #2": "failed", "a #3": "passed"},
            id="three rows",
        ),
        pytest.param(
            '<testsuites><testcase name="a" classname="test"><failure/></testcase>'
            '<testcase name="a" classname="test"/></testsuites>',
            {"test::a": "failed", "test::a #2": "passed"},
            id="without a suite",
        ),
        pytest.param(
            '<testsuites><testsuite name="s" hostname="x"><testcase name="a"><failure/></testcase>'
            "</testsuite>"
            '<testsuite name="s" hostname="y"><testcase name="a"/></testsuite></testsuites>',
            {"x a": "failed", "y a": "passed"},
            id="a suite for each host",
        ),
        pytest.param(
            '<testsuite name="s"><testcase name="a" class="X" file="x.php"><failure/></testcase>'
            '<testcase name="a" class="Y" file="y.php"/></testsuite>',
            {"X::a": "failed", "Y::a": "passed"},
            id="classes",
        ),
        pytest.param(
            '<testsuite name="s"><testcase name="a" feature="X"><failure/></testcase>'
            '<testcase name="a" feature="Y"/></testsuite>',
            {"X a": "failed", "Y a": "passed"},
            id="features",
        ),
        pytest.param(
            '<testsuite name="s"><testcase name="a" line="1"><failure/></testcase>'
            '<testcase name="a" line="9"/></testsuite>',
            {"a": "failed", "a #2": "passed"},
            id="an attribute that only some tool writes",
        ),
        pytest.param(
            '<testsuite name="s"><testcase name="a"/><testcase name="a"/><testcase name="a #2"/></testsuite>',
            {"a": "passed", "a #3": "passed", "a #2": "passed"},
            id="a number that is taken",
        ),
    ],
)
def test_elements_of_one_name_are_different_tests(
    tmp_path: Path, text: str, expected: dict[str, CheckKind]
) -> None:
    """Unless a retry is known, each element is a test with a name of its own, and no pass hides a failure."""
    assert {check.name: check.kind for check in read(tmp_path, text).checks} == expected


def test_files_of_one_name_are_different_tests(tmp_path: Path) -> None:
    """Such as one of each operating system; a folder tells them apart where their names do not."""
    paths = [tmp_path / system / "junit.xml" for system in ("linux", "windows")]
    for path, inside in zip(paths, ("<failure/>", ""), strict=True):
        path.parent.mkdir()
        path.write_text(f'<testsuite name="s"><testcase name="a">{inside}</testcase></testsuite>')
    found = read_junit(paths, name="theirs").checks

    assert [(check.name, check.kind) for check in found] == [
        (f"{paths[0]} a", "failed"),
        (f"{paths[1]} a", "passed"),
    ]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(
            ['<testcase name="a"><failure/></testcase>', '<testcase name="a"/>'], {"a": "flaky"}, id="passed"
        ),
        pytest.param(
            ['<testcase name="a"><failure/></testcase>', '<testcase name="a"><skipped/></testcase>'],
            {"a": "failed"},
            id="skipped",
        ),
        pytest.param(
            ['<testcase name="a"><failure/></testcase><testcase name="b"/>', ""],
            {"a": "failed", "b": "passed"},
            id="not tried again",
        ),
    ],
)
def test_files_that_are_said_to_be_attempts(
    tmp_path: Path, texts: list[str], expected: dict[str, CheckKind]
) -> None:
    """On request the files are attempts, in their order, on whatever machines they were made."""
    suites = [f'<testsuite name="s" hostname="{host}">{{}}</testsuite>' for host in ("x", "y")]
    paths = [tmp_path / f"{number}.xml" for number, _ in enumerate(texts)]
    for path, suite, text in zip(paths, suites, texts, strict=True):
        path.write_text(suite.format(text))
    checks = read_junit(paths, name="theirs", attempts=True).checks

    assert {check.name: check.kind for check in checks} == expected


def test_attempts_at_tests_of_several_hosts(tmp_path: Path) -> None:
    """Where one file has tests of several hosts, an attempt on another one is another test's."""
    suites = '<testsuite name="s" hostname="{}"><testcase name="a">{}</testcase></testsuite>'
    both = f"<testsuites>{suites.format('x', '<failure/>')}{suites.format('y', '')}</testsuites>"
    (tmp_path / "1.xml").write_text(both)
    (check, other) = read_junit([tmp_path / "1.xml"], name="theirs", attempts=True).checks

    assert (check.kind, other.kind) == ("failed", "passed")


def test_a_rerun_that_was_skipped_undoes_no_failure(tmp_path: Path) -> None:
    """Whatever a test's last attempt decided nothing about stays as it was before."""
    (check,) = read(
        tmp_path,
        '<testsuite name="s"><testcase name="a"><skipped message="too late"/>'
        '<rerunFailure message="no">no</rerunFailure></testcase></testsuite>',
    ).checks

    assert (check.kind, check.headline) == ("failed", "no")
    assert "too late" in check.detail


@pytest.mark.parametrize(
    ("inside", "kind", "detail"),
    [
        ('status="disabled"', "skipped", "status: disabled"),
        ('status="notrun" result="suppressed"', "skipped", "status: notrun"),
        ('status="run" result="skipped"', "skipped", "result: skipped"),
        ('skipped="true"', "skipped", "skipped: skipped"),
        ('status="Failed"', "failed", "status: Failed"),
        ('status="passed" result="completed"', "passed", ""),
    ],
)
def test_what_attributes_say(tmp_path: Path, inside: str, kind: CheckKind, detail: str) -> None:
    """Tests that were left out are skips, and what failed has failed, if only an attribute says so."""
    (check,) = read(tmp_path, f'<testsuite name="s"><testcase name="a" {inside}/></testsuite>').checks

    assert (check.kind, check.detail) == (kind, detail)


def test_a_file_of_disabled_tests_proves_nothing(tmp_path: Path) -> None:
    """Where no test ran the result is unknown."""
    text = '<testsuite name="s" tests="1" disabled="1"><testcase name="a" status="disabled"/></testsuite>'

    assert read(tmp_path, text).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("outer", ["testsuites", "testsuite"])
def test_errors_of_a_whole_suite(tmp_path: Path, outer: str) -> None:
    """An error outside all cases is a check with its text, and one without a text has its type."""
    result = read(
        tmp_path,
        f'<{outer} name="all"><testsuite name="X" errors="1"><error message="no class">at X</error>'
        '</testsuite><failure type="java.lang.Error"/><testsuite name="Y"><testcase name="a"/></testsuite>'
        f"</{outer}>",
    )

    assert {check.name: (check.kind, check.detail) for check in result.checks} == {
        "X": ("error", "no class\nat X"),
        "all": ("failed", "java.lang.Error"),
        "a": ("passed", ""),
    }
    assert result.doubt == ""


def test_every_failure_of_a_test_is_kept(tmp_path: Path) -> None:
    """GoogleTest and Catch2 write one for each assertion."""
    (check,) = read(
        tmp_path,
        '<testsuite><testcase name="a"><failure>one</failure><failure>two</failure></testcase></testsuite>',
    ).checks

    assert check.detail == "one\ntwo"


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        pytest.param(
            b'<testsuite name="x" tests="5"><testcase name="a" classname="x.y" status="run"/></testsuite>',
            "0.xml: its header counts assertions, not tests",
            id="assertions",
        ),
        pytest.param(
            b'<testsuite tests="2" failures="1"><testcase name="a"><flakyFailure/></testcase></testsuite>',
            "0.xml: its header counts reruns, not tests",
            id="reruns",
        ),
        pytest.param(
            b'\n<?xml version="1.0"?><testsuite><testcase name="a"/></testsuite>',
            "0.xml: its declaration does not come first",
            id="a blank line",
        ),
        pytest.param(
            b'<?xml version="1.0" encoding="UTF-16"?><testsuite><testcase name="a"/></testsuite>',
            "0.xml: it declares UTF-16 and is UTF-8",
            id="not utf-16",
        ),
        pytest.param(
            b'<?xml version="1.0" encoding="cp037"?><testsuite><testcase name="a"/></testsuite>',
            "0.xml: it declares cp037 and is UTF-8",
            id="not ebcdic",
        ),
    ],
)
def test_oddities_are_remarks(tmp_path: Path, content: bytes, remark: str) -> None:
    """What is whole and only written oddly is read, and says so, without a doubt."""
    result = read(tmp_path, content)

    assert (result.outcome, result.remarks) == (Outcome.PASSED, (remark,))
    assert StageResult.from_json(result.to_json()) == result


def test_failed_assertions_that_no_test_has_are_missed(tmp_path: Path) -> None:
    """A header that counts assertions still promises a failure."""
    text = '<testsuite name="x" tests="5" failures="1"><testcase name="a" status="run"/></testsuite>'

    assert read(tmp_path, text).outcome is Outcome.UNKNOWN


def test_parameters_tell_tests_apart(tmp_path: Path) -> None:
    """GoogleTest keeps parameters in attributes; a test that it left out is skipped."""
    result = read(
        tmp_path,
        '<testsuites tests="3"><testsuite name="S" tests="3">'
        '<testcase name="T/0" classname="S" value_param="1" status="run"/>'
        '<testcase name="T/0" classname="S" value_param="2" status="run"><failure message="no"/></testcase>'
        '<testcase name="U" classname="S" status="notrun"/></testsuite></testsuites>',
    )

    assert {check.name: check.kind for check in result.checks} == {
        "T/0[1]": "passed",
        "T/0[2]": "failed",
        "U": "skipped",
    }


def test_node_ids_of_pytest(tmp_path: Path) -> None:
    """Where pytest wrote the file of a test, its check is named by its node id."""
    (check,) = read(
        tmp_path,
        '<testsuite name="pytest"><testcase file="tests/unit/test_a.py" classname="tests.unit.test_a.TestB" '
        'name="test_c[1]"/></testsuite>',
    ).checks

    assert check.name == "tests/unit/test_a.py::TestB::test_c[1]"


def test_output_is_capped(tmp_path: Path) -> None:
    """Of a long output the end is kept, and how much is missing is said."""
    long = "x" * OUTPUT_CHARACTERS + "end"
    (check,) = read(
        tmp_path, f'<testsuite><testcase name="a"><system-out>{long}</system-out></testcase></testsuite>'
    ).checks

    assert check.log_tail.startswith("(3 characters before this are in the file)\nx")
    assert check.log_tail.endswith("xend")


def test_several_files(tmp_path: Path) -> None:
    """Shards make one result; one damaged file spoils it, and its name is said."""
    suite = (
        '<testsuite name="{0}" timestamp="2026-11-20T0{0}:00:00"><testcase name="a" time="1"/></testsuite>'
    )
    result = read(tmp_path, suite.format(2), suite.format(1), "<testsuite>")

    assert {check.name for check in result.checks} == {"2 a", "1 a"}
    assert (result.started_at.hour, result.duration_s) == (1, 2.0)
    assert (result.outcome, result.reason) == (Outcome.UNKNOWN, "2.xml: no element found: line 1, column 11")
