"""The JSON that a publisher serves, for `discover`, `authorize` and small documents."""

from __future__ import annotations

import json
from typing import Any

from spotlightd.errors import PublisherError

MAX_START_LETTERS = 80


def read(text: str, url: str) -> Any:
    """The value of a page of JSON. PublisherError when it is something else: an answer of status 200 can be an HTML page."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        start = text[:MAX_START_LETTERS].encode("unicode_escape").decode("ascii")
        raise PublisherError(f"{url} is not JSON, it begins with '{start}': {problem}", outcome="wrong body") from None
