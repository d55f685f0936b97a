"""The README's example of `radpipe structure` is what really comes out."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

from radpipe.sinks import structured_json, structured_text
from radpipe.structure import choose_lexicon, open_lexicon, structure_report

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SECTION = README.split("## Structure a free-text report")[1].split("\n## ")[0]


def outputs() -> list[str]:
    """The indented blocks that are marked as outputs, in order."""
    blocks = re.findall(r"<!-- output:[^\n]*-->\n((?:(?:    [^\n]*)?\n)+)", SECTION)
    return [textwrap.dedent(block).strip() for block in blocks]


def test_the_example_of_the_readme_is_what_comes_out() -> None:
    lines = re.findall(r"'((?:FINDINGS|IMPRESSION): [^']*)'", SECTION)[:2]
    text = "".join(f"{line}\n" for line in lines)
    report = structure_report("report.txt", text, open_lexicon(choose_lexicon(text)))
    as_text, as_json = outputs()
    assert structured_text.render(report).decode().startswith(f"{as_text}\n")
    found = structured_json.to_record(report)["observations"]
    shown = [json.loads(line) for line in as_json.splitlines()]
    assert [{name: item[name] for name in shown[0]} for item in found] == shown
