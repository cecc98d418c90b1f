"""An object store: an HTTP gateway, storage servers over gRPC, and metadata in PostgreSQL."""
