-- Schema 3 to 4: the table `wishes` (the job's arguments as words in one column) becomes `jobs` (one column each).
-- A source that has an epoch is a stream: its wish was a replay. All others were backfills.
CREATE TABLE IF NOT EXISTS epochs (
    source TEXT NOT NULL, number INTEGER NOT NULL, log_id TEXT NOT NULL, PRIMARY KEY (source, number)
) STRICT;
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, target TEXT NOT NULL, first TEXT NOT NULL,
    last TEXT NOT NULL, partition TEXT NOT NULL, into_table TEXT NOT NULL, state TEXT NOT NULL, done INTEGER NOT NULL,
    total INTEGER NOT NULL, detail TEXT NOT NULL
) STRICT;
WITH split AS (
    SELECT *, CASE WHEN source LIKE 'archive %' THEN '["' || replace(source, ' ', '","') || '"]' END AS words FROM wishes
)
INSERT INTO jobs
SELECT
    number,
    CASE
        WHEN words IS NULL THEN iif(source IN (SELECT source FROM epochs), 'replay', 'backfill')
        WHEN words ->> 1 = 'run' THEN 'archive'
        ELSE words ->> 1
    END,
    iif(words IS NULL, source, coalesce(words ->> 2, '')), first, last, coalesce(words ->> 3, ''),
    coalesce(words ->> 4, ''), state, done, total, says
FROM split;
DROP TABLE wishes;
