"""Links of a publisher's page. Match file names, not folders: publishers move folders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urljoin, urlsplit


@dataclass(frozen=True, slots=True)
class Anchor:
    """An absolute address without fragment, and the match of the pattern with its path."""

    url: str
    match: re.Match[str]


def links(page: str, base: str, pattern: str) -> list[Anchor]:
    """The http(s) links whose path the pattern matches anywhere, each once, in the page's order.

    `base` is the page's own address. A <base href> in the page overrides it, as in a browser.
    """
    reader = _Reader(base)
    reader.feed(page)
    reader.close()
    compiled = re.compile(pattern)
    anchors: dict[str, Anchor] = {}
    for url in reader.urls:
        match = compiled.search(unquote(urlsplit(url).path))
        if match:
            anchors.setdefault(url, Anchor(url, match))
    return list(anchors.values())


class _Reader(HTMLParser):
    """Collects addresses. It does not fail for any page."""

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
        except ValueError:  # a port that is not a number, a broken IPv6 address
            return
        if tag == "base":
            self.base = url
        elif scheme in ("http", "https"):
            self.urls.append(url)
