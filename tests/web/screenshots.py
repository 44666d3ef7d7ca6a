"""Pictures of a running explorer for the docs: `python tests/web/screenshots.py http://127.0.0.1:8080 docs/screenshots`.

Wide and narrow, light and dark. The row shown is the symbol's newest one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SYMBOL = "GME"
LOOKS = {"": (1280, 900, "light"), "-dark": (1280, 900, "dark"), "-phone": (390, 844, "light")}


def pages(address: str) -> dict[str, str]:
    """Which pages are shown, by the name of the picture."""
    with urlopen(f"{address}/data/sec_ftd.json?symbol={SYMBOL}&_size=1", timeout=30) as answer:
        row = json.load(answer)["rows"][0]
    key = f"/data/sec_ftd/{row['settlement_date']},{row['cusip']},{SYMBOL}"
    with urlopen(f"{address}{key}.json", timeout=30) as answer:
        line = json.load(answer)["rows"][0]["receipt"]["line"]
    return {
        "home": "/", "table": "/data/sec_ftd?_facet=symbol", "symbol": f"/s/{SYMBOL}", "row": key, "source": line,
        "status": "/status", "search": "/search?q=game",
    }  # fmt: skip


def taken(browser: Browser, address: str, folder: Path) -> None:
    for look, (width, height, scheme) in LOOKS.items():
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        for name, path in pages(address).items():
            page.goto(address + path)
            if name == "symbol":
                page.wait_for_selector("html[data-ready]", timeout=10_000)
            page.screenshot(path=folder / f"{name}{look}.png", full_page=name in ("home", "symbol", "row") and not look)
        page.close()


def main() -> None:
    address, folder = sys.argv[1].rstrip("/"), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        taken(browser, address, folder)
        browser.close()


if __name__ == "__main__":
    main()
