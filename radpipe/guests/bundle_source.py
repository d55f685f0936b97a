"""A bundle's files, from a folder or a zip, read and never unpacked: metadata, inference configuration, weights, licence."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from radpipe.errors import WeightsError
from radpipe.guests.bundle_config import BundleConfig, read_mapping
from radpipe.guests.bundle_plan import weights_path

LARGEST_WEIGHTS_BYTES = 8 << 30

_WEIGHTS = ("models/model.pt", "models/model.pth", "models/model.safetensors", "models/model.ts")
_CONFIGS = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")


@dataclass(frozen=True, slots=True)
class BundleFiles:
    """What is read of a bundle."""

    metadata: Mapping[str, Any]
    config: BundleConfig
    config_name: str
    originals: Mapping[str, bytes]  # texts to keep beside the card: name -> content
    weights_name: str
    weights: bytes
    licence: str  # the first line of its LICENSE that says something, or ""

    @property
    def weights_sha256(self) -> str:
        """Of the weights file as it came."""
        return hashlib.sha256(self.weights).hexdigest()


def read_bundle(source: Path, overrides: Mapping[str, Any] | None = None) -> BundleFiles:
    """Read a bundle's folder or zip. Raises WeightsError that names what is missing."""
    files = _open(source)
    metadata_name = files.find(("configs/metadata.json",))
    if not metadata_name:
        raise WeightsError(f"{source.name} is no MONAI bundle: it has no configs/metadata.json")
    config_name = files.find(_CONFIGS)
    if not config_name:
        raise WeightsError(f"{source.name} has none of {', '.join(_CONFIGS)}: radpipe needs its inference configuration")
    metadata, configuration = files.read(metadata_name), files.read(config_name)
    config = BundleConfig.parse(configuration, config_name, overrides)
    wanted = weights_path(config)
    weights_name = files.find((*((wanted,) if wanted else ()), *_WEIGHTS))
    if not weights_name:
        raise WeightsError(
            f"{source.name} has no weights ({', '.join(_WEIGHTS)}); bundles of the zoo name them in large_files.yml: "
            "download them into the bundle first"
        )
    licence_name = files.find(("LICENSE", "LICENSE.txt", "docs/LICENSE"))
    licence = files.read(licence_name).decode("utf-8", "replace") if licence_name else ""
    originals = {"metadata.json": metadata, PurePosixPath(config_name).name: configuration}
    if licence_name:
        originals["LICENSE"] = licence.encode()
    return BundleFiles(
        metadata=read_mapping(metadata, metadata_name),
        config=config,
        config_name=config_name,
        originals=originals,
        weights_name=weights_name,
        weights=files.read(weights_name, LARGEST_WEIGHTS_BYTES),
        licence=next((line.strip() for line in licence.splitlines() if line.strip()), ""),
    )


class _Files:
    """A folder's files by their paths within it."""

    def __init__(self, names: Mapping[str, Path]) -> None:
        self._names = names

    def find(self, candidates: tuple[str, ...]) -> str:
        """The first of these paths that is there, or ""."""
        return next((name for name in candidates if name in self._names), "")

    def read(self, name: str, largest: int = 64 << 20) -> bytes:
        """Raises WeightsError."""
        try:
            if self._names[name].stat().st_size > largest:
                raise WeightsError(f"{name} of the bundle is larger than {largest >> 20} MiB")
            return self._names[name].read_bytes()
        except OSError as error:
            raise WeightsError(f"{name} of the bundle cannot be read: {error.strerror}") from error


class _ZipFiles(_Files):
    """The members of a zip, below its one folder if it has one."""

    def __init__(self, path: Path) -> None:
        super().__init__({})
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                members = {PurePosixPath(entry.filename): entry for entry in archive.infolist() if not entry.is_dir()}
        except (OSError, zipfile.BadZipFile) as error:
            raise WeightsError(f"{path.name} is no readable zip ({error})") from error
        roots = [member.parent.parent for member in members if member.match("configs/metadata.json")]
        root = min(roots, key=lambda one: len(one.parts), default=PurePosixPath("."))
        self._members = {str(member.relative_to(root)): entry for member, entry in members.items() if root in member.parents}

    def find(self, candidates: tuple[str, ...]) -> str:
        return next((name for name in candidates if name in self._members), "")

    def read(self, name: str, largest: int = 64 << 20) -> bytes:
        entry = self._members[name]
        if entry.file_size > largest:
            raise WeightsError(f"{name} of the bundle is larger than {largest >> 20} MiB")
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(entry) as stream:
                content = stream.read(largest + 1)
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
            raise WeightsError(f"{name} cannot be read from {self._path.name} ({error})") from error
        if len(content) > largest:
            raise WeightsError(f"{name} of the bundle is larger than {largest >> 20} MiB")
        return content


def _open(source: Path) -> _Files:
    if source.is_file():
        return _ZipFiles(source)
    if not source.is_dir():
        raise WeightsError(f"{source} is neither a bundle's folder nor a zip of one")
    found = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if path.is_file()}
    return _Files(found)
