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


def test_a_variable_set_to_nothing_counts_as_not_set(tmp_path: Path) -> None:
    config = tmp_path / "radpipe.toml"
    config.write_text('user = "lee"\n')
    settings = load_settings(config=config, environ={"RADPIPE_STORE": "", "RADPIPE_USER": "", "RADPIPE_CONFIG": ""})
    assert (settings.store, settings.user) == (Path("radpipe-store"), "lee")


def test_an_empty_store_on_the_command_line_is_refused_not_taken_for_the_working_folder() -> None:
    with pytest.raises(SettingsError, match=r"store must be a path.*empty"):
        load_settings(environ={}, overrides={"store": ""})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('store = ["a"]', "store in .* must be a path, as text in quotes, not an array"),
        ("threads = true", "threads in .* must be a whole number from 0 to 1024, not true or false"),
        ('threads = "4"', "threads in .* must be a whole number from 0 to 1024, not text"),
        ("batch_studies = 2.0", "batch_studies in .* must be a whole number from 1 to 256, not a decimal number"),
        ("user = 5", "user in .* must be text in quotes, not a whole number"),
        ("backend = 1", "backend in .* must be one of auto, onnx, torch, not a whole number"),
        ("user = 2024-01-01", "user in .* must be text in quotes, not a date or time"),
        ("[store]", "store in .* must be a path, as text in quotes, not a table"),
        ("threads = -1", "threads must be a whole number from 0 to 1024, not -1"),
        ("threads = 0x" + "f" * 5000, "threads must be .*, not one of more than twelve digits"),
        ("threads = " + "9" * 5000, "not valid TOML"),
        ('store = "a\\u0000b"', "store must be .*zero byte"),
        ('store = "~nobody-of-this-name/x"', "a user who is not known here"),
    ],
)
def test_a_value_of_the_wrong_type_in_the_file_is_refused_by_name(tmp_path: Path, line: str, says: str) -> None:
    config = tmp_path / "radpipe.toml"
    config.write_text(line + "\n")
    with pytest.raises(SettingsError, match=says):
        load_settings(config=config, environ={})


def test_numbers_in_the_file_are_taken(tmp_path: Path) -> None:
    config = tmp_path / "radpipe.toml"
    config.write_text("threads = 4\nbatch_studies = 256\ndicom_port = 104\n")
    settings = load_settings(config=config, environ={})
    assert (settings.threads, settings.batch_studies, settings.dicom_port) == (4, 256, 104)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("THREADS", "1025"), ("BATCH_STUDIES", "0"), ("BATCH_STUDIES", "257"), ("DICOM_PORT", "0"), ("HTTP_PORT", "65536"),
        ("THREADS", "²"), ("THREADS", "٤"), ("THREADS", "+1"), ("THREADS", " 1"), ("THREADS", "1_0"),
        ("THREADS", "9" * 5000),
    ],
)  # fmt: skip
def test_a_number_out_of_range_or_not_in_plain_digits_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name.lower()} must be a whole number from"):
        load_settings(environ={f"RADPIPE_{name}": value})


def test_a_file_that_is_not_utf8_is_refused_in_words(tmp_path: Path) -> None:
    config = tmp_path / "radpipe.toml"
    config.write_bytes('site = "Köln"\n'.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"not UTF-8 text \(byte 9\)"):
        load_settings(config=config, environ={})
