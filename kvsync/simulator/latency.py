"""How long a simulated engine step takes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyModel:
    """A step that computes prompt tokens costs a base and a price per token; any other, one token time.

    `scale` stretches everything; 0 waits for nothing.
    """

    ttft_base_ms: float
    prefill_ms_per_token: float
    inter_token_ms: float
    scale: float = 1.0

    def step_s(self, prefill_tokens: int) -> float:
        """Seconds for a step that computes `prefill_tokens` prompt tokens besides any decoding."""
        if prefill_tokens == 0:
            return self.scale * self.inter_token_ms / 1000
        return self.scale * (self.ttft_base_ms + prefill_tokens * self.prefill_ms_per_token) / 1000
