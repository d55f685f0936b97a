"""Settings: one frozen object, built once from defaults, a TOML file, RADPIPE_* variables and the command line.

Unknown keys are refused, in the file and in the environment, because a misspelt setting that is ignored is a fault
that nobody sees.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from radpipe.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a site can set. Durations in seconds, sizes in the unit of their name."""

    store: Path = Path("radpipe-store")  # folder of the database, the outbox and Prefect's own state
    database_url: str = ""  # SQLAlchemy URL; empty: SQLite in the store
    weights: Path = Path("")  # folder of models; empty: the weights that ship with radpipe
    model: str = "chest-dinov2s"  # folder name under weights
    backend: str = "auto"  # auto, onnx, torch
    device: str = "auto"  # auto, cpu, cuda
    threads: int = 0  # of the inference backend; 0: all cores
    batch_studies: int = 8  # studies read in one micro-batch
    triage_rules: Path = Path("")  # TOML; empty: the rules that ship with radpipe
    dicom_port: int = 11112  # of the receiver
    ae_title: str = "RADPIPE"
    http_port: int = 8090
    user: str = ""  # who acts: accept, reject, edit, sign
    site: str = ""  # written as InstitutionName where the study has none

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{self.store.resolve() / 'radpipe.db'}"

    @property
    def outbox(self) -> Path:
        """Folder into which signed reports are delivered."""
        return self.store / "outbox"

    def configuration_sha256(self, rules: bytes = b"") -> str:
        """Hash of what changes a reading: part of a run's key. Paths, users and batch sizes do not."""
        return hashlib.sha256(b"reading-format 1\n" + rules).hexdigest()


_PATHS = frozenset({"store", "weights", "triage_rules"})
_INTEGERS = frozenset({"threads", "batch_studies", "dicom_port", "http_port"})
_CHOICES = {"backend": ("auto", "onnx", "torch"), "device": ("auto", "cpu", "cuda")}
_NOT_SETTINGS = frozenset({"RADPIPE_CONFIG"})


def load_settings(
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str | None] | None = None,
) -> Settings:
    """Build the settings. Later wins: defaults, TOML file (`config` or $RADPIPE_CONFIG), RADPIPE_*, `overrides`.

    Raises SettingsError for an unknown key, an unreadable file or a value of the wrong kind.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, str] = {}
    if config is None and environ.get("RADPIPE_CONFIG"):
        config = Path(environ["RADPIPE_CONFIG"])
    if config is not None:
        values |= _from_file(config)
    for name, value in environ.items():
        if name.startswith("RADPIPE_") and name not in _NOT_SETTINGS:
            values[_known(name.removeprefix("RADPIPE_").lower(), f"environment variable {name}")] = value
    for name, override in (overrides or {}).items():
        if override is not None:
            values[_known(name, "option")] = override
    return _build(values)


def _from_file(config: Path) -> dict[str, str]:
    try:
        table = tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {config}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config} is not valid TOML: {error}") from error
    return {_known(name, f"key in {config}"): str(value) for name, value in table.items()}


def _known(name: str, where: str) -> str:
    names = [field.name for field in fields(Settings)]
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"
    raise SettingsError(f"unknown setting {name!r} ({where}){hint}")


def _build(values: Mapping[str, str]) -> Settings:
    built: dict[str, str | int | Path] = {}
    for name, text in values.items():
        if name in _CHOICES and text not in _CHOICES[name]:
            raise SettingsError(f"{name} is one of {', '.join(_CHOICES[name])}, not {text!r}")
        if name in _INTEGERS:
            if not text.isdigit():
                raise SettingsError(f"{name} is a whole number, not {text!r}")
            built[name] = int(text)
        else:
            built[name] = Path(text).expanduser() if name in _PATHS else text
    settings = Settings(**built)  # type: ignore[arg-type]  # values were converted by name above
    if settings.batch_studies < 1:
        raise SettingsError("batch_studies is at least 1")
    return settings
