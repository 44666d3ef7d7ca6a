"""Vendored files are exactly those that their manifest names."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from spotlightd.web import assets

ROOT = Path(__file__).parent
FOLDERS = (assets.FOLDER / "vendor", ROOT / "vendor")


@pytest.mark.parametrize("folder", FOLDERS, ids=["shipped", "for tests"])
def test_every_vendored_file_has_the_digest_and_licence_of_its_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    known = {"manifest.json", *(path.name for path in folder.glob("*.LICENSE*"))}
    for entry in manifest["files"]:
        assert hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest() == entry["sha256"], entry["file"]
        assert (folder / entry["licence_file"]).read_text().strip()
        assert all(entry[field] for field in ("version", "licence", "package", "from"))
        known.add(entry["file"])
    assert {path.name for path in folder.iterdir()} == known


def test_styles_and_scripts_name_no_other_host() -> None:
    for name, asset in assets.read_assets().items():
        text = asset.body.decode()
        for pattern in ("url(http", "url(//", "@import", "eval(", "new Function"):
            assert pattern not in text, f"{name}: {pattern}"


def test_templates_have_no_inline_script_style_or_other_host() -> None:
    for path in (ROOT.parents[1] / "spotlightd/web/templates").glob("*.html"):
        text = path.read_text()
        for pattern in (" style=", "<style", " onclick", " onload", "javascript:", 'src="http', 'href="http', "|safe"):
            assert pattern not in text, f"{path.name}: {pattern}"
        assert text.count("<script") == text.count("<script src=") + text.count('<script type="application/json"')
