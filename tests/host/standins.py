"""Packages that stand in for servers which cannot be had where the tests run: same unit, same paths, same port.

What they prove is that the roles install a package, configure it, start it and find it again. What the servers themselves
do with the configuration they do not prove.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

VERSION = "0.0.1"
CLICKHOUSE_UNIT = """\
[Unit]
Description=A stand-in for the ClickHouse server: the embedded engine behind its port
[Service]
Type=exec
User=clickhouse
Group=clickhouse
StateDirectory=clickhouse
StateDirectoryMode=0700
RuntimeDirectory=clickhouse-server
Environment=TZ=UTC
ExecStart=/usr/bin/clickhouse-server
Restart=always
RestartSec=1s
[Install]
WantedBy=multi-user.target
"""
GRAFANA_UNIT = """\
[Unit]
Description=A stand-in for Grafana: it only says that it lives
[Service]
Type=exec
User=grafana
Group=grafana
StateDirectory=grafana
ExecStart=/usr/sbin/grafana-server
Restart=always
RestartSec=1s
[Install]
WantedBy=multi-user.target
"""
# As Grafana does, it starts only if it can read its settings, its passwords and its dashboards.
GRAFANA = """\
#!/usr/bin/python3
import configparser, http.server, json, pathlib
folder = pathlib.Path("/etc/grafana")
settings = configparser.ConfigParser(interpolation=None)
settings.read_string((folder / "grafana.ini").read_text())
(folder / "secrets" / "grafana.admin").read_text()
(folder / "provisioning" / "datasources" / "spotlightd.yaml").read_text()
found = [json.loads(file.read_text())["uid"] for file in sorted((folder / "dashboards").glob("*.json"))]
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_known = self.path == "/grafana/api/health"
        body = json.dumps({"stand-in": True, "user": self.headers.get("X-WEBAUTH-USER"), "dashboards": found}).encode()
        self.send_response(200 if is_known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = settings["server"]
http.server.HTTPServer((server["http_addr"], int(server["http_port"])), Answer).serve_forever()
"""
RUN = """\
#!/bin/sh
release=$(ls -d /opt/spotlightd/releases/*/complete | sort | tail -n 1)
exec "${release%/complete}/.venv/bin/python" -P /usr/lib/clickhouse-standin/server.py
"""
ACCOUNT = """\
#!/bin/sh
set -e
id {name} >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin {name}
systemctl daemon-reload
"""


def build_clickhouse(folder: Path) -> Path:
    """`clickhouse-server`: what the package of that name has for a role."""
    program = (Path(__file__).with_name("clickhouse_standin.py")).read_text(encoding="utf-8")
    files = {
        "usr/bin/clickhouse-server": RUN,
        "usr/lib/clickhouse-standin/server.py": program,
        "lib/systemd/system/clickhouse-server.service": CLICKHOUSE_UNIT,
        "etc/clickhouse-server/config.d/.keep": "",
        "etc/clickhouse-server/users.d/.keep": "",
    }
    return build(folder, "clickhouse-server", "clickhouse", files)


def build_grafana(folder: Path) -> Path:
    """`grafana`: what the package of that name has for a role. It answers /grafana/api/health, and nothing else."""
    files = {
        "usr/sbin/grafana-server": GRAFANA,
        "lib/systemd/system/grafana-server.service": GRAFANA_UNIT,
        "etc/grafana/grafana.ini": "",
    }
    return build(folder, "grafana", "grafana", files)


def build(folder: Path, package: str, account: str, files: Mapping[str, str]) -> Path:
    """A package of these files, whose installation makes the account."""
    root = folder / package
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755 if "/bin/" in name or "/sbin/" in name else 0o644)
    control = root / "DEBIAN"
    control.mkdir()
    (control / "control").write_text(
        f"Package: {package}\nVersion: {VERSION}\nArchitecture: all\nMaintainer: tests <tests@example.org>\n"
        "Description: a stand-in for tests\n"
    )
    (control / "postinst").write_text(ACCOUNT.format(name=account))
    (control / "postinst").chmod(0o755)
    target = folder / f"{package}.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Zgzip", str(root), str(target)], check=True, capture_output=True, timeout=60)  # fmt: skip
    return target
