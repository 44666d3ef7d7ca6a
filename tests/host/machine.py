"""A booted Debian with a real systemd, in namespaces of its own: installed by the playbook, killed, cut off and booted again.

systemd-nspawn boots it (Debian 12's systemd 252: 0.2 s). It and the machine that runs the playbook are two network
namespaces with one cable between them, so that no address and no port of this machine is used.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.host.image import HostMissingError, find_image

ROOT = Path(__file__).parents[2]
OPERATOR, HOST = "10.231.8.1", "10.231.8.2"
NAME = "box.example.org"
BOOT_SECONDS = 300.0
FIRST_PROCESS_SECONDS = 120.0
SHELL_SECONDS = 180.0
PLAY_SECONDS = 1800.0
RECAP = re.compile(r"ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")
# systemd-nspawn exits with 133 when the host inside reboots.
BOOT_LOOP = 'while :; do "$@" </dev/null; status=$?; [ $status = 133 ] || exit $status; done'
ENVIRONMENT = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}


@dataclass(frozen=True, slots=True)
class Play:
    """What a run of the playbook reported."""

    ok: int
    changed: int
    failed: int
    seconds: float
    output: str


@dataclass
class Machine:
    """The host, and the namespace of its operator. Commands run over ssh, as an operator's do."""

    folder: Path
    name: str
    variables: dict[str, Any] = field(default_factory=dict)
    _boot: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def key(self) -> Path:
        return self.folder / "key"

    def ssh_options(self) -> list[str]:
        options = {
            "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR", "ConnectTimeout": "2",
            "ServerAliveInterval": "5", "IdentitiesOnly": "yes",
        }  # fmt: skip
        return ["-i", str(self.key), *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]

    def as_operator(
        self, *command: str, seconds: float, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the operator's namespace."""
        return subprocess.run(
            ["ip", "netns", "exec", f"{self.name}-op", *command],
            capture_output=True, text=True, timeout=seconds, check=False, env={**os.environ, **(environment or {})},
        )  # fmt: skip

    def start_beside(self, *command: str, folder: Path) -> subprocess.Popen[bytes]:
        """Start a program in the host's network, which is not on the host: it does not end with it."""
        spaced = ["ip", "netns", "exec", f"{self.name}-host", *command]
        return subprocess.Popen(spaced, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True)

    def try_command(self, command: str, *, seconds: float = SHELL_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the host, whatever its status."""
        return self.as_operator("ssh", *self.ssh_options(), f"root@{HOST}", command, seconds=seconds)

    def run(self, command: str, *, seconds: float = SHELL_SECONDS) -> str:
        """Run a shell command on the host; its output. AssertionError when it fails."""
        result = self.try_command(command, seconds=seconds)
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return result.stdout.strip()

    def boot(self) -> None:
        """Boot, and wait until systemd has started everything."""
        command = [
            "systemd-nspawn", "--quiet", f"--directory={self.root}", f"--machine={self.name}", "--boot", "--register=no",
            "--keep-unit", "--console=pipe", f"--network-namespace-path=/run/netns/{self.name}-host",
            "--capability=CAP_NET_ADMIN,CAP_BPF,CAP_PERFMON", "--system-call-filter=bpf",
        ]  # fmt: skip
        with (self.folder / "console.log").open("ab") as console:
            self._boot = subprocess.Popen(
                ["sh", "-c", BOOT_LOOP, "boot", *command],
                stdout=console, stderr=console, env={**os.environ, **ENVIRONMENT}, start_new_session=True,
            )  # fmt: skip
        self._wait_for_first_process()
        self.wait_until_running()

    def _wait_for_first_process(self) -> None:
        """HostMissingError with the last words of systemd-nspawn, when it may not do here what it must."""
        assert self._boot
        end = time.monotonic() + FIRST_PROCESS_SECONDS
        while time.monotonic() < end:
            if self._boot.poll() is not None:
                words = (self.folder / "console.log").read_text(errors="replace").strip().splitlines()
                raise HostMissingError(f"systemd-nspawn ended with {self._boot.returncode}: {' '.join(words[-2:])}")
            if self.try_command("true").returncode == 0:
                return
            time.sleep(0.2)

    def wait_until_running(self, *, seconds: float = BOOT_SECONDS) -> None:
        """Wait until systemd has started everything, whether each unit succeeded or not."""
        self.wait_for("systemctl is-system-running", {"running", "degraded"}, seconds=seconds)

    def wait_for(self, command: str, wanted: set[str], *, seconds: float = BOOT_SECONDS) -> str:
        """Run a command until its output is one of these."""
        end, output = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            output = self.try_command(command).stdout.strip()
            if output in wanted:
                return output
            time.sleep(0.2)
        raise AssertionError(f"not within {seconds:g} s: {command} gives {sorted(wanted)}, last {output!r}")

    def cut_power(self) -> None:
        """Kill the host's first process: nothing is flushed, nothing is stopped in order."""
        assert self._boot
        leaders = [child for process in psutil.Process(self._boot.pid).children() for child in process.children()]
        assert len(leaders) == 1
        leaders[0].kill()
        self._boot.wait(30)

    def reboot(self) -> None:
        """Reboot from inside."""
        boots = self.run("cat /proc/sys/kernel/random/boot_id; systemctl show --property=UserspaceTimestampMonotonic")
        started = psutil.Process(self._first_process()).create_time()
        self.try_command("systemctl reboot")
        end = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < end:
            try:
                if psutil.Process(self._first_process()).create_time() > started:
                    return self.wait_until_running()
            except (psutil.NoSuchProcess, IndexError):
                pass
            time.sleep(0.1)
        raise AssertionError(f"not rebooted within {BOOT_SECONDS:g} s: {boots}")

    def _first_process(self) -> int:
        assert self._boot
        nspawn = psutil.Process(self._boot.pid).children()[0]
        return int(nspawn.children()[0].pid)

    def play(self, *arguments: str, variables: Mapping[str, Any] | None = None) -> Play:
        """Run the playbook as ansible/README.md says. AssertionError when a task fails."""
        began = time.monotonic()
        extra = ["--extra-vars", json.dumps({**self.variables, **(variables or {})})]
        result = self.as_operator(
            str(ROOT / ".venv" / "bin" / "ansible-playbook"), "-i", str(self.folder / "inventory"), str(ROOT / "ansible" / "site.yml"),
            *extra, *arguments,
            seconds=PLAY_SECONDS,
            environment={"ANSIBLE_CONFIG": str(ROOT / "ansible" / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "connections"), "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"},
        )  # fmt: skip
        recap = RECAP.search(result.stdout)
        assert recap, result.stdout[-4000:] + result.stderr[-4000:]
        ok, changed, unreachable, failed = map(int, recap.groups())
        return Play(ok, changed, failed + unreachable, time.monotonic() - began, result.stdout)

    def main_pid(self, unit: str) -> int:
        pid = int(self.run(f"systemctl show --property=MainPID --value {unit}"))
        assert pid > 1, f"{unit} does not run"
        return pid

    def end(self) -> None:
        """Kill the host's first process, and with it all that runs on the host."""
        if self._boot and self._boot.poll() is None:
            processes = [psutil.Process(self._boot.pid), *psutil.Process(self._boot.pid).children(recursive=True)]
            for process in processes[:3]:  # the loop, systemd-nspawn, the first process of the host
                process.kill()
            self._boot.wait(30)


@contextmanager
def run_machine(folder: Path) -> Iterator[Machine]:
    """A bare host that was booted; all of it is gone after the block. HostMissingError where none can be booted."""
    image, machine = find_image(), Machine(folder, f"spot{secrets.token_hex(2)}")
    with ExitStack() as stack:
        machine.root.mkdir()
        execute(
            "tar",
            "--directory",
            str(machine.root),
            "--use-compress-program=zstd",
            "--extract",
            "--preserve-permissions",
            "--file",
            str(image),
        )
        prepare_root(machine)
        lay_cable(stack, machine.name)
        stack.callback(machine.end)
        machine.boot()
        yield machine


def prepare_root(machine: Machine) -> None:
    """A name, a key for the operator, and no trace of the machine that built the image."""
    root = machine.root
    (root / "etc/hostname").write_text("box\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 box {NAME}\n")
    (root / "etc/machine-id").write_text("")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    execute("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(machine.key))
    ssh = root / "root/.ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    (ssh / "authorized_keys").write_bytes(machine.key.with_suffix(".pub").read_bytes())
    options = shlex.join(machine.ssh_options()).replace(f"-i {machine.key} ", "")
    (machine.folder / "inventory").write_text(
        f"[spotlight]\nbox ansible_host={HOST} ansible_user=root ansible_ssh_private_key_file={machine.key} "
        f"ansible_ssh_common_args='{options}'\n"
    )


def lay_cable(stack: ExitStack, name: str) -> None:
    """Two namespaces, and a pair of interfaces between them."""
    for end in ("op", "host"):
        execute("ip", "netns", "add", f"{name}-{end}")
        stack.callback(execute, "ip", "netns", "delete", f"{name}-{end}")
    execute(
        "ip",
        "-netns",
        f"{name}-op",
        "link",
        "add",
        "eth0",
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        f"{name}-host",
    )
    for end, address in (("op", OPERATOR), ("host", HOST)):
        space = f"{name}-{end}"
        execute("ip", "-netns", space, "address", "add", f"{address}/30", "dev", "eth0")
        execute("ip", "-netns", space, "link", "set", "eth0", "up")
        execute("ip", "-netns", space, "link", "set", "lo", "up")


def execute(*command: str) -> None:
    subprocess.run(command, check=True, timeout=SHELL_SECONDS, stdin=subprocess.DEVNULL)
