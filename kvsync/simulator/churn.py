"""Events without requests: made-up prompts are computed in no time, at a rate.

It changes the cache and is announced like any prompt, so what the pod says it holds stays the truth, and a
full cache evicts for it.
"""

import random
import time
from array import array
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields

from kvsync.simulator.pod import SimulatedPod


@dataclass(frozen=True, slots=True, kw_only=True)
class Churn:
    """`prompts` prompts of `blocks` full blocks each, spread evenly over `seconds`."""

    prompts: int
    seconds: float
    blocks: int

    @classmethod
    def parse(cls, raw: object) -> "Churn":
        """Read the JSON form. Raises ValueError naming what a churn consists of."""
        names = [field.name for field in fields(cls)]
        values = raw if isinstance(raw, dict) and set(raw) == set(names) else {}
        if not values or not all(isinstance(value, int | float) and value > 0 for value in values.values()):
            raise ValueError(f"a churn is an object of positive numbers: {', '.join(names)}")
        return cls(
            prompts=int(values["prompts"]), seconds=float(values["seconds"]), blocks=int(values["blocks"])
        )


async def churn(
    pod: SimulatedPod,
    wanted: Churn,
    rng: random.Random,
    *,
    sleep: Callable[[float], Awaitable[None]],
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Compute each prompt when it is due, even if the one before was late; returns how many found room."""
    began, computed = clock(), 0
    for number in range(wanted.prompts):
        await sleep(max(0.0, began + number * wanted.seconds / wanted.prompts - clock()))
        tokens = array("H", rng.randbytes(2 * wanted.blocks * pod.options.block_size))
        computed += pod.engine.compute(tokens)
    return computed
