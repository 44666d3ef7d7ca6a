-- The ledger: what was intended, where each flow stands, what failed. Times are microseconds since 1970, UTC.
CREATE TABLE IF NOT EXISTS documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL, size INTEGER NOT NULL, source TEXT NOT NULL,
    url TEXT NOT NULL, via TEXT NOT NULL, covers TEXT NOT NULL, fetched_at INTEGER NOT NULL, etag TEXT NOT NULL,
    last_modified TEXT NOT NULL, media_type TEXT NOT NULL, UNIQUE (digest, url)
) STRICT;
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, source TEXT NOT NULL, url TEXT NOT NULL,
    covers TEXT NOT NULL, outcome TEXT NOT NULL, digest TEXT NOT NULL, rows INTEGER NOT NULL, rejects INTEGER NOT NULL,
    bytes INTEGER NOT NULL, seconds REAL NOT NULL, error TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS rejects (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, source TEXT NOT NULL, digest TEXT NOT NULL,
    parser TEXT NOT NULL, member INTEGER NOT NULL, line INTEGER NOT NULL, text TEXT NOT NULL, reason TEXT NOT NULL,
    UNIQUE (digest, parser, member, line)
) STRICT;
CREATE TABLE IF NOT EXISTS known (
    source TEXT NOT NULL, url TEXT NOT NULL, covers TEXT NOT NULL, digest TEXT NOT NULL, etag TEXT NOT NULL,
    last_modified TEXT NOT NULL, first_seen INTEGER, checked_at INTEGER, outcome TEXT NOT NULL, parser TEXT NOT NULL,
    failures INTEGER NOT NULL, not_before INTEGER, PRIMARY KEY (source, url)
) STRICT;
CREATE TABLE IF NOT EXISTS loads (
    load_id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, digest TEXT NOT NULL, parser TEXT NOT NULL,
    covers TEXT NOT NULL, state TEXT NOT NULL, datasets TEXT NOT NULL, rows TEXT NOT NULL DEFAULT '{}',
    rejects INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL DEFAULT 0, supersedes TEXT NOT NULL DEFAULT '[]',
    published_at INTEGER, derived_from INTEGER NOT NULL DEFAULT 0, closed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS loads_by_state ON loads (state, source);
CREATE TABLE IF NOT EXISTS wishes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL,
    state TEXT NOT NULL, done INTEGER NOT NULL, total INTEGER NOT NULL, says TEXT NOT NULL
) STRICT;
-- Streams: which log a source's offsets belong to, how far each partition is drained, what is being moved.
CREATE TABLE IF NOT EXISTS epochs (
    source TEXT NOT NULL, number INTEGER NOT NULL, log_id TEXT NOT NULL, PRIMARY KEY (source, number)
) STRICT;
CREATE TABLE IF NOT EXISTS positions (
    source TEXT NOT NULL, epoch INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    key BLOB NOT NULL, PRIMARY KEY (source, epoch, partition)
) STRICT;
CREATE TABLE IF NOT EXISTS intents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, epoch INTEGER NOT NULL, partition INTEGER NOT NULL,
    lo INTEGER NOT NULL, hi INTEGER NOT NULL, frames INTEGER NOT NULL, day TEXT NOT NULL, part INTEGER NOT NULL,
    load_id INTEGER NOT NULL, decode TEXT NOT NULL, nonce TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS gaps (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, source TEXT NOT NULL, symbol TEXT NOT NULL,
    since INTEGER NOT NULL, until INTEGER NOT NULL, cause TEXT NOT NULL, says TEXT NOT NULL, repaired_by TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS lost_frames (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, source TEXT NOT NULL, decode TEXT NOT NULL,
    epoch INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, text TEXT NOT NULL, reason TEXT NOT NULL,
    UNIQUE (source, decode, epoch, partition, offset)
) STRICT;
CREATE TABLE IF NOT EXISTS feeds (
    source TEXT PRIMARY KEY, state TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
