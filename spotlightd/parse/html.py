"""Links of a publisher's page. File names decide, not folders: publishers move folders about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urljoin, urlsplit


@dataclass(frozen=True, slots=True)
class Anchor:
    """An absolute address without fragment, and how the pattern matched its path."""

    url: str
    match: re.Match[str]


def links(page: str, base: str, pattern: str) -> list[Anchor]:
    """The http(s) links whose path the pattern matches anywhere, each once, in the page's order.

    `base` is the page's own address; a <base href> in the page goes before it, as in a browser.
    """
    reader = _Reader(base)
    reader.feed(page)
    reader.close()
    wanted = re.compile(pattern)
    found: dict[str, Anchor] = {}
    for url in reader.urls:
        match = wanted.search(unquote(urlsplit(url).path))
        if match:
            found.setdefault(url, Anchor(url, match))
    return list(found.values())


class _Reader(HTMLParser):
    """Collects addresses; never fails, whatever the page is."""

    def __init__(self, base: str) -> None:
        super().__init__(convert_charrefs=True)
        self.base = base
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag not in ("a", "area", "base") or not href:
            return
        try:
            url = urldefrag(urljoin(self.base, href.strip())).url
            scheme = urlsplit(url).scheme
        except ValueError:  # a port that is no number, a broken IPv6 address
            return
        if tag == "base":
            self.base = url
        elif scheme in ("http", "https"):
            self.urls.append(url)
