"""The files that the roles `kafka` and `object_store` install, from where the tests have theirs: `python -m tests.host.parts build`.

Kafka's jars as one tar file, MinIO as Go built it, SeaweedFS out of its wheel. The roles compare each with its digest.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tarfile
from pathlib import Path

from tests.real.kafka import VERSION, jars_folder
from tests.real.minio import server_path


def write_parts(folder: Path) -> None:
    with tarfile.open(folder / f"kafka-{VERSION}.tar", "w") as archive:
        for jar in sorted(jars_folder().glob("*.jar")):
            archive.add(jar, jar.name)
    for source, name in ((server_path(), "minio"), (Path(sys.executable).parent / "weed", "weed")):
        shutil.copyfile(source, folder / name)


def digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


if __name__ == "__main__":
    write_parts(Path(sys.argv[1]))
