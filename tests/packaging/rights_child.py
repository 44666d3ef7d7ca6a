"""Runs statements on the engine with the rights of one user: `rights_child.py CONFIG DATA`, statements as JSON on stdin.

The embedded engine knows one user, `default`, but reads users, profiles, quotas and grants as a server does. So the user
that is tried is given to it under that name. Prints for each statement the answer, or the number of the error.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path


def main(configuration: Path, data: Path) -> None:
    os.chdir(data.parent)  # the engine would read a config.xml of the current folder when it is imported
    from chdb.state.sqlitelike import Connection  # noqa: PLC0415

    connection, outcomes = Connection(f"{data}?config-file={configuration}"), []
    for statement in json.load(sys.stdin):
        try:
            outcomes.append(connection.query(statement, "TSV").bytes().decode().strip())
        except RuntimeError as error:
            found = re.search(r"Code: (\d+)\.", str(error))
            outcomes.append(int(found[1]) if found else str(error))
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
