"""`make demo`: the whole way once, on the sample studies and on one real radiograph, told step by step."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from radpipe.cli import DONE, SET_ASIDE, main
from radpipe.cli.assemble import open_the_store
from radpipe.samples.dicom_write import sample_uid
from radpipe.settings import Settings

EARLIER_REPORT = """\
EXAM: Chest PA, 3 September 2025
INDICATION: Cough for two weeks.
FINDINGS: The lungs are clear, without consolidation, nodule or mass. No pleural effusion or pneumothorax.
Heart size is normal.
IMPRESSION: No acute disease.
"""
"""Of the sample study ada-2025, a normal chest; the next study of that phantom is compared with it."""


def demo(arguments: Sequence[str] | None = None) -> int:
    """An earlier report, run, worklist, one draft as text and as a page; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m radpipe.demo")
    parser.add_argument("--store", type=Path, default=Path("demo/store"))
    parser.add_argument("--samples", type=Path, default=Path("sample_dicoms"))
    options = parser.parse_args(arguments)
    store = ["--store", str(options.store)]
    paths = [str(options.samples), *_real_radiograph()]

    open_the_store(Settings(store=options.store), make=True).close()
    earlier = options.store.parent / "earlier-report.txt"
    earlier.write_text(EARLIER_REPORT, encoding="utf-8")
    of_study = str(sample_uid("study", "ada-2025"))
    _say(f"1. The report of an earlier study, in free text: radpipe report import {earlier} --study {of_study}")
    sys.stdout.write(f"{EARLIER_REPORT}\n")
    if main(["report", "import", str(earlier), "--study", of_study, *store]) != DONE:
        return 1

    _say(f"2. Reading {' and '.join(paths)} through the Prefect flow")
    if main(["run", *paths, *store]) not in (DONE, SET_ASIDE):
        return 1

    _say("3. The worklist, most urgent first: radpipe worklist")
    listing = StringIO()
    with redirect_stdout(listing):
        main(["worklist", "--json", *store])
    records = json.loads(listing.getvalue())
    for place, record in enumerate(records, 1):
        exam = " ".join((*record["modality"], record["body_part"])).strip() or "unknown"
        prior = f", compared with {record['prior']['study_date']}" if record["prior"] else ""
        sys.stdout.write(f"{place:3}. {record['priority']['level']:<9} {record['study_date'] or '-':<11} {exam}{prior}\n")
        sys.stdout.write(f"     {record['priority']['reasons'][0]}\n")

    drafted = [record for record in records if record["report_key"]]
    if not drafted:
        sys.stderr.write("nothing was drafted: see the reasons above\n")
        return 1
    shown = max(drafted, key=_shows_most)
    key = shown["report_key"]
    _say(f"4. One draft: radpipe report show {key}")
    sys.stdout.write(
        "(The model that ships is weak: it misses most of what is painted into these phantoms, and says how unsure it is.\n"
        f"What is really there stands in {options.samples / 'expected.json'}.)\n"
        "(COMPARISON quotes the report of step 1 where it matters: on what is seen, or in doubt, now.)\n\n"
    )
    sys.stdout.flush()
    main(["report", "show", key, *store])
    sys.stdout.flush()

    page = options.store.parent / "draft.html"
    main(["report", "show", key, "--as", "html", "-o", str(page), *store])
    radpipe = Path(sys.executable).parent / "radpipe"
    steps = {
        "enter yourself": "people add lee --name Lee^Ann --role radiologist",
        "correct a finding": f"edit {key} FINDING 'Your words.' --user lee",
        "sign": f"sign {key} --user lee",
        "any draft as a page": "report show KEY --as html -o page.html",
        "a free-text report, coded": f"structure {earlier} --as text",
        "prove that the trail is whole": "audit verify",
    }
    _say("5. Yours now")
    sys.stdout.write(f"the page with the image, the boxes and the prior:\n  {page.resolve().as_uri()}\n")
    for words, command in steps.items():
        sys.stdout.write(f"{words}:\n  {_near(radpipe)} {command} --store {options.store}\n")
    sys.stdout.write(f"signed reports leave as DICOM SR and FHIR in {options.store / 'outbox'}\n")
    return 0


def _shows_most(record: dict[str, Any]) -> tuple[int, int, int, int]:
    """A draft with a stated change first, then with an earlier report, with a prior, with most to say."""
    changed = sum(change["change"] in ("new", "increased", "decreased", "resolved") for change in record["changes"])
    stated = sum(finding["decision"] != "absent" for finding in record["findings"])
    return changed, int(record["prior_report"] is not None), int(record["prior"] is not None), stated


def _real_radiograph() -> list[str]:
    """RG1 of the package pydicom-data: a real chest radiograph with several lung masses. Left out where it is absent."""
    from pydicom.data import get_testdata_file

    found = get_testdata_file("RG1_UNCI.dcm", download=False)
    if not isinstance(found, str):
        sys.stderr.write("the package pydicom-data is absent: the real radiograph is left out\n")
        return []
    return [found]


def _near(path: Path) -> str:
    """Relative to here where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _say(words: str) -> None:
    sys.stdout.write(f"\n{words}\n{'-' * len(words)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(demo())
