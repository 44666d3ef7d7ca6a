"""The second reader: characters with their places from pdfium, joined to words and rows by rules of our own.

It knows nothing of ruled lines, so it fails in other ways than the first reader.

- Characters belong to one line when the middle of one lies within the other.
- A character's place is the one that its font gives to all characters: a comma is as high as a digit.
- A gap of more than 0.6 of a character's height starts a new phrase: words of one phrase are 0.2 to 0.35 apart, columns
  of a table mostly 1 or more.
- The columns of a table are what its phrases leave free between them, over all its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from spotlightd.parse.pdf.box import Box

GAP = 0.6
"""In heights of a character: the largest gap within a phrase."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that stand together on one line."""

    text: str
    box: Box


Line = tuple[Phrase, ...]


def read_lines(page: Any) -> list[Line]:
    """The lines of a pypdfium2 page from the top, each from left to right."""
    lines = list[list[tuple[str, Box]]]()
    for text, box in sorted(_read_characters(page), key=lambda character: (character[1].middle, character[1].left)):
        last = lines[-1][-1][1] if lines else None
        if last is not None and last.top <= box.middle <= last.bottom:
            lines[-1].append((text, box))
        else:
            lines.append([(text, box)])
    return [_join_phrases(sorted(line, key=lambda character: character[1].left)) for line in lines]


def _read_characters(page: Any) -> list[tuple[str, Box]]:
    """The characters of the page that are seen, with their places."""
    import pypdfium2.raw as pdfium  # noqa: PLC0415  (see the docstring of this package)

    height, text_page, place = page.get_height(), page.get_textpage(), pdfium.FS_RECTF()
    characters = list[tuple[str, Box]]()
    try:
        for index in range(text_page.count_chars()):
            text = chr(pdfium.FPDFText_GetUnicode(text_page, index))
            if text.isspace() or not text.isprintable():
                continue
            if pdfium.FPDFText_GetLooseCharBox(text_page, index, place):
                characters.append((text, Box(place.left, height - place.top, place.right, height - place.bottom)))
    finally:
        text_page.close()
    return characters


def _join_phrases(line: Sequence[tuple[str, Box]]) -> Line:
    """The phrases of a line, from its characters from left to right. Words keep one space between them."""
    height = max(box.bottom - box.top for _, box in line)
    phrases = [Phrase(*line[0])]
    for text, box in line[1:]:
        last = phrases[-1]
        gap = box.left - last.box.right
        if gap > GAP * height:
            phrases.append(Phrase(text, box))
        else:
            space = " " if gap > GAP / 4 * height else ""
            phrases[-1] = Phrase(f"{last.text}{space}{text}", last.box.join(box))
    return tuple(phrases)


def to_grid(lines: Iterable[Line]) -> list[tuple[str, ...]]:
    """The texts of the lines of one table by column; empty where a line has nothing in a column."""
    rows = list(lines)
    columns = _find_columns(phrase.box for row in rows for phrase in row)
    grid = list[tuple[str, ...]]()
    for row in rows:
        texts = [""] * len(columns)
        for phrase in row:
            place = next(
                index
                for index, (left, right) in enumerate(columns)
                if left <= phrase.box.left and phrase.box.right <= right
            )
            texts[place] = f"{texts[place]} {phrase.text}".strip()
        grid.append(tuple(texts))
    return grid


def _find_columns(boxes: Iterable[Box]) -> list[tuple[float, float]]:
    """From where to where each column goes: what the boxes cover together, seen from above."""
    columns = list[tuple[float, float]]()
    for left, right in sorted((box.left, box.right) for box in boxes):
        if columns and left <= columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], right))
        else:
            columns.append((left, right))
    return columns
