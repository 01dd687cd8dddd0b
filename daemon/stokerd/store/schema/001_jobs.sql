-- Batches as they were accepted, and what happened to their jobs.

CREATE TABLE batches (
    id INTEGER PRIMARY KEY,     -- the id of its first job
    count INTEGER NOT NULL,
    key TEXT UNIQUE,            -- the idempotency key
    head BLOB NOT NULL,
    lengths BLOB NOT NULL,      -- empty when it is in the file
    payload BLOB NOT NULL,      -- likewise
    file INTEGER,               -- the number of the file that holds lengths, then payload
    lengths_size INTEGER NOT NULL,
    payload_size INTEGER NOT NULL
);

CREATE INDEX batches_with_files ON batches (file) WHERE file IS NOT NULL;

CREATE TABLE moves (
    seq INTEGER PRIMARY KEY,    -- the order in which they were handed over
    batch INTEGER NOT NULL,     -- its row may be gone already: then this one is to go as well
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    note BLOB NOT NULL,
    data BLOB NOT NULL,         -- empty when it is in the file
    file INTEGER,
    data_size INTEGER NOT NULL
);

CREATE INDEX moves_of_batch ON moves (batch);
CREATE INDEX moves_with_files ON moves (file) WHERE file IS NOT NULL;

CREATE TABLE numbers (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
);

INSERT INTO numbers VALUES ('next_id', 1);  -- one above every id that was pruned
