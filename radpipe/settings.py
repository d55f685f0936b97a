"""Settings: one frozen object, built once from defaults, a TOML file, RADPIPE_* variables and the command line.

Unknown keys are refused, in the file and in the environment, because a misspelt setting that is ignored is a fault
that nobody sees.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

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
    threads: int = 0  # of the inference backend, at most 1024; 0: all cores
    batch_studies: int = 4  # studies read in one micro-batch, 1 to 256
    calibration: Path = Path("")  # what `radpipe calibrate` wrote for this site and model; empty: the model as it came
    triage_rules: Path = Path("")  # TOML; empty: the rules that ship with radpipe
    dicom_port: int = 11112  # of the receiver
    ae_title: str = "RADPIPE"
    http_port: int = 8090
    user: str = ""  # who acts: accept, reject, edit, sign
    site: str = ""  # written as InstitutionName where the study has none
    language_url: str = ""  # OpenAI-compatible endpoint of a language model; empty: no text is sent anywhere
    language_model: str = ""  # its name there
    language_api_key: str = field(default="", repr=False)  # secret
    language_timeout_s: int = 60  # for one whole answer, 1 to 3600
    language_file: Path = Path("")  # GGUF file for llama.cpp; empty: none
    language_insecure: int = 0  # 1: text may go over plain http to another machine

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


_PATHS = frozenset({"store", "weights", "calibration", "triage_rules", "language_file"})
_RANGES = {
    "threads": (0, 1024), "batch_studies": (1, 256), "dicom_port": (1, 65535), "http_port": (1, 65535),
    "language_timeout_s": (1, 3600), "language_insecure": (0, 1),
}  # fmt: skip
_CHOICES = {"backend": ("auto", "onnx", "torch"), "device": ("auto", "cpu", "cuda")}
_NOT_EMPTY = frozenset({"store", "model", "ae_title"})
_NOT_SETTINGS = frozenset({"RADPIPE_CONFIG"})
_TOML_KINDS = {
    list: "an array",
    dict: "a table",
    bool: "true or false",
    int: "a whole number",
    float: "a decimal number",
    str: "text",
}


def load_settings(
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str | None] | None = None,
) -> Settings:
    """Build the settings. Later wins: defaults, TOML file (`config` or $RADPIPE_CONFIG), RADPIPE_*, `overrides`.

    A variable that is set to nothing counts as not set, as in most programs. Raises SettingsError for an unknown key, an
    unreadable file or a value of the wrong kind.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, str | int] = {}
    if config is None and environ.get("RADPIPE_CONFIG"):
        config = Path(environ["RADPIPE_CONFIG"])
    if config is not None:
        values |= _from_file(config)
    for name, value in environ.items():
        if value and name.startswith("RADPIPE_") and name not in _NOT_SETTINGS:
            values[_known(name.removeprefix("RADPIPE_").lower(), f"environment variable {name}")] = value
    for name, override in (overrides or {}).items():
        if override is not None:
            values[_known(name, "option")] = override
    return Settings(**{name: _value(name, value) for name, value in values.items()})


def _from_file(config: Path) -> dict[str, str | int]:
    try:
        table = tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {config}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"the settings file {config} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    except ValueError as error:  # TOMLDecodeError, and a number too long for Python to read
        raise SettingsError(f"{config} is not valid TOML: {error}") from error
    for name, value in table.items():
        _known(name, f"key in {config}")
        if type(value) is not (int if name in _RANGES else str):
            kind = _TOML_KINDS.get(type(value), "a date or time")
            raise SettingsError(f"{name} in {config} must be {_what(name)}, not {kind}")
    return table


def _known(name: str, where: str) -> str:
    names = [field.name for field in fields(Settings)]
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"
    raise SettingsError(f"unknown setting {name!r} ({where}){hint}")


def _what(name: str) -> str:
    """What a setting must be, in words."""
    if name in _RANGES:
        return "a whole number from {} to {}".format(*_RANGES[name])
    if name in _CHOICES:
        return f"one of {', '.join(_CHOICES[name])}"
    return "a path, as text in quotes" if name in _PATHS else "text in quotes"


def _value(name: str, value: str | int) -> Any:
    """As the field of Settings holds it. Raises SettingsError."""
    if name in _RANGES:
        return _number(name, value)
    text = str(value)
    if name in _CHOICES and text not in _CHOICES[name]:
        raise SettingsError(f"{name} must be {_what(name)}, not {text!r}")
    if (name in _NOT_EMPTY and not text) or "\0" in text:
        raise SettingsError(f"{name} must be {_what(name)}; {'it is empty' if not text else 'it has a zero byte'}")
    if name not in _PATHS:
        return text
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # ~nobody
        raise SettingsError(f"{name}: {text!r} begins with the home of a user who is not known here") from error


def _number(name: str, value: str | int) -> int:
    low, high = _RANGES[name]
    if isinstance(value, str):
        if not re.fullmatch("[0-9]{1,9}", value):  # str.isdigit would let other scripts' digits and superscripts pass
            raise SettingsError(f"{name} must be {_what(name)}, not {value!r}")
        value = int(value)
    if not low <= value <= high:
        raise SettingsError(f"{name} must be {_what(name)}, not {_short(value)}")
    return value


def _short(number: int) -> str:
    """Python refuses to write out a number of thousands of digits, which TOML can hold in hexadecimal."""
    return str(number) if abs(number) < 10**12 else "one of more than twelve digits"
