"""The pods and gateways of the gateway's tests."""

from tests.integration.gateway.conftest import site

__all__ = ["site"]
