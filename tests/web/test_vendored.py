"""Files of others in our tree are exactly the ones that their manifest names."""

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
    for one in manifest["files"]:
        assert hashlib.sha256((folder / one["file"]).read_bytes()).hexdigest() == one["sha256"], one["file"]
        assert (folder / one["licence_file"]).read_text().strip()
        assert all(one[field] for field in ("version", "licence", "package", "from"))
        known.add(one["file"])
    assert {path.name for path in folder.iterdir()} == known


def test_styles_and_scripts_name_no_other_host() -> None:
    for name, asset in assets.read().items():
        text = asset.body.decode()
        for word in ("url(http", "url(//", "@import", "eval(", "new Function"):
            assert word not in text, f"{name}: {word}"


def test_templates_have_no_inline_script_style_or_other_host() -> None:
    for path in (ROOT.parents[1] / "spotlightd/web/templates").glob("*.html"):
        text = path.read_text()
        for word in (" style=", "<style", " onclick", " onload", "javascript:", 'src="http', 'href="http', "|safe"):
            assert word not in text, f"{path.name}: {word}"
        assert text.count("<script") == text.count("<script src=") + text.count('<script type="application/json"')
