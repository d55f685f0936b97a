"""The command line's answers to wrong use and to a machine that refuses: one line, the right exit status, no traceback."""

from __future__ import annotations

import argparse
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from radpipe.cli import DONE, FAILED, USAGE, build_parser, main, read_words
from radpipe.cli.admin import lexicon_checks
from radpipe.errors import UsageError
from radpipe.structure import lexicon_names, open_lexicon

pytestmark = pytest.mark.usefixtures("process_as_it_was")


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr, without its beginning."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("radpipe: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("radpipe: ").rstrip("\n")


def add_lee(store: Path) -> int:
    return main(["people", "add", "lee", "--name", "Lee^Ann", "--role", "radiologist", "--store", str(store)])


def process(*command: str | Path, stdout: int) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RADPIPE_")}
    return subprocess.run(
        [*map(str, command)], stderr=subprocess.PIPE, text=True, env=environment, timeout=60, check=False, stdout=stdout
    )


# -- what the machine refuses


def test_samples_into_a_file_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["samples", str(tmp_path / "file")]) == FAILED
    assert said(capsys) == f"{tmp_path / 'file'}: File exists"


@pytest.mark.parametrize("place", ["file", "file/store"])
def test_a_store_that_is_no_folder_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    (tmp_path / "file").write_text("not a store\n")
    assert add_lee(tmp_path / place) == FAILED
    assert re.search("is a file, not a folder|Not a directory", said(capsys))
    assert (tmp_path / "file").read_text() == "not a store\n"


def test_a_command_that_meets_an_error_of_the_machine_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a folder\nwith a line break"
    folder.mkdir()
    (folder / "here").write_text("")
    assert main(["samples", str(folder / "here" / "deep")]) == FAILED
    assert said(capsys) == f"{tmp_path}/a folder with a line break/here/deep: Not a directory"


def test_a_full_disk_under_stdout_is_told_in_one_line(tmp_path: Path) -> None:
    add_lee(tmp_path / "store")
    with Path("/dev/full").open("wb") as full:
        done = process(
            sys.executable, "-m", "radpipe", "people", "list", "--store", tmp_path / "store", stdout=full.fileno()
        )
    assert (done.returncode, done.stderr) == (FAILED, "radpipe: No space left on device\n")


def test_a_reader_that_went_away_is_no_error(tmp_path: Path) -> None:
    add_lee(tmp_path / "store")
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = process(sys.executable, "-m", "radpipe", "people", "list", "--store", tmp_path / "store", stdout=write_end)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (DONE, "")


def test_the_doctor_says_of_a_store_that_it_is_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADPIPE_WEIGHTS", str(tmp_path))  # no model here: quick
    (tmp_path / "file").write_text("")
    assert main(["doctor", "--store", str(tmp_path / "file")]) == FAILED
    assert "do: it is a file, not a folder" in capsys.readouterr().out


def doctors_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, **settings: str
) -> dict[str, dict[str, object]]:
    """What the doctor finds, by name; quick, for there is no model."""
    for name, value in {"weights": str(tmp_path), **settings}.items():
        monkeypatch.setenv(f"RADPIPE_{name.upper()}", value)
    main(["doctor", "--json", "--store", str(tmp_path / "store")])
    found = capsys.readouterr().out
    assert "sk-secret" not in found
    return {check["name"]: check for check in json.loads(found)["checks"]}


def test_the_doctor_names_each_lexicon_with_version_hash_and_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = doctors_lines(tmp_path, capsys, monkeypatch)
    for name in lexicon_names():
        lexicon = open_lexicon(name)
        line = found[f"lexicon {name}"]
        assert (line["ok"], line["found"]) == (True, f"{lexicon.identity}, {len(lexicon.findings)} findings")
        assert re.fullmatch(rf"{name} \S+ [0-9a-f]{{12}}, \d+ findings", str(line["found"]))


def test_the_doctor_says_why_a_lexicon_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "lexicon.toml").write_text("name = ")
    (line,) = lexicon_checks([str(tmp_path / "broken")])
    assert (line["name"], line["ok"]) == ("lexicon broken", False)
    assert "lexicon.toml: cannot be read as TOML" in line["found"]
    assert line["do"]


def test_the_doctor_says_where_text_would_go_and_never_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    off = doctors_lines(tmp_path, capsys, monkeypatch)["language model"]
    assert (off["ok"], off["found"]) == (None, "off, as by default: no text is sent anywhere")
    named = {"language_model": "some-model", "language_api_key": "sk-secret"}
    address = {"language_url": "https://llm.example:8443/v1"}
    there = doctors_lines(tmp_path, capsys, monkeypatch, **named, **address)["language model"]
    assert there["ok"]
    assert "some-model, https://llm.example:8443/v1" in str(there["found"])
    plain = doctors_lines(tmp_path, capsys, monkeypatch, **named, language_url="http://llm.example/v1")["language model"]
    assert not plain["ok"]
    assert "unencrypted" in str(plain["do"])
    wrong = doctors_lines(tmp_path, capsys, monkeypatch, **address, language_api_key="sk-secret with a space")
    assert not wrong["language model"]["ok"]


def test_a_name_that_the_terminal_cannot_show_is_no_traceback(tmp_path: Path) -> None:
    assert main(["people", "add", "lee", "--name", "Lée^Änn", "--role", "viewer", "--store", str(tmp_path)]) == DONE
    command = 'PYTHONIOENCODING=ascii exec "$0" -m radpipe people list --store "$1"'
    done = process("bash", "-c", command, sys.executable, tmp_path, stdout=subprocess.PIPE)
    assert done.returncode == FAILED
    assert done.stderr.startswith("radpipe: 'ascii' codec can't encode")
    assert done.stderr.count("\n") == 1


# -- settings and cards


def test_a_settings_file_that_is_not_utf8_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "radpipe.toml").write_bytes(b'user = "\xff"\n')
    assert main(["worklist", "--config", str(tmp_path / "radpipe.toml")]) == USAGE
    assert "is not UTF-8 text" in said(capsys)


def test_a_card_that_is_not_utf8_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "some-model").mkdir()
    (tmp_path / "some-model" / "card.toml").write_bytes(b'name = "\xff"\n')
    assert main(["weights", "list", "--weights", str(tmp_path)]) == FAILED
    assert "card.toml is not UTF-8 text" in said(capsys)


@pytest.mark.parametrize("command", ["list", "verify", "parity"])
def test_a_folder_without_models_is_told_and_what_one_looks_like(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main(["weights", command, "--weights", str(tmp_path / "nowhere")]) == FAILED
    assert "a folder of models holds one folder a model, each with card.toml" in said(capsys)


def test_a_model_given_for_the_folder_of_models_is_told_apart(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "verify", "--weights", str(root / "weights" / "chest-dinov2s")]) == FAILED
    assert f"name the folder above it, {root / 'weights'}" in said(capsys)


# -- words on stdin


def test_words_are_taken_as_they_are() -> None:
    assert read_words("Small effusion, 5 µm.") == "Small effusion, 5 µm."


@pytest.mark.parametrize(
    ("redirection", "says"),
    [("<&-", "stdin, which is closed"), (r"< <(printf 'effusion \377')", "not UTF-8"), ("< <(printf effusion)", "effusion")],
)
def test_words_from_stdin(redirection: str, says: str) -> None:
    code = (
        "from radpipe.cli import read_words\nfrom radpipe.errors import UsageError\n"
        "try: print(read_words('-'))\nexcept UsageError as error: print(error)\n"
    )
    done = process("bash", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, code, stdout=subprocess.PIPE)
    assert done.stderr == ""
    assert says in done.stdout


def test_words_on_the_command_line_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        read_words(os.fsdecode(b"effusion \xff"))


# -- files are their owner's


def test_all_files_of_a_store_are_for_their_owner_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add_lee(tmp_path / "deep" / "store") == DONE
    made = list(tmp_path.rglob("*"))
    assert any(path.suffix == ".db" for path in made)
    open_to_others = [path.name for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert open_to_others == []
    capsys.readouterr()


# -- help


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _parsers(inner)


def test_the_help_of_every_command_shows_an_example() -> None:
    without = [
        parser.prog
        for parser in _parsers(build_parser())
        if not re.search(r"^examples?:\n  radpipe ", parser.epilog or "", re.MULTILINE)
    ]
    assert without == []
