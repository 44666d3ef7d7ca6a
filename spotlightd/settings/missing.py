"""What a fresh installation lacks, for its first page and for `spotlightd doctor`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from spotlightd.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that is not configured: what that means, and what to do."""

    problem: str
    remedy: str


def list_missing(settings: Settings) -> Iterator[Missing]:
    if not settings.publisher.contact:
        yield Missing(
            "no contact is set: the SEC answers only those who name one",
            "Set publisher.contact to your e-mail address.",
        )
    for stream in sorted(set(settings.streams.symbols) - set(settings.streams.key_files)):
        yield Missing(
            f"the stream {stream} has symbols and no key",
            f"Write the key into a file with mode 0600 and name it in streams.key_files.{stream}.",
        )
    if not settings.streams.symbols:
        yield Missing(
            "no live feed is configured: no trades are collected",
            "Set streams.symbols and streams.key_files, if you want them; a key of Finnhub is free.",
        )
    if not settings.metrics.port:
        yield Missing(
            "the metrics are switched off: no alert can be sent", "Set metrics.port, and let Prometheus read it."
        )
