"""The registry over HTTP."""

from registry.api.app import make_app

__all__ = ["make_app"]
