"""Who may do what."""

from registry.security.access import OPEN, ROLES, Access, Role
from registry.security.names import require_metadata, require_subject

__all__ = ["OPEN", "ROLES", "Access", "Role", "require_metadata", "require_subject"]
