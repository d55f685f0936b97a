"""What is kept of images beside the tables: headers and thumbnails, as files named by the hash of the image's own file."""

from __future__ import annotations

import os
from pathlib import Path


class FolderKeep:
    """`ports.Keep` in a folder of the store, 256 subfolders. A file is there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, sha256: str, kind: str, content: bytes) -> None:
        """Keep `content`, fsynced: when the original is moved, this is the only copy."""
        path = self._path(sha256, kind)
        if self.get(sha256, kind) == content:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def get(self, sha256: str, kind: str) -> bytes | None:
        """What was kept, or None; an empty file is none."""
        path = self._path(sha256, kind)
        return (path.read_bytes() or None) if path.exists() else None

    def _path(self, sha256: str, kind: str) -> Path:
        return self._folder / sha256[:2] / f"{sha256[2:]}.{kind}"
