"""What each content coding of the explorer costs: a real half-month of fails as text, compressed in pieces as a download is.

mb_per_second   megabytes of text per second of processor time, the best of `--rounds`
times_smaller   length of the text divided by what is sent
"""

from __future__ import annotations

import argparse
import json
import time
import zipfile
from pathlib import Path

from spotlightd.web.compression import CODINGS, make_encoder

DOCUMENT = Path(__file__).parents[1] / "spotlightd/demo/data/cnsfails202101a.zip"
PIECE = 1 << 18


def measure(coding: str, text: bytes) -> tuple[float, int]:
    """Seconds of processor time, and the bytes that are sent."""
    began, encoder = time.process_time(), make_encoder(coding)
    sent = sum(len(encoder.add(text[start : start + PIECE])) for start in range(0, len(text), PIECE))
    return time.process_time() - began, sent + len(encoder.end())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with zipfile.ZipFile(DOCUMENT) as archive:
        text = archive.read(archive.namelist()[0])
    results = {}
    for coding in CODINGS:
        seconds, sent = min(measure(coding, text) for _ in range(rounds))
        results[coding] = {
            "mb_per_second": round(len(text) / 1e6 / seconds),
            "times_smaller": round(len(text) / sent, 1),
        }
    print(json.dumps({"bytes": len(text), **results}))


if __name__ == "__main__":
    main()
