"""Paths in what results say: those in the repository under test from its top, all others whole. Pure."""

import re
from dataclasses import replace
from pathlib import Path

from kvsync.testing.results.outcome import Checks, StageResult, merge


def from_top(result: StageResult, repository: Path) -> StageResult:
    """Return a result whose names, reasons and remarks say paths from the top of the repository.

    What programs printed stays as it is.
    """
    inside = re.compile(rf"(?<![\w/.~-]){re.escape(str(repository))}/(?=[\w.])")

    def shown(text: str) -> str:
        return inside.sub("", text)

    if not any(inside.search(each.name) or inside.search(each.detail) for each in result.checks):
        return replace(result, reason=shown(result.reason), remarks=tuple(map(shown, result.remarks)))
    checks = Checks(replace(each, name=shown(each.name), detail=shown(each.detail)) for each in result.checks)
    # Reasons are cut in their middle, so that one cannot be had from the other.
    before, after = (
        merge(result.name, each, started_at=result.started_at).reason for each in (result.checks, checks)
    )
    doubt = shown(result.reason.removeprefix(before))
    reason = f"{after}{doubt}" if result.reason.startswith(before) else shown(result.reason)
    return replace(result, checks=checks, reason=reason, remarks=tuple(map(shown, result.remarks)))
