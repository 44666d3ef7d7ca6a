"""Links of a publisher's page. Match file names, not folders: publishers move folders."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urljoin, urlsplit


@dataclass(frozen=True, slots=True)
class Anchor:
    """An absolute address without fragment, the match of the pattern with its path, and the text of the first link."""

    url: str
    match: re.Match[str]
    text: str = ""


def links(page: str, base: str, pattern: str) -> list[Anchor]:
    """The http(s) links whose path the pattern matches anywhere, each once, in the page's order.

    `base` is the page's own address. A <base href> in the page overrides it, as in a browser.
    """
    reader = _Reader(base)
    reader.feed(page)
    reader.close()
    compiled = re.compile(pattern)
    anchors: dict[str, Anchor] = {}
    for url, texts in zip(reader.urls, reader.texts, strict=True):
        match = compiled.search(unquote(urlsplit(url).path))
        if match:
            anchors.setdefault(url, Anchor(url, match, " ".join("".join(texts).split())))
    return list(anchors.values())


class _Reader(HTMLParser):
    """Collects addresses, and the pieces of each link's text. It does not fail for any page."""

    def __init__(self, base: str) -> None:
        super().__init__(convert_charrefs=True)
        self.base = base
        self.urls: list[str] = []
        self.texts: list[list[str]] = []
        self._is_inside = False

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
            self.texts.append([])
            self._is_inside = tag == "a"

    def handle_endtag(self, tag: str) -> None:
        self._is_inside = self._is_inside and tag != "a"

    def handle_data(self, data: str) -> None:
        if self._is_inside:
            self.texts[-1].append(data)
