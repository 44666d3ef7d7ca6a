-- The local log: messages by topic and partition, one row for each group of records that was appended at once.
-- The id of a topic is never used again, so that a topic that was created again cannot be taken for the older one.
CREATE TABLE IF NOT EXISTS topics (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, log_id TEXT NOT NULL
) STRICT;
-- `first` is the oldest offset that exists, `freed` the first one that is not known to be durable elsewhere;
-- `first_bytes` and `freed_bytes` are the sums of `stored` of all groups that ever were below that offset.
CREATE TABLE IF NOT EXISTS partitions (
    topic INTEGER NOT NULL, partition INTEGER NOT NULL, first INTEGER NOT NULL DEFAULT 0,
    first_bytes INTEGER NOT NULL DEFAULT 0, freed INTEGER NOT NULL DEFAULT 0, freed_bytes INTEGER NOT NULL DEFAULT 0,
    committed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;
-- Offsets [lo, hi). `newest` is in UTC nanoseconds, `size` the bytes of the values, `stored` the bytes of the group here,
-- `upto` the sum of `stored` up to and including this group, `tops` the highest sequence of each connection in it.
CREATE TABLE IF NOT EXISTS blocks (
    topic INTEGER NOT NULL, partition INTEGER NOT NULL, lo INTEGER NOT NULL, hi INTEGER NOT NULL,
    newest INTEGER NOT NULL, size INTEGER NOT NULL, stored INTEGER NOT NULL, upto INTEGER NOT NULL,
    tops BLOB NOT NULL, block BLOB NOT NULL, PRIMARY KEY (topic, partition, lo)
) STRICT;
