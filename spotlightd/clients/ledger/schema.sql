-- The ledger: intended work, the progress of each flow, and failures. Times are microseconds since 1970, UTC.
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
CREATE INDEX IF NOT EXISTS known_by_digest ON known (source, digest);
CREATE TABLE IF NOT EXISTS loads (
    load_id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, digest TEXT NOT NULL, parser TEXT NOT NULL,
    covers TEXT NOT NULL, state TEXT NOT NULL, datasets TEXT NOT NULL, rows TEXT NOT NULL DEFAULT '{}',
    rejects INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL DEFAULT 0, supersedes TEXT NOT NULL DEFAULT '[]',
    published_at INTEGER, derived_from INTEGER NOT NULL DEFAULT 0, closed INTEGER NOT NULL DEFAULT 0,
    superseded_by INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS loads_by_state ON loads (state, source);
CREATE INDEX IF NOT EXISTS loads_by_seq ON loads (seq);
CREATE INDEX IF NOT EXISTS loads_by_covers ON loads (source, covers, superseded_by, closed) WHERE state = 'published';
CREATE INDEX IF NOT EXISTS loads_by_digest ON loads (source, digest, superseded_by) WHERE state = 'published';
CREATE INDEX IF NOT EXISTS loads_by_input ON loads (derived_from, source) WHERE derived_from > 0;
CREATE INDEX IF NOT EXISTS loads_closed ON loads (datasets) WHERE closed = 1 AND state = 'published' AND superseded_by = 0;
-- A load is superseded when the one that replaces it is published, whichever statement publishes it.
CREATE TRIGGER IF NOT EXISTS load_published AFTER UPDATE OF state ON loads WHEN new.state = 'published' BEGIN
    UPDATE loads SET superseded_by = new.load_id WHERE load_id IN (SELECT value FROM json_each(new.supersedes));
END;
CREATE TRIGGER IF NOT EXISTS load_adopted AFTER INSERT ON loads WHEN new.state = 'published' BEGIN
    UPDATE loads SET superseded_by = new.load_id WHERE load_id IN (SELECT value FROM json_each(new.supersedes));
END;
-- Derivations: the publication up to which a version of each has computed everything. Without a row all is computed again.
CREATE TABLE IF NOT EXISTS derivations (
    name TEXT PRIMARY KEY, version TEXT NOT NULL, seq INTEGER NOT NULL
) STRICT;
-- Jobs: what commands ask the running daemon for.
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, target TEXT NOT NULL, first TEXT NOT NULL,
    last TEXT NOT NULL, partition TEXT NOT NULL, into_table TEXT NOT NULL, state TEXT NOT NULL, done INTEGER NOT NULL,
    total INTEGER NOT NULL, detail TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_open ON jobs (kind) WHERE state IN ('waiting', 'running');
-- Streams: the log that a source's offsets belong to, the drained offset of each partition, and the batches being moved.
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
CREATE INDEX IF NOT EXISTS gaps_by_end ON gaps (source, until);
CREATE TABLE IF NOT EXISTS lost_frames (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, source TEXT NOT NULL, decode TEXT NOT NULL,
    epoch INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, text TEXT NOT NULL, reason TEXT NOT NULL,
    UNIQUE (source, decode, epoch, partition, offset)
) STRICT;
CREATE TABLE IF NOT EXISTS feeds (
    source TEXT PRIMARY KEY, state TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
-- The archive: partitions that leave the warehouse, and the stage of each.
CREATE TABLE IF NOT EXISTS partitions (
    dataset TEXT NOT NULL, number INTEGER NOT NULL, generation INTEGER NOT NULL, stage TEXT NOT NULL,
    since INTEGER NOT NULL, keys TEXT NOT NULL, manifest TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    fingerprint TEXT NOT NULL, columns TEXT NOT NULL, says TEXT NOT NULL, failures INTEGER NOT NULL, not_before INTEGER,
    PRIMARY KEY (dataset, number, generation)
) STRICT;
-- Tables that an operator had made again: what was published up to that number is known to be lost from them.
CREATE TABLE IF NOT EXISTS losses (
    name TEXT PRIMARY KEY, seq INTEGER NOT NULL
) STRICT;
-- Tables of streams: the most rows that a look found, in the table and in the archive together.
CREATE TABLE IF NOT EXISTS row_counts (
    name TEXT PRIMARY KEY, rows INTEGER NOT NULL
) STRICT;
-- How long rows and documents stay on the disk: the rules in force, and shorter ones that wait for a day.
CREATE TABLE IF NOT EXISTS retention (
    name TEXT PRIMARY KEY, days INTEGER NOT NULL, configured INTEGER NOT NULL, since INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS archive_checks (
    kind TEXT PRIMARY KEY, at INTEGER NOT NULL, well INTEGER NOT NULL, says TEXT NOT NULL
) STRICT;
