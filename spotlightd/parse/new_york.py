"""Times that American publishers print in New York's clock, as times in UTC.

The zone is read when this module is imported: a confined parser opens no file.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")


def read_time(text: str, *forms: str) -> datetime:
    """The time in UTC, by the first form (as for strptime) that fits. ValueError when none does, and for a time that clocks
    skip in spring. In the hour that clocks repeat in autumn it is the first of the two.
    """
    for form in forms:
        try:
            printed = datetime.strptime(text, form).replace(tzinfo=NEW_YORK)
        except ValueError:
            continue
        time = printed.astimezone(UTC)
        if time.astimezone(NEW_YORK).replace(tzinfo=None) != printed.replace(tzinfo=None):
            raise ValueError(f"{text!r} is no time in New York: clocks skipped it")
        return time
    raise ValueError(f"{text[:40]!r} is not a time written as {' or '.join(forms)}")


def today() -> date:
    """The day in New York, for `discover`."""
    return datetime.now(NEW_YORK).date()
