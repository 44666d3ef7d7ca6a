"""A real Apache Kafka for the tests: downloaded by Maven once, then run as one KRaft node on loopback.

Tests kill, freeze and wipe it. `python -m tests.real.kafka` downloads it (that is `make kafka`): the jars go to a cache
outside the tree, named by version. It needs a JDK of at least 17.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

VERSION = "4.1.1"
APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")
START_SECONDS = 60.0
LISTENERS = ("PLAIN", "LOCKED", "SECURE", "CONTROLLER")
USER = "spotlightd"
SECRET = "constructed-secret"
KEYSTORE = "broker.p12"  # the broker's own key, created once; its certificate is for 127.0.0.1
CERTIFICATE = "broker.pem"
POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
# Settings for a single node that starts fast, is small, and creates no topics by itself.
PROPERTIES: Mapping[str, object] = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAIN",
    "listener.security.protocol.map": "PLAIN:PLAINTEXT,LOCKED:SASL_PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT",
    "listener.name.locked.sasl.enabled.mechanisms": "PLAIN",
    "listener.name.secure.sasl.enabled.mechanisms": "SCRAM-SHA-512",
    "listener.name.locked.plain.sasl.jaas.config": (
        f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{SECRET}";'
    ),
    "listener.name.secure.scram-sha-512.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
    "ssl.keystore.type": "PKCS12",
    "ssl.keystore.password": SECRET,
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": 1,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "offsets.retention.minutes": 2_000_000,
    "group.initial.rebalance.delay.ms": 0,
    "broker.session.timeout.ms": 1500,
    "broker.heartbeat.interval.ms": 300,
    "controller.quorum.election.timeout.ms": 300,
    "controller.quorum.fetch.timeout.ms": 1000,
    "log.cleaner.dedupe.buffer.size": 4 << 20,
    "file.delete.delay.ms": 100,
    "num.io.threads": 2,
    "num.network.threads": 2,
    "background.threads": 2,
}


class KafkaMissingError(Exception):
    """There is no broker here; the text is the reason of a skip."""


def jars_folder() -> Path:
    """Where the jars are, or will be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "spotlightd" / f"kafka-{VERSION}"


def fetch() -> Path:
    """The folder with Kafka's jars, downloaded if needed. KafkaMissingError when that is impossible here."""
    folder = jars_folder()
    if not shutil.which("java") or not (folder.exists() or shutil.which("mvn")):
        install_java()
    if not folder.exists():
        download_jars(folder)
    return folder


def download_jars(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        (Path(temporary) / "pom.xml").write_text(POM, encoding="utf-8")
        run_command(["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"], Path(temporary))
        store = ["-alias", "broker", "-keystore", f"libs/{KEYSTORE}", "-storepass", SECRET]
        subject = ["-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1", "-keyalg", "EC", "-validity", "3650"]
        run_command(["keytool", "-genkeypair", *subject, "-storetype", "PKCS12", *store], Path(temporary))
        run_command(["keytool", "-exportcert", "-rfc", "-file", f"libs/{CERTIFICATE}", *store], Path(temporary))
        if not folder.exists():  # another run may have finished first
            (Path(temporary) / "libs").rename(folder)


def install_java() -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise KafkaMissingError(
            "no Java or no Maven, and not root to install them: apt-get install default-jre-headless maven"
        )
    run_command([*APT, "update"], Path("/"))
    run_command([*APT, "install", "--no-install-recommends", "default-jre-headless", "maven"], Path("/"))


def run_command(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=600
    )
    if result.returncode:
        raise KafkaMissingError(f"{' '.join(command)}: {(result.stderr or result.stdout).strip()[-500:]}")


def free_ports(number: int) -> list[int]:
    """Free ports of 127.0.0.1, below the range of outgoing connections, which could take them while the broker is down."""
    ports: list[int] = []
    while len(ports) < number:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe:
            if port not in ports and probe.connect_ex(("127.0.0.1", port)):
                ports.append(port)
    return ports


class Kafka:
    """One node, with its data in `folder`. `address` stays the same over restarts. `locked` needs a password (PLAIN);
    `secure` needs one too (SCRAM-SHA-512) and uses TLS with `certificate`.

    `async with` starts it and ends it. With `measured` it starts more slowly and runs faster.
    """

    def __init__(self, folder: Path, properties: Mapping[str, object] | None = None, *, measured: bool = False) -> None:
        self.folder = folder
        self.measured = measured
        self.jars = fetch()
        self.certificate = self.jars / CERTIFICATE
        self.ports = free_ports(4)
        self.address, self.locked, self.secure, _ = (f"127.0.0.1:{port}" for port in self.ports)
        self.properties = {**PROPERTIES, **(properties or {})}
        self._broker: subprocess.Popen[bytes] | None = None
        self._frozen = False
        self._log: IO[bytes] | None = None

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            await self.start()
        except BaseException:
            self.kill()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._broker
        return self._broker.pid

    async def start(self) -> None:
        """Start the broker (with an empty log, if the folder is) and wait until it answers."""
        assert self._broker is None
        if not (self.folder / "data").exists():
            await self._format()
        self._log = (self.folder / "kafka.log").open("ab")
        self._broker = subprocess.Popen(
            self._java("kafka.Kafka", str(self.folder / "server.properties")),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        async with asyncio.timeout(START_SECONDS):
            while not await self._answers():
                if self._broker.poll() is not None:
                    raise RuntimeError(f"Kafka ended at once: {self._read_log()}")
                await asyncio.sleep(0.05)

    async def stop(self, seconds: float = 30.0) -> None:
        """Stop it in order, and wait until it has ended."""
        if self._broker is None:
            return
        self.thaw()
        self._broker.terminate()
        await asyncio.to_thread(self._broker.wait, seconds)
        self._on_end()

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, and no connection is closed in order."""
        if self._broker is not None:
            self._broker.kill()
            self._broker.wait(10)
            self._on_end()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, and no request is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        if self._frozen:
            os.kill(self.pid, signal.SIGCONT)
        self._frozen = False

    async def wipe(self) -> None:
        """Start another cluster at the same address, without any data."""
        self.kill()
        await asyncio.to_thread(shutil.rmtree, self.folder / "data")
        await self.start()

    def _on_end(self) -> None:
        self._broker = None
        self._frozen = False
        if self._log:
            self._log.close()

    async def _format(self) -> None:
        controller = self.ports[-1]
        settings = {
            **self.properties,
            "log.dirs": self.folder / "data",
            "ssl.keystore.location": self.jars / KEYSTORE,
            "listeners": ",".join(
                f"{name}://127.0.0.1:{port}" for name, port in zip(LISTENERS, self.ports, strict=True)
            ),
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        }
        properties = self.folder / "server.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
        cluster = (
            "A" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode()[1:22]
        )  # an id must not start with a dash
        scram = f"SCRAM-SHA-512=[name={USER},password={SECRET}]"
        formatting = await asyncio.create_subprocess_exec(
            *self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties), "-S", scram),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await formatting.communicate())[0].decode()
        if formatting.returncode:
            raise RuntimeError(f"Kafka's storage could not be formatted: {output}")

    def _java(self, *command: str) -> list[str]:
        options = [
            "-Xms64m",
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            *([] if self.measured else ["-XX:TieredStopAtLevel=1"]),
        ]
        return ["java", *options, "-cp", f"{self.jars}/*", *command]

    async def _answers(self) -> bool:
        """Whether it answers a request, and not only accepts a connection: ApiVersions, which needs no login."""
        request = bytes.fromhex("0000000e 0012 0000 00000001 0004 74657374".replace(" ", ""))
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[0])
                try:
                    writer.write(request)
                    return len(await reader.readexactly(8)) == 8
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return False

    def _read_log(self) -> str:
        lines = (self.folder / "kafka.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(line for line in lines if not line.startswith("\tat "))[-2000:]


if __name__ == "__main__":
    try:
        fetch()
    except KafkaMissingError as problem:
        print(
            f"*** THE TESTS OF THE BUS WILL BE SKIPPED WHERE THEY NEED A REAL KAFKA: {problem} ***",
            file=sys.stderr,
        )
