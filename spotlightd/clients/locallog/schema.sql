-- The local log: messages by topic and partition, one row for each group of records that was appended at once.
-- An id of a topic is never used again, so that a topic that was made anew cannot be taken for the older one.
CREATE TABLE IF NOT EXISTS topics (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, log_id TEXT NOT NULL
) STRICT;
-- `first` is the oldest offset that is kept, `freed` the first one that is not known to be durable elsewhere;
-- `_bytes` is the sum of `stored` of all groups that ever were below that offset.
CREATE TABLE IF NOT EXISTS partitions (
    topic INTEGER NOT NULL, partition INTEGER NOT NULL, first INTEGER NOT NULL DEFAULT 0,
    first_bytes INTEGER NOT NULL DEFAULT 0, freed INTEGER NOT NULL DEFAULT 0, freed_bytes INTEGER NOT NULL DEFAULT 0,
    committed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;
-- Offsets [lo, hi). `newest` is UTC nanoseconds, `size` the bytes of the values, `stored` what the group takes here,
-- `upto` the sum of `stored` up to and including this group, `tops` the highest sequence of each connection in it.
CREATE TABLE IF NOT EXISTS blocks (
    topic INTEGER NOT NULL, partition INTEGER NOT NULL, lo INTEGER NOT NULL, hi INTEGER NOT NULL,
    newest INTEGER NOT NULL, size INTEGER NOT NULL, stored INTEGER NOT NULL, upto INTEGER NOT NULL,
    tops BLOB NOT NULL, block BLOB NOT NULL, PRIMARY KEY (topic, partition, lo)
) STRICT;
