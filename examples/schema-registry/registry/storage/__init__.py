"""Four levels: memory, Redis, S3 and PostgreSQL, which alone decides what is true."""
