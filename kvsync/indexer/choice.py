"""Which indexer a gateway asks, as it is configured."""

from kvsync.config import GatewayConfig
from kvsync.discovery import Discovery
from kvsync.indexer.local import FollowingIndexer
from kvsync.indexer.remote import RemoteIndexer
from kvsync.indexer.supervised import SupervisedIndexer


def indexer_of(
    config: GatewayConfig, discovery: Discovery | None = None
) -> FollowingIndexer | RemoteIndexer | SupervisedIndexer:
    """Return the indexer that a configuration names; one in this process where no events are followed.

    Raises ConfigError when a file or folder that the configuration names cannot be used.
    """
    if not config.sync_enabled or config.indexer.mode == "in-process":
        return FollowingIndexer(config, discovery)
    if config.indexer.mode == "process":
        return SupervisedIndexer(config, discovery)
    assert config.indexer.socket
    return RemoteIndexer(config, config.indexer.socket, discovery)
