"""When the newest backup of a state began, and when one was last restored on trial: two files in its folder `backup`.

The daemon reads them for its metrics, and `doctor` for its advice: backups are written by commands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from spotlightd.files import write_file

FOLDER = "backup"
Record = Literal["written", "tried"]
RECORDS: tuple[Record, ...] = get_args(Record)


def note_backup(state: Path, record: Record, at: datetime) -> None:
    """Note the start of a backup that is complete, or of a trial that has passed."""
    write_file(state / FOLDER / record, f"{at.astimezone(UTC).isoformat()}\n".encode())


def read_backups(state: Path) -> Mapping[str, datetime]:
    """What was noted. What never happened is not there."""
    paths = {str(record): state / FOLDER / record for record in RECORDS}
    return {record: datetime.fromisoformat(path.read_text().strip()) for record, path in paths.items() if path.exists()}
