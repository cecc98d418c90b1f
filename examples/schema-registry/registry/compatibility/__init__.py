"""Whether a new version of a schema can replace those before it. Pure."""

from registry.compatibility.containment import is_same_contract, problems
from registry.compatibility.modes import MODES, Finding, Mode, check, parse_mode

__all__ = ["MODES", "Finding", "Mode", "check", "is_same_contract", "parse_mode", "problems"]
