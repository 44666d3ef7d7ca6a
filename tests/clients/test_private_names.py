"""The names of aiokafka and minio that are no part of their public interface, and that our clients use all the same.

Nothing of ours is imported here: where a name is gone, these tests say so in a sentence, and other tests in a traceback.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from minio import Minio
from minio.error import InvalidResponseError

CLIENTS = Path(__file__).parent.parent.parent / "spotlightd/clients"
MINIO_CALLS: Mapping[str, tuple[object, ...]] = {
    "_put_object": ("bucket", "key", b"body", {}),
    "_create_multipart_upload": ("bucket", "key", {}),
    "_upload_part": ("bucket", "key", b"body", {}, "upload", 1),
    "_abort_multipart_upload": ("bucket", "key", "upload"),
    "_list_multipart_uploads": ("bucket",),
    "_execute": ("POST", "bucket", "key"),
}


def imported_names(folder: Path, library: str) -> Iterator[tuple[str, str]]:
    """(module, name) of every `from library… import name` in that folder."""
    for file in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == library:
                yield from ((str(node.module), alias.name) for alias in node.names)


def has_name(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def takes_arguments(name: str, arguments: tuple[object, ...]) -> bool:
    try:
        inspect.signature(getattr(Minio, name)).bind(None, *arguments)
    except (AttributeError, TypeError):
        return False
    return True


def test_aiokafka_still_has_the_names_below_its_public_face() -> None:
    used = sorted(set(imported_names(CLIENTS / "kafka", "aiokafka")))
    missing = [f"{module}.{name}" for module, name in used if not has_name(module, name)]
    if not missing and "self._writer" not in inspect.getsource(importlib.import_module("aiokafka.conn")):
        missing.append("aiokafka.conn.AIOKafkaConnection._writer")
    assert ("aiokafka.conn", "create_conn") in used
    assert missing == [], (
        f"aiokafka {version('aiokafka')} no longer has {', '.join(missing)}: spotlightd/clients/kafka uses them. Change"
        " it there, or lower the upper bound of aiokafka in pyproject.toml"
    )


def test_minio_still_has_the_names_below_its_public_face() -> None:
    missing = [f"Minio.{name}" for name, arguments in MINIO_CALLS.items() if not takes_arguments(name, arguments)]
    if not hasattr(InvalidResponseError(503, "text/html", ""), "_code"):
        missing.append("InvalidResponseError._code")
    assert missing == [], (
        f"minio {version('minio')} no longer has {', '.join(missing)} with these arguments: spotlightd/clients/bucket uses"
        " them. Change it there, or lower the upper bound of minio in pyproject.toml"
    )


def test_the_list_of_minios_names_is_whole() -> None:
    used = {
        node.attr
        for file in (CLIENTS / "bucket").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and getattr(node.value, "attr", "") == "_client"
    }
    assert used == set(MINIO_CALLS)
