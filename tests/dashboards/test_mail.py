"""Real Prometheus, real Alertmanager, and a mailbox: alerts fire, and their ends are mailed too."""

from __future__ import annotations

import asyncio
import email
import email.policy
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pytest
import pytest_asyncio
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope

from tests.dashboards.conftest import run
from tests.dashboards.test_alerts import RULES
from tests.polling import until
from tests.real.kafka import free_ports
from tests.real.prometheus import PrometheusMissingError, find_program

TEMPLATES = RULES.parents[1] / "templates"
MAIL_SECONDS = 60.0
# What the constructed daemon reports: each line fires one alert.
TROUBLE = """\
spotlightd_disk_answers{filesystem="/data"} 0
spotlightd_disk_level{filesystem="/data"} 2
spotlightd_archive_partitions{stage="held"} 1
spotlightd_archive_check_well{kind="drill"} 0
spotlightd_documents_amiss 1
"""
FINE = """\
spotlightd_disk_answers{filesystem="/data"} 1
spotlightd_disk_level{filesystem="/data"} 0
spotlightd_archive_partitions{stage="held"} 0
spotlightd_archive_check_well{kind="drill"} 1
spotlightd_documents_amiss 0
"""
ALERTS = {"DiskHangs", "DiskHoldsWork", "ArchiveHeld", "ArchiveCheckFailed", "DocumentsAmiss"}
PROMETHEUS = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{folder}/rules.yml]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager}']}}]}}]}}
scrape_configs: [{{job_name: spotlightd, static_configs: [{{targets: ['127.0.0.1:{daemon}']}}]}}]
"""


@dataclass
class Mailbox:
    """Takes every message that it is sent."""

    messages: list[tuple[str, str]] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802  (aiosmtpd's name)
        content = envelope.content
        assert isinstance(content, bytes)
        message = email.message_from_bytes(content, policy=email.policy.default)
        body = message.get_body(("plain",))
        assert body is not None
        self.messages.append((str(message["Subject"]), body.get_content()))
        return "250 OK"

    def subjects(self) -> set[str]:
        return {subject for subject, _ in self.messages}


@dataclass
class Scene:
    """A daemon that reports `metrics`, and the mailbox of its operator."""

    mailbox: Mailbox = field(default_factory=Mailbox)
    metrics: str = FINE


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    try:
        prometheus, alertmanager = find_program("prometheus"), find_program("prometheus-alertmanager")
        amtool = find_program("amtool")
    except PrometheusMissingError as error:
        pytest.skip(f"no real Prometheus: {error}")
    ports = dict(zip(("prometheus", "alertmanager", "daemon", "smtp"), free_ports(4), strict=True))
    write_files(tmp_path, ports)
    command = [str(amtool), "check-config", f"{tmp_path}/alertmanager.yml"]
    checked = await asyncio.to_thread(lambda: subprocess.run(command, capture_output=True, text=True, check=False))
    assert checked.returncode == 0, checked.stderr
    scene = Scene()
    async with AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        smtp = await loop.create_server(lambda: SMTP(scene.mailbox, loop=loop), "127.0.0.1", ports["smtp"])
        stack.callback(smtp.close)
        await serve_metrics(stack, scene, ports["daemon"])
        run(
            stack, tmp_path, *with_its_templates(alertmanager), f"--config.file={tmp_path}/alertmanager.yml",
            f"--storage.path={tmp_path}/alerts", f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
            "--cluster.listen-address=",
        )  # fmt: skip
        run(
            stack, tmp_path, str(prometheus), f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/tsdb", f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
        )  # fmt: skip
        yield scene


def with_its_templates(alertmanager: Path) -> tuple[str, ...]:
    """The command in a mount namespace of its own: Debian's Alertmanager reads /usr/share/prometheus, which is not installed."""
    share = alertmanager.parents[1] / "share"
    script = 'mount --rbind "$0" /usr/share && exec "$@"'
    return ("unshare", "--mount", "--map-root-user", "sh", "-c", script, str(share), str(alertmanager))


def write_files(folder: Path, ports: dict[str, int]) -> None:
    """The configuration as the role `monitoring` renders it, with short pauses."""
    variables = {
        "ansible_managed": "for a test", "monitoring_config_folder": folder, "monitoring_explorer_url": "https://box.example.org",
        "monitoring_smtp_host": "127.0.0.1", "monitoring_smtp_port": ports["smtp"], "monitoring_smtp_tls": False,
        "monitoring_smtp_user": "", "monitoring_smtp_password_file": "", "monitoring_mail_from": "box@example.org",
        "monitoring_mail_to": "operator@example.org", "monitoring_group_wait": "1s", "monitoring_group_interval": "2s",
    }  # fmt: skip
    loader, strict = jinja2.FileSystemLoader(TEMPLATES), jinja2.StrictUndefined
    environment = jinja2.Environment(loader=loader, undefined=strict, trim_blocks=True)  # noqa: S701  (no HTML)
    for name in ("alertmanager.yml", "spotlightd.tmpl"):
        (folder / name).write_text(environment.get_template(f"{name}.j2").render(variables), encoding="utf-8")
    # The rules as they are, but for the time that a condition has to last.
    rules = RULES.read_text(encoding="utf-8").replace("for: 1m", "for: 1s")
    (folder / "rules.yml").write_text(rules, encoding="utf-8")
    (folder / "prometheus.yml").write_text(PROMETHEUS.format(folder=folder, **ports), encoding="utf-8")


async def serve_metrics(stack: AsyncExitStack, scene: Scene, port: int) -> None:
    async def show(_: web.Request) -> web.Response:
        return web.Response(text=scene.metrics)

    application = web.Application()
    application.router.add_get("/metrics", show)
    runner = web.AppRunner(application)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", port).start()


@pytest.mark.slow
async def test_alerts_are_mailed_when_they_fire_and_when_they_are_over(scene: Scene) -> None:
    scene.metrics = TROUBLE
    fired = {f"Alert: {name}" for name in ALERTS}
    await until(lambda: fired <= scene.mailbox.subjects(), f"mail for {sorted(fired)}", seconds=MAIL_SECONDS, every=0.2)
    text = next(text for subject, text in scene.mailbox.messages if subject == "Alert: DiskHangs")
    assert "The file system /data does not answer." in text
    assert "What it means: Usually a network file system whose server is down." in text
    assert "What to do: Bring its server back." in text
    assert "https://box.example.org/disk" in text
    scene.metrics = FINE
    over = {f"Over: {name}" for name in ALERTS}
    await until(lambda: over <= scene.mailbox.subjects(), f"mail for {sorted(over)}", seconds=MAIL_SECONDS, every=0.2)
