CREATE TABLE IF NOT EXISTS server (
    id text PRIMARY KEY,
    address text NOT NULL,
    is_leaving boolean NOT NULL DEFAULT false,
    free_bytes bigint NOT NULL DEFAULT 0,
    total_bytes bigint NOT NULL DEFAULT 0,
    last_heartbeat timestamptz
);

CREATE TABLE IF NOT EXISTS object (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    content_type text NOT NULL,
    size bigint NOT NULL DEFAULT 0,
    sha256 text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'uploading' CHECK (state IN ('uploading', 'visible', 'deleted')),
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- A name has one visible object at most: what else it had is being uploaded or removed.
CREATE UNIQUE INDEX IF NOT EXISTS object_visible ON object (name COLLATE "C") WHERE state = 'visible';
CREATE INDEX IF NOT EXISTS object_remains ON object (changed_at) WHERE state <> 'visible';

-- A chunk is written down before it is stored, so that what a crash leaves can be found.
CREATE TABLE IF NOT EXISTS chunk (
    object_id uuid NOT NULL REFERENCES object ON DELETE CASCADE,
    number integer NOT NULL,
    size bigint NOT NULL,
    crc32 bigint NOT NULL,
    servers text[] NOT NULL,
    PRIMARY KEY (object_id, number)
);
