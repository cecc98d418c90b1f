"""Coverage: one model for all profiles, merged, placed in the repository, of changed lines, and gated."""

import pytest
from pydantic import ValidationError

from kvsync.ci.project.coverage import CoverageGate, PathMinimum
from kvsync.ci.readers.bounds import Damaged
from kvsync.ci.readers.coverage.changes import changed_lines, of_changes
from kvsync.ci.readers.coverage.coverage import Coverage, FileCoverage, Tally, merged
from kvsync.ci.readers.coverage.gate import judged
from kvsync.ci.readers.coverage.paths import placed
from kvsync.ci.readers.profiles.cobertura import read_cobertura
from kvsync.ci.readers.profiles.coverage_py import read_coverage_py
from kvsync.ci.readers.profiles.go_cover import read_go_cover
from kvsync.ci.readers.profiles.lcov import read_lcov
from kvsync.ci.readers.reading import ResultFile
from tests.unit.ci.readers.recordings import recorded

CART = "src/shop/cart.py"


def coverage(read: ResultFile) -> Coverage:
    """Return the profile that was read."""
    assert read.coverage is not None
    return read.coverage


SHOP = coverage(read_coverage_py(recorded("coverage-py.json")))


@pytest.mark.parametrize(
    "read",
    [
        read_coverage_py(recorded("coverage-py.json")),
        read_cobertura(recorded("cobertura.xml"), "/src"),
        read_lcov(recorded("coverage-py.lcov")),
    ],
    ids=["json", "cobertura", "lcov"],
)
def test_the_same_run_in_three_formats(read: ResultFile) -> None:
    """As coverage.py itself counts it: 57 %."""
    found = coverage(read)
    files = {path.removeprefix("shop/"): each for path, each in found.files.items()}

    assert found.tally == Tally(lines=10, lines_hit=6, branches=4, branches_hit=2)
    assert (files[CART].missed, files[CART].partial) == ([8, 10, 15], [7, 9])
    assert found.tally.percent == pytest.approx(57.142857)


def test_cobertura_is_named_from_the_root() -> None:
    """Its files lie below its one source."""
    assert CART in coverage(read_cobertura(recorded("cobertura.xml"), "/src/shop")).files
    assert f"shop/{CART}" in coverage(read_cobertura(recorded("cobertura.xml"), "/src")).files


def test_node_and_go() -> None:
    """Functions that never ran, and blocks of which one ran."""
    assert coverage(read_lcov(recorded("node.lcov"))).files["sum.js"].missed == [8, 9, 10]
    go = "mode: count\nm/a.go:1.10,3.2 2 5\nm/a.go:3.3,4.2 1 0\nm/a.go:9.1,9.9 1 0\nm/a.go:9.1,9.9 1 2\n"
    assert coverage(read_go_cover(go)).files["m/a.go"].missed == [4]


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("SF:b\nDA:1", "line 5 is not one of LCOV"),
        ("SF:b\nDA:1,1\n", "the record of b has no end"),
        ("SF:b\nDA:1,1\nLF:2\nend_of_record\n", "2 lines are declared, 1 are there"),
    ],
)
def test_a_cut_tracefile_is_in_doubt(text: str, doubt: str) -> None:
    """Lines that are missing would count as neither hit nor missed."""
    found = read_lcov(f"SF:a\nDA:1,1\nend_of_record\n{text}")

    assert doubt in found.doubts[0]


def test_a_cut_cobertura_is_in_doubt() -> None:
    """What came before the damage is kept."""
    text = recorded("cobertura.xml")
    found = read_cobertura(text[: text.index("</lines>", text.index("cart.py"))])

    assert found.doubts
    assert coverage(found).files[CART].missed == [8, 10, 15]


def test_a_document_type_without_declarations_is_left_out() -> None:
    """As gcovr and Istanbul write it; other addresses are never asked."""
    text = recorded("cobertura.xml").replace(
        "<coverage", '<!DOCTYPE coverage SYSTEM "http://cobertura.example.com/coverage-04.dtd">\n<coverage', 1
    )

    assert coverage(read_cobertura(text)).tally.lines == 10


def test_a_block_of_a_billion_lines_is_damaged() -> None:
    """One line of a profile may not fill the memory."""
    with pytest.raises(Damaged, match="5,000,000 lines"):
        read_go_cover("mode: set\nm/a.go:1.1,999999999.1 1 1\n")


def test_profiles_add_up() -> None:
    """A line ran if it did in any; branches by their key, or by the better count of tools that differ."""
    one = Coverage({"a": FileCoverage({1: True, 2: False}, {1: {"2": True, "3": False}})})
    two = Coverage(
        {"a": FileCoverage({2: True}, {1: {"2": False, "3": True}}), "b": FileCoverage({1: False})}
    )
    other = Coverage({"a": FileCoverage({1: True}, {1: {"x": True, "y": True}})})

    assert merged([one, two]).tally == Tally(lines=3, lines_hit=2, branches=2, branches_hit=2)
    assert (one | other).tally == Tally(lines=2, lines_hit=1, branches=2, branches_hit=2)
    assert merged([]).tally.percent is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("src/a.py", "src/a.py"),
        ("./src/a.py", "src/a.py"),
        ("/builds/7/repo/src/a.py", "src/a.py"),
        ("example.com/stock/count/count.go", "count/count.go"),
        ("deep/only.py", "src/deep/only.py"),
        ("a.py", ""),
        ("/elsewhere/b.py", ""),
    ],
)
def test_files_are_those_of_the_repository(path: str, name: str) -> None:
    """By the end of their path, if that is only one; others are foreign."""
    files = ["src/a.py", "lib/a.py", "count/count.go", "src/deep/only.py"]
    found = placed(Coverage({path: FileCoverage({1: True})}), files)

    assert list(found.coverage.files) == ([name] if name else [])
    assert found.foreign == (() if name else (path,))


DIFF = """diff --git a/src/shop/cart.py b/src/shop/cart.py
--- a/src/shop/cart.py
+++ b/src/shop/cart.py
@@ -7 +8,3 @@ def total
-    old
+    one
+++ b/not/a/file.py
+    three
@@ -20,2 +30 @@
-gone
-gone
+new
@@ -30 +31,0 @@
-gone
diff --git "a/src/sp\\303\\244t.py" "b/src/sp\\303\\244t.py"
--- /dev/null
+++ "b/src/sp\\303\\244t.py"
@@ -0,0 +1 @@
+x
\\ No newline at end of file
diff --git a/gone.py b/gone.py
--- a/gone.py
+++ /dev/null
@@ -1 +0,0 @@
-x
"""


def test_changed_lines() -> None:
    """What is added, whatever it looks like; quoted names; nothing of what is gone."""
    assert changed_lines(DIFF) == {CART: frozenset({8, 9, 10, 30}), "src/spät.py": frozenset({1})}


def test_the_gate() -> None:
    """Of everything, of paths, and of changed lines, whose misses are named."""
    gate = CoverageGate(
        minimum=50,
        paths={"src/shop/**": PathMinimum(minimum=90), "*.rs": PathMinimum(minimum=10)},
        changed=80,
    )
    checks = judged(gate, SHOP, changed_lines(DIFF))

    assert [(check.name, check.kind) for check in checks] == [
        ("coverage: total", "passed"),
        ("coverage: src/shop/**", "failed"),
        ("coverage: *.rs", "not-run"),
        ("coverage: changed lines", "failed"),
    ]
    assert checks[1].headline == "57.14 %, at least 90 % are asked for"
    assert checks[3].detail.splitlines()[1] == f"{CART}: 8, 10"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        (None, "not-run"),
        ({}, "skipped"),
        ({CART: frozenset({1})}, "skipped"),
        ({CART: frozenset({4})}, "passed"),
    ],
    ids=["no base", "no change", "nothing that runs", "a hit"],
)
def test_changed_lines_that_cannot_be_judged(changes: dict[str, frozenset[int]] | None, kind: str) -> None:
    """Without a base it is not known; a change of comments needs no test."""
    (check,) = judged(CoverageGate(changed=80), SHOP, changes)

    assert check.kind == kind


def test_nothing_measured_is_not_green() -> None:
    """An empty profile, and branches where none were counted."""
    assert judged(CoverageGate(minimum=0), Coverage())[0].kind == "not-run"
    lines = Coverage({"a": FileCoverage({1: True})})
    assert judged(CoverageGate(minimum=0, of="branches"), lines)[0].kind == "not-run"


def test_the_edge_of_a_minimum() -> None:
    """Just enough is enough, and a rounding is not."""
    almost = Coverage({"a": FileCoverage({line: line > 1 for line in range(1, 10_001)})})

    assert judged(CoverageGate(minimum=99.99), almost)[0].kind == "passed"
    assert judged(CoverageGate(minimum=100), almost)[0].kind == "failed"


@pytest.mark.parametrize(
    "fields", [{"minimum": 101}, {"paths": {"": 5}}, {"paths": {"!a": 5}}, {"maximum": 1}]
)
def test_a_gate_that_is_none(fields: dict[str, object]) -> None:
    """Percentages and patterns are checked before anything runs."""
    with pytest.raises(ValidationError):
        CoverageGate.model_validate(fields)


def test_part_of_a_profile() -> None:
    """Lines and branches of the changed lines alone."""
    part = of_changes(SHOP, {CART: frozenset({7, 8})})

    assert part.tally == Tally(lines=2, lines_hit=1, branches=2, branches_hit=1)
