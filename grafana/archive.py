"""Archive: how far old rows are on their way to the bucket, what was verified, and what the checks say."""

from __future__ import annotations

from grafana.model import SQL, Dashboard, Panel, PromQL, Row

PASSED = {"0": ("failed", "red"), "1": ("passed", "green")}

STATE = Row("State", (
    Panel(
        "Held", "Partitions whose copy did not match. Nothing of them was dropped; `spotlightd archive retry` tries again.",
        (PromQL('sum(spotlightd_archive_partitions{stage="held"})', instant=True),), kind="stat", width=4, unit="none",
        steps=((0, "green"), (1, "red")),
    ),
    Panel(
        "Audit and drill", "The last audit of the bucket, and the last restore of a random partition. No result before the first of each.",
        (PromQL("spotlightd_archive_check_well", legend="{{kind}}", instant=True),), kind="stat", width=6, unit="none",
        steps=((0, "red"), (1, "green")), texts=PASSED,
    ),
    Panel(
        "Age of the checks", "How long ago they ran. The audit runs daily, the drill monthly.",
        (PromQL("spotlightd_archive_check_age_seconds", legend="{{kind}}", instant=True),), kind="stat", width=6, unit="s",
    ),
    Panel(
        "Raw documents amiss", "Documents that are missing, or whose copy is damaged.",
        (PromQL("spotlightd_documents_amiss", instant=True),), kind="stat", width=4, unit="none", steps=((0, "green"), (1, "red")),
    ),
    Panel(
        "Archived", "Length of the Parquet files that are read instead of the table.",
        (PromQL("spotlightd_archive_bytes", instant=True),), kind="stat", width=4, unit="bytes",
    ),
    Panel(
        "Partitions by stage", "From planned to dropped; a partition that stays in one stage for a day needs a look.",
        (PromQL("spotlightd_archive_partitions > 0", legend="{{stage}}"),),
    ),
    Panel(
        "Verified rows", "Rows that are read from the bucket.",
        (PromQL("spotlightd_archive_rows", legend="rows"),),
    ),
    Panel(
        "Raw documents", "Where the raw documents are stored.",
        (PromQL("spotlightd_documents_kept_bytes", legend="{{where}}"),), unit="bytes",
    ),
    Panel(
        "Newest records", "What was switched to the bucket, or withdrawn from it.",
        (SQL(
            "SELECT at, dataset, partition, generation, event, rows, formatReadableSize(bytes) AS size FROM archives\n"
            "ORDER BY number DESC LIMIT 50"
        ),), kind="table",
    ),
))  # fmt: skip

archive = Dashboard(
    uid="spotlightd-archive",
    title="Archive",
    description="Stages of the archive, verified bytes, audit, drill and raw documents.",
    rows=(STATE,),
    since="now-30d",
)
