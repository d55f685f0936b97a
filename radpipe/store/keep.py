"""What is kept of images beside the tables: headers and thumbnails, as files named by a hash of the SOP Instance UID."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


class FolderKeep:
    """`ports.Keep` in a folder of the store, 256 subfolders. Written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, sop_instance_uid: str, kind: str, content: bytes) -> None:
        """Keep `content`; files that can be made again from the original are not fsynced."""
        path = self._path(sop_instance_uid, kind)
        if path.exists() and path.stat().st_size == len(content) and path.read_bytes() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.write_bytes(content)
        part.replace(path)

    def get(self, sop_instance_uid: str, kind: str) -> bytes | None:
        """What was kept, or None."""
        path = self._path(sop_instance_uid, kind)
        return path.read_bytes() if path.exists() else None

    def _path(self, sop_instance_uid: str, kind: str) -> Path:
        name = hashlib.sha256(sop_instance_uid.encode()).hexdigest()
        return self._folder / name[:2] / f"{name[2:34]}.{kind}"
