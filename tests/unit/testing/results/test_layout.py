"""Results as JSON that is written and read piece by piece."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kvsync.testing.results.layout import laid_out, read_laid_out, write_laid_out
from kvsync.testing.results.outcome import Attempt, Check, StageResult, merge

AT = datetime(2026, 9, 17, tzinfo=UTC)

CHECKS = (
    Check(name="a", kind="passed", duration_s=0.5),
    Check(name="]", kind="failed", detail='E  "checks": [\n]\n', attempts=(Attempt(kind="failed"),)),
    Check(name="\ud800é", kind="passed", properties={"owners": "@me"}),
)


def test_json_with_a_line_for_each_value() -> None:
    """It is the same JSON, laid out down to a level."""
    value = {"stages": [{"name": "é", "checks": [{"a": 1, "b": []}, {"a": 2, "b": [1]}]}], "none": {}}
    text = "".join(laid_out(value))

    assert json.loads(text) == value
    assert '    {"a": 2, "b": [1]}' in text.splitlines()


@pytest.mark.parametrize("checks", [(), CHECKS[:1], CHECKS], ids=len)
def test_a_result_is_read_as_it_was_written(tmp_path: Path, checks: tuple[Check, ...]) -> None:
    """Whatever its checks say; each is a line, and a value when it is read."""
    result, path = merge("unit", checks, started_at=AT), tmp_path / "unit.json"
    write_laid_out(path, result, levels=2)

    assert json.loads(path.read_text()) == result.to_json()
    assert StageResult.from_json(read_laid_out(path)) == result
    assert len(path.read_text().splitlines()) == 10 + len(checks) if checks else 9


def test_each_stage_of_a_report_gets_its_own_checks(tmp_path: Path) -> None:
    """Also beside stages that have none."""
    empty = merge("empty", (), started_at=AT)
    stages = [empty, merge("one", CHECKS[:1], started_at=AT), empty, merge("two", CHECKS, started_at=AT)]
    write_laid_out(tmp_path / "report.json", {"stages": stages})

    found = read_laid_out(tmp_path / "report.json")["stages"]
    assert isinstance(found, list)
    assert [StageResult.from_json(each) for each in found] == stages


@pytest.mark.parametrize("indent", [None, 1, 4])
def test_json_of_another_layout_is_read_as_a_whole(tmp_path: Path, indent: int | None) -> None:
    """Reports of earlier versions, and those that a person laid out again."""
    result, path = merge("unit", CHECKS, started_at=AT), tmp_path / "unit.json"
    path.write_text(json.dumps(result.to_json(), indent=indent))

    assert StageResult.from_json(read_laid_out(path)) == result


@pytest.mark.parametrize("cut", [10, 60, 140, -3])
def test_a_torn_file_is_an_error(tmp_path: Path, cut: int) -> None:
    """Never a result of fewer checks."""
    path = tmp_path / "unit.json"
    write_laid_out(path, replace(merge("unit", CHECKS, started_at=AT)), levels=2)
    path.write_text(path.read_text()[:cut])

    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        read_laid_out(path)


def test_checks_share_what_they_do_not_have() -> None:
    """A run may have 100,000 of them, and a dictionary of nothing takes as much room as a name."""
    read = Check.from_json(json.loads(json.dumps(CHECKS[0].json_fields())))

    assert read.properties is CHECKS[0].properties
