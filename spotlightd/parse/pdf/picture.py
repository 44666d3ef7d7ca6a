"""Draws a page of a PDF with one cell marked, for people who want to see a number where it was printed."""

from __future__ import annotations

from io import BytesIO

from spotlightd.errors import FormatError
from spotlightd.model.provenance import Body
from spotlightd.parse.pdf.box import Box
from spotlightd.parse.pdf.document import open_characters

WIDTH = 1_400
"""Pixels of the picture: small print of slides is still readable, and a page is 100 to 300 kB."""

MOST_RATIO = 4.0
"""Of height to width: the picture of a page that is a strip would take any memory."""

COLOR = (200, 30, 30)
MARGIN, LINE = 3, 3


def draw_cell(body: Body, number: int, box: Box) -> bytes:
    """The page as a PNG, with a frame around the box. FormatError if there is no such page, or it cannot be drawn."""
    from PIL import ImageDraw  # noqa: PLC0415  (see the docstring of this package)

    with open_characters(body) as document:
        if not 0 < number <= len(document):
            raise FormatError(f"{body.name} has {len(document)} pages, so there is no page {number}", member=number)
        page = document[number - 1]
        width, height = page.get_size()
        if width <= 0 or height / width > MOST_RATIO:
            raise FormatError(
                f"page {number} is {width:.0f} by {height:.0f} points, which is no page to draw", member=number
            )
        scale = WIDTH / width
        picture = page.render(scale=scale).to_pil().convert("RGB")
    frame = [
        box.left * scale - MARGIN,
        box.top * scale - MARGIN,
        box.right * scale + MARGIN,
        box.bottom * scale + MARGIN,
    ]
    ImageDraw.Draw(picture).rectangle(frame, outline=COLOR, width=LINE)
    png = BytesIO()
    picture.quantize(64).save(png, "PNG", optimize=True)
    return png.getvalue()
