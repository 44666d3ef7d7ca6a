"""Pictures of the explorer for the docs: `make screenshots`, or `python tests/web/screenshots.py ADDRESS FOLDER`.

Without an address a demo is started in a folder of its own and ended afterwards; without a folder the pictures go to
docs/screenshots. The row shown is one that was corrected; the live page has a gap in it.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SYMBOL = "GME"
CORRECTED = "2021-01-20"
SWAP = "DTCC/SEC/9000000000000000101"  # constructed: reported, and changed twice in three days
WIDE = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}
DARK = {**WIDE, "color_scheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "device_scale_factor": 2}
PICTURES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("home", "/", WIDE),
    ("table", "/data/sec_ftd?quantity__gte=1000000&_sort_desc=quantity&_facet=symbol", WIDE),
    ("symbol", f"/s/{SYMBOL}", WIDE),
    ("row", "{row}", WIDE),
    ("source", "{line}", WIDE),
    ("status", "/status", WIDE),
    ("scorecard", "/scorecard", WIDE),
    ("disk", "/disk", WIDE),
    ("archive", "/archive", WIDE),
    ("live", "/live", WIDE),
    ("topic", "/topics/finnhub", WIDE),
    ("logs", "/logs", WIDE),
    ("trade", "{trade}", WIDE),
    ("swaps", "/swaps", WIDE),
    ("swap", f"/swaps/{SWAP}", WIDE),
    ("swaps-phone", "/swaps", PHONE),
    ("swap-phone", f"/swaps/{SWAP}", PHONE),
    ("disk-phone", "/disk", PHONE),
    ("live-phone", "/live", PHONE),
    ("symbol-dark", f"/s/{SYMBOL}", DARK),
    ("logs-phone", "/logs?level=info", PHONE),
    ("home-phone", "/", PHONE),
    ("symbol-phone", f"/s/{SYMBOL}", PHONE),
)
TALL = ("home", "symbol", "row", "trade", "swaps", "swap")
LOADED_SECONDS = 120.0


def fetch_json(address: str, path: str) -> Any:
    with urlopen(address + path, timeout=30) as answer:
        return json.load(answer)


@contextmanager
def demo() -> Iterator[str]:
    """The address of a demo that has shown its correction."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        command = [sys.executable, "-m", "spotlightd", "demo", "--state", folder, "--port", str(port)]
        process = subprocess.Popen(command, cwd=ROOT)
        try:
            yield wait_until_loaded(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_until_loaded(address: str) -> str:
    """The address, once there are a correction, a gap of today that is over, and ticks that are archived."""
    deadline = time.monotonic() + LOADED_SECONDS
    while time.monotonic() < deadline:
        try:
            corrected = any(load["supersedes"] for load in fetch_json(address, "/data/loads.json?_size=20")["rows"])
            gaps = fetch_json(address, "/data/gaps.json?_size=10")["rows"]
            archived = any(
                partition["stage"] == "switched" for partition in fetch_json(address, "/archive.json")["partitions"]
            )
            if corrected and archived and gaps:
                return address
        except URLError:
            pass
        time.sleep(0.2)
    raise TimeoutError("the demo published no correction, had no gap, or archived nothing")


def find_pages(address: str) -> dict[str, str]:
    """Addresses of the corrected row and of its line, and of a trade."""
    row = fetch_json(address, f"/data/sec_ftd.json?symbol={SYMBOL}&settlement_date={CORRECTED}&_size=1")["rows"][0]
    key = f"/data/sec_ftd/{row['settlement_date']},{row['cusip']},{SYMBOL}"
    line = fetch_json(address, f"{key}.json")["rows"][-1]["receipt"]["line"]
    return {"row": key, "line": line, "trade": newest_trade(address)}


def newest_trade(address: str) -> str:
    """The address of the newest trade."""
    with urlopen(f"{address}/data/trades?_sort_desc=received&_size=1", timeout=30) as answer:
        text: str = answer.read().decode()
    return text.partition('<td class="receipt"><a href="')[2].partition('"')[0]


def take_screenshots(browser: Browser, address: str, folder: Path) -> None:
    known = find_pages(address)
    for name, path, look in PICTURES:
        page: Page = browser.new_page(**look)
        page.goto(address + path.format(**known))
        if name.startswith(("symbol", "swaps")):
            page.wait_for_selector("html[data-ready]", timeout=10_000)
        if name.startswith("live"):
            page.wait_for_selector("html[data-live=green]", timeout=10_000)
        page.screenshot(path=folder / f"{name}.png", full_page=name in TALL)
        page.close()


def main() -> None:
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        if len(sys.argv) > 1:
            take_screenshots(browser, sys.argv[1].rstrip("/"), folder)
        else:
            with demo() as address:
                take_screenshots(browser, address, folder)
        browser.close()


if __name__ == "__main__":
    main()
