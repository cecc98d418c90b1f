"""What is counted, and how it is logged."""

from registry.observability.logs import log_as_json
from registry.observability.tally import Tally

__all__ = ["Tally", "log_as_json"]
