"""A stand-in for the ClickHouse server, which cannot be had where the tests run: the embedded engine behind its port.

It reads the rendered config.d and users.d of its first argument as the server would, has the rights of the user
`spotlightd` (they are the engine's own), and takes that user's password. Other users with the right password get error 497:
their rights are tested in tests/packaging/test_clickhouse_users.py. It has no native protocol, no quotas over time, and is no server.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
import socket
import sys
from pathlib import Path
from unittest.mock import patch
from xml.etree import ElementTree as ET

from aiohttp import web

from spotlightd.engine import child, configuration, server
from spotlightd.engine.configuration import Configuration
from spotlightd.engine.errors import AUTHENTICATION_FAILED, StatementError, failure
from spotlightd.engine.service import Service

WRITER, ACCESS_DENIED = "spotlightd", 497
NO_LOGIN = (
    "<clickhouse><allow_no_password replace='1'>1</allow_no_password>"
    "<allow_plaintext_password replace='1'>1</allow_plaintext_password><users_config>{}</users_config></clickhouse>"
)


def main(source: Path, data: Path) -> None:
    server_part = ET.parse(source / "config.d" / "spotlightd-server.xml").getroot()  # noqa: S314
    port = int(server_part.findtext("http_port") or 0)
    users = ET.parse(source / "users.d" / "spotlightd-users.xml").getroot()  # noqa: S314
    digests = read_digests(users)
    listening = socket.create_server((server_part.findtext("listen_host") or "", port), backlog=256)
    settings = Configuration(
        folder=str(data), database="spotlightd", user=WRITER, password="", socket_number=listening.detach(),
        parent_pid=os.getpid(), memory_bytes=int(server_part.findtext("max_server_memory_usage") or 0),
        query_memory_bytes=1 << 30, threads=2, readers=8, writers=4, download_slots=8, send_seconds=60.0, start_seconds=60.0,
        sandbox="stand-in",
    )  # fmt: skip
    prepare_folder(settings, source, users)
    os.dup2(os.pipe()[0], 0)  # the engine ends with its standard input, which systemd gives no service

    def authenticate(request: web.Request, _: Service) -> None:
        user, password = server._credentials(request)
        given = hashlib.sha256(password.encode()).hexdigest()
        if not any(hmac.compare_digest(given, digest) for digest in digests.get(user, [])):
            raise failure(
                AUTHENTICATION_FAILED, "Authentication failed: password is incorrect, or there is no such user"
            )
        if user != WRITER:
            raise StatementError(
                ACCESS_DENIED, f"Code: {ACCESS_DENIED}. DB::Exception: {WRITER} alone is served. (ACCESS_DENIED)"
            )

    with patch.object(server, "_authenticate", authenticate):
        child.serve(settings)


def read_digests(users: ET.Element) -> dict[str, list[str]]:
    """The digests of the passwords of each user."""
    section = users.find("users")
    assert section is not None
    return {user.tag: [found.text or "" for found in user.iter("password_sha256_hex")] for user in section}


def prepare_folder(settings: Configuration, source: Path, users: ET.Element) -> None:
    """The engine's folder, with the server's files beside its own."""
    for folder in (settings.data, settings.temporary):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chdir(settings.temporary)
    configuration.write_config_file(settings)
    configuration.declare_system_database(settings)
    parts = Path(settings.folder) / "config.d"
    shutil.rmtree(parts, ignore_errors=True)
    shutil.copytree(source / "config.d", parts)
    (parts / "the-engine-has-no-login.xml").write_text(NO_LOGIN.format(parts.parent / "users.xml"), encoding="utf-8")
    (parts.parent / "users.xml").write_text(make_users(users), encoding="utf-8")


def make_users(users: ET.Element) -> str:
    """The users with the writer under the name that the engine knows."""
    section = users.find("users")
    assert section is not None
    writer = section.find(WRITER)
    assert writer is not None
    for user in [*section]:
        section.remove(user)
    for element in [*writer]:
        if element.tag in {"password_sha256_hex", "auth_methods"}:
            writer.remove(element)
    writer.tag = "default"
    ET.SubElement(writer, "password")
    section.append(writer)
    for name in ("profiles", "quotas"):
        ET.SubElement(users.find(name) or users, "default")
    return ET.tostring(users, encoding="unicode")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:] or ("/etc/clickhouse-server", "/var/lib/clickhouse/standin")))
