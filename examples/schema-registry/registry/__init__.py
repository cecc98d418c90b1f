"""A registry of JSON Schemas: versions that stay compatible, kept in four levels of storage."""
