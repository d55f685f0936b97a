"""Settings: later wins, and what is not known is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from radpipe.errors import SettingsError
from radpipe.settings import load_settings


def test_options_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    config = tmp_path / "radpipe.toml"
    config.write_text('store = "/from/file"\nuser = "file"\nbackend = "onnx"\n')
    settings = load_settings(
        config=config, environ={"RADPIPE_STORE": "/from/env", "RADPIPE_USER": "env"}, overrides={"user": "option"}
    )
    assert (settings.store, settings.user, settings.backend) == (Path("/from/env"), "option", "onnx")


def test_a_misspelt_environment_variable_is_refused_with_the_likely_one() -> None:
    with pytest.raises(SettingsError, match="did you mean 'backend'"):
        load_settings(environ={"RADPIPE_BAKEND": "onnx"})


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "radpipe.toml"
    config.write_text("colour = 1\n")
    with pytest.raises(SettingsError, match="unknown setting 'colour'"):
        load_settings(config=config, environ={})


@pytest.mark.parametrize(
    ("name", "value"), [("RADPIPE_BACKEND", "tensorrt"), ("RADPIPE_THREADS", "-1"), ("RADPIPE_THREADS", "x")]
)
def test_a_value_of_the_wrong_kind_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError):
        load_settings(environ={name: value})


def test_the_configuration_hash_follows_the_rules_and_not_the_user() -> None:
    one, other = load_settings(environ={}), load_settings(environ={"RADPIPE_USER": "lee", "RADPIPE_THREADS": "2"})
    assert one.configuration_sha256(b"rules") == other.configuration_sha256(b"rules")
    assert one.configuration_sha256(b"rules") != one.configuration_sha256(b"changed")
