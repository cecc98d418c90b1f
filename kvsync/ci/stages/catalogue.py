"""What a run can be made of. Importing it is cheap: commands that start no flow need no Prefect."""

from kvsync.ci.stages.pytest_stage import PytestStage
from kvsync.ci.stages.stage import Stage

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        PytestStage("unit", folder="unit", timeout_s=300),
        PytestStage("integration", folder="integration", timeout_s=900, retries=1),
        PytestStage("property", folder="property", timeout_s=300),
        PytestStage("e2e", folder="e2e", timeout_s=3600, clustered=True, retries=1),
        PytestStage("benchmark", folder="benchmark", timeout_s=900),
        PytestStage("load", folder="load", timeout_s=9000, clustered=True),
        PytestStage("chaos", folder="chaos", timeout_s=7200, clustered=True),
        PytestStage("soak", folder="soak", timeout_s=10_800, clustered=True),
        PytestStage("engines", folder="engines", timeout_s=3600),
    )
}
"""In the order of a run: the cheap and most telling first. A stage runs the folder that has its name."""

DEFAULT_STAGES = tuple(name for name in STAGES if name != "engines")
"""What a run is made of if nothing is named: few machines have a real engine."""

CLUSTERED = ("e2e", "load", "chaos", "soak")
"""The stages that run on the cluster that a run asks for; the others use only this machine."""
