"""The closures of the exchanges by exchange_calendars, in the form of `spotlightd/calendars/closures.py`.

`python -m tests.calendars.closures` writes that file. Days that a release did not know change `day_number` of the lists after
them: raise `parser` of the sources of threshold lists then.
"""

from __future__ import annotations

from pathlib import Path

import exchange_calendars
import pandas as pd

PLACE = Path(__file__).parent.parent.parent / "spotlightd/calendars/closures.py"
FIRST, LAST = 2005, 2035


def list_closures() -> dict[int, str]:
    """Month and day of the weekdays without a session, by year."""
    sessions = exchange_calendars.get_calendar("XNYS", start=f"{FIRST}-01-01", end=f"{LAST}-12-31").sessions
    closed = pd.bdate_range(f"{FIRST}-01-01", f"{LAST}-12-31").difference(sessions)
    return {year: " ".join(f"{day:%m%d}" for day in closed if day.year == year) for year in range(FIRST, LAST + 1)}


def write() -> None:
    head = (
        '"""Weekdays on which the exchanges of the United States are closed, month and day by year. Written by\n'
        f"`tests/calendars/closures.py` from the calendar XNYS of exchange_calendars {exchange_calendars.__version__} "
        '(Apache-2.0); do not edit.\n"""\n\nCLOSED = {\n'
    )
    lines = [f'    {year}: "{days}",\n' for year, days in list_closures().items()]
    PLACE.write_text(head + "".join(lines) + "}\n")


if __name__ == "__main__":
    write()
