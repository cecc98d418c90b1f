"""What a stage is, and how it is run so that its result is a value, whatever happens."""

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from kvsync.testing.ledger import Ledger
from kvsync.testing.outcome import StageResult
from kvsync.testing.run_folder import RunFolder
from kvsync.testing.verdicts import unproven

LOCAL = "local"
"""The cluster that is made of processes here, for each test anew; every other is made once for a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """What a stage may use. `stop` is set when the run is interrupted; a stage then ends soon.

    `environ` is what the processes of its tests get, None for all that this process has.
    """

    run_dir: Path
    repository: Path
    ledger: Ledger
    profile: Literal["quick", "full"] = "quick"
    cluster: str = LOCAL
    seed: int = 0
    trace: Path | None = None
    keep: bool = False
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    stop: threading.Event


class Stage(Protocol):
    """One step of a pipeline that ends in a verdict."""

    @property
    def name(self) -> str:
        """The name in reports, file names and commands."""

    def run(self, context: StageContext) -> StageResult:
        """Carry the stage out; what the product does wrong is in the result, not raised."""


def run_safely(
    stage: Stage, context: StageContext, clock: Callable[[], float] = time.monotonic
) -> StageResult:
    """Run a stage: an exception in it is UNKNOWN with its traceback, and so is a run stopped before it.

    The result is in the run's folder before it is returned.
    """
    started_at, started = datetime.now(UTC), clock()
    if context.stop.is_set():
        result = StageResult.unknown(stage.name, "not run: interrupted", started_at=started_at)
    else:
        try:
            result = stage.run(context)
        except Exception as exc:
            result = replace(_broken(stage.name, exc, started_at), duration_s=clock() - started)
    RunFolder(context.run_dir).save(result)
    return result


def _broken(name: str, error: Exception, started_at: datetime) -> StageResult:
    verdict = unproven(error)
    if verdict is not None:
        return StageResult.unknown(name, f"{verdict.kind}: {verdict}", started_at=started_at)
    return StageResult.unknown(
        name,
        f"the stage itself broke: {type(error).__name__}: {error}",
        started_at=started_at,
        detail="".join(traceback.format_exception(error)),
    )
