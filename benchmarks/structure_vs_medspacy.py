"""`radpipe structure` against medspaCy's ConText, on the same texts, in turns, on one core, in the same run.

    python -m venv /somewhere/medspacy
    /somewhere/medspacy/bin/pip install medspacy==1.3.1 PyRuSH==1.0.9
    python benchmarks/structure_vs_medspacy.py --medspacy-python /somewhere/medspacy/bin/python --texts torchxrayvision.whl

medspaCy (Eyre et al., AMIA Annu Symp Proc 2021:438) lives in an environment of its own: its pins are not ours. PyRuSH 1.0.9,
because 1.0.11 to 1.0.13 print every token of every text. It does the least that finds the same things: tokens, sentences,
targets, ConText; no sections, no model. Its targets are the chest lexicon's names of findings and of the anatomy whose state
tells of one ("heart size"), written out: as many mentions as radpipe finds. How many there are hardly changes its speed.
Without --texts, reports are composed here; without --medspacy-python, radpipe alone is measured and no result is kept.

Each round gives both readers the same reports, which neither has seen before; the order turns. Both are warm, both are held
to one core and one thread. Wall and processor seconds are taken in the process that reads.

ratio             medspaCy's seconds / radpipe's, geometric mean over rounds, 95 % interval (t, on logarithms). Target >= 20
reports_per_s     in process, text to structured report. Target >= 1,000
cli               `radpipe structure` on all reports as a user runs it: JSON in, JSON out, peak memory. Target < 200 MB
start_s           to the end of the first report, a process each; median. Target < 0.5
characters_s      seconds for one text of so many characters: linear if they grow as the text does. Target: 1 MB < 5 s

Writes benchmarks/structure_vs_medspacy.json when both were measured on 1,000 reports or more, else only --output's file.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import math
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LEXICON = ROOT / "radpipe" / "structure" / "lexicon"
FULL_SIZE = 1000
WARM_UP = 200
SPELLINGS = 50
"""A phrase of more spellings is not written out further: medspaCy's matcher grows with them."""

LAUNCHER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small process between: a child's peak begins with its parent's size."""

LENGTHS = (10_000, 100_000, 1_000_000, 10_000_000)
LONGEST_FOR_MEDSPACY = 100_000
T_975 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
"""Student's t for 1 to 9 degrees of freedom."""


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--medspacy-python", type=Path, metavar="PATH", help="the interpreter of medspaCy's environment")
    parser.add_argument("--texts", type=Path, metavar="PATH", help="as for `radpipe evaluate structure` (default: composed)")
    parser.add_argument("--reports", type=int, default=3000, help="at most; over all rounds")
    parser.add_argument("--rounds", type=int, default=6, choices=range(2, 11))
    parser.add_argument("--output", type=Path, help="where to write the result (default: beside this file, if full size)")
    parser.add_argument("--worker", choices=("radpipe", "medspacy"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(READERS[options.worker])
        return
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory(prefix="radpipe-bench-") as folder:
        result = measure(options, Path(folder))
    text = json.dumps(result, indent=1)
    print(text)
    complete = result["reports"] >= FULL_SIZE and "medspacy" in result["reports_per_s"]
    target = options.output or (Path(__file__).with_suffix(".json") if complete else None)
    if target is not None:
        target.write_text(text + "\n")


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures."""
    source, texts = _texts(options.texts, options.reports)
    (folder / "targets.json").write_text(json.dumps(targets()))
    readers = {"radpipe": Reader("radpipe", Path(sys.executable), folder)}
    if options.medspacy_python:
        readers["medspacy"] = Reader("medspacy", options.medspacy_python, folder)
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    processor: dict[str, list[float]] = {name: [] for name in readers}
    for reader in readers.values():
        reader.read(texts[:WARM_UP])
    rest = texts[WARM_UP:]
    size = len(rest) // options.rounds
    for number in range(options.rounds):
        part = rest[number * size : (number + 1) * size]
        for name in list(readers)[:: 1 if number % 2 else -1]:
            answer = readers[name].read(part)
            seconds[name].append(answer["wall_s"])
            processor[name].append(answer["processor_s"])
            print(f"round {number + 1}: {name} {size / answer['wall_s']:.0f} reports/s, {answer['mentions']} mentions")
    lengths: dict[str, dict[str, float]] = {name: {} for name in readers}
    for name, reader in readers.items():
        for length in LENGTHS:
            if name == "radpipe" or length <= LONGEST_FOR_MEDSPACY:
                lengths[name][str(length)] = round(reader.read([_long(rest, length)])["wall_s"], 3)
        if length := max((int(one) for one in lengths[name]), default=0):
            print(f"{name}: {length} characters in {lengths[name][str(length)]} s")
    result: dict[str, Any] = {
        "texts": source,
        "reports": size * options.rounds,
        "rounds": options.rounds,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one used",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: reader.version for name, reader in readers.items()},
        "target_phrases": len(targets()),
        "reports_per_s": {name: round(size * options.rounds / sum(spent), 1) for name, spent in seconds.items()},
        "reports_per_s_rounds": {name: [round(size / spent, 1) for spent in all_] for name, all_ in seconds.items()},
    }
    if "medspacy" in readers:
        result["ratio"] = ratio(seconds)
        result["ratio_of_processor_s"] = ratio(processor)
    result |= {
        "peak_mb": {name: reader.close() for name, reader in readers.items()},
        "start_s": {"radpipe": _start([sys.executable, "-m", "radpipe", "structure"])},
        "cli": _cli(texts, folder),
        "characters_s": lengths,
    }
    if "medspacy" in readers:
        result["start_s"]["medspacy"] = _start(readers["medspacy"].command)
    return result


def ratio(seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """medSpaCy's seconds over radpipe's, round by round."""
    logs = [math.log(slow / quick) for slow, quick in zip(seconds["medspacy"], seconds["radpipe"], strict=True)]
    middle = statistics.mean(logs)
    half = T_975[len(logs) - 2] * statistics.stdev(logs) / math.sqrt(len(logs))
    return {"mean": round(math.exp(middle), 1), "ci": [round(math.exp(middle - half), 1), round(math.exp(middle + half), 1)]}


class Reader:
    """A process that reads texts on one core and says how long it took."""

    def __init__(self, name: str, python: Path, folder: Path) -> None:
        self.command = [str(python), str(Path(__file__).resolve()), "--worker", name]
        self._folder = folder
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_one_thread(), cwd=ROOT
        )
        self.version: str = self._ask(str(folder / "targets.json"))["version"]

    def read(self, texts: Sequence[str]) -> dict[str, float]:
        """Seconds, and how many mentions were found."""
        path = self._folder / "texts.json"
        path.write_text(json.dumps(texts))
        return self._ask(str(path))

    def close(self) -> int:
        """Peak resident memory, MB."""
        peak: int = self._ask("")["peak_mb"]
        self._process.communicate()
        return peak

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.command[0]} ended: see above; nothing was measured")
        found: dict[str, Any] = json.loads(answer)
        return found


def work(load: Callable[[list[list[str]]], tuple[str, Callable[[list[str]], int]]]) -> None:
    """The reading process: a line with the file of targets, lines with files of texts, an empty line.

    A first line that is empty is one report to read at once: so the start is measured.
    """
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    first = sys.stdin.readline().strip()
    version, read = load(json.loads(Path(first).read_text()) if first else targets())
    if not first:
        read(compose(1))
        return
    gc.freeze()  # neither reader has to look through what it has loaded at every collection; the command does the same
    answers.write(json.dumps({"version": version}) + "\n")
    answers.flush()
    for line in sys.stdin:
        if line.strip():
            texts = json.loads(Path(line.strip()).read_text())
            wall, processor = time.perf_counter(), time.process_time()
            mentions = read(texts)
            answer = {
                "wall_s": time.perf_counter() - wall,
                "processor_s": time.process_time() - processor,
                "mentions": mentions,
            }
        else:
            peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())  # ru_maxrss is the parent's at birth
            answer = {"peak_mb": round(int(peak[1]) / 1000) if peak else -1}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def load_radpipe(found: list[list[str]]) -> tuple[str, Callable[[list[str]], int]]:
    """The engine, with the lexicon that ships."""
    sys.path.insert(0, str(ROOT))
    from radpipe import __version__
    from radpipe.structure import choose_lexicon, open_lexicon, structure_report

    def read(texts: list[str]) -> int:
        reports = (structure_report("1", text, open_lexicon(choose_lexicon(text))) for text in texts)
        return sum(len(observation.mentions) for report in reports for observation in report.observations)

    return f"radpipe {__version__}, {open_lexicon('chest').identity}", read


def load_medspacy(found: list[list[str]]) -> tuple[str, Callable[[list[str]], int]]:
    """Its default pipeline: PyRuSH's sentences, the target matcher, ConText with the rules that ship."""
    from importlib.metadata import version

    import medspacy
    from medspacy.ner import TargetRule

    nlp = medspacy.load()
    nlp.max_length = 2 * max(LENGTHS)
    nlp.get_pipe("medspacy_target_matcher").add([TargetRule(phrase, finding) for phrase, finding in found])

    def read(texts: list[str]) -> int:
        count = 0
        for document in nlp.pipe(texts):
            count += sum((entity._.is_negated, entity._.is_uncertain) is not None for entity in document.ents)
        return count

    return f"medspacy {version('medspacy')}, PyRuSH {version('PyRuSH')}, spacy {version('spacy')}", read


READERS = {"radpipe": load_radpipe, "medspacy": load_medspacy}


def targets() -> list[list[str]]:
    """[phrase, finding]: what the chest lexicon calls its findings, and the anatomy whose state tells of one."""
    words = tomllib.loads((LEXICON / "common" / "words.toml").read_text(encoding="utf-8"))["alternatives"]
    found: dict[str, str] = {}
    for path in sorted((LEXICON / "chest").glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        listed = [table.get(key, []) for key in ("terms", "hedged")] + [term["phrases"] for term in table.get("term", [])]
        listed += [subject["names"] for subject in table.get("subject", [])]
        for phrase in itertools.chain.from_iterable(listed if "finding" in table else []):
            for spelling in itertools.islice(_spellings(phrase, words), SPELLINGS):
                found.setdefault(spelling, table["finding"])
    return [[phrase, finding] for phrase, finding in found.items()]


def _spellings(phrase: str, words: Mapping[str, str]) -> Iterator[str]:
    """A phrase of the lexicon without its signs; none where it has a gap."""
    while "{" in phrase:
        phrase = re.sub(r"\{([a-z_]+)\}", lambda name: f"({words.get(name[1], '')})", phrase)
    if "..." in phrase or "_" in phrase:
        return
    innermost = re.search(r"\(([^()]*)\)(\??)|([^\s()|?]+)\?", phrase)
    if innermost is None:
        yield " ".join(phrase.split())
        return
    choices = [innermost[3]] if innermost[3] else innermost[1].split("|")
    for choice in [*choices, *([""] if innermost[2] or innermost[3] else [])]:
        yield from _spellings(f"{phrase[: innermost.start()]} {choice} {phrase[innermost.end() :]}", words)


def compose(count: int) -> list[str]:
    """Reports made up here, a seed that stays: as long as real ones, as many denials."""
    draws = random.Random(2026)
    reports = []
    for _ in range(count):
        findings = " ".join(draws.sample(SENTENCES, draws.randint(4, 8)))
        impression = " ".join(
            f"{number}. {words}" for number, words in enumerate(draws.sample(SENTENCES, draws.randint(1, 3)), 1)
        )
        reports.append(f"FINDINGS:\n{findings}\nIMPRESSION:\n{impression}")
    return reports


SENTENCES = [
    "The heart is normal in size.",
    "The cardiac silhouette is mildly enlarged, unchanged from the previous examination.",
    "The mediastinal contours are within normal limits.",
    "There is tortuosity of the thoracic aorta with calcified plaque in the arch.",
    "The lungs are clear bilaterally without focal airspace opacity.",
    "Patchy opacity is seen in the right lower lobe, which may represent early pneumonia or atelectasis.",
    "There is linear scarring in the left upper lobe.",
    "No pneumothorax, pleural effusion or consolidation is seen.",
    "A small left pleural effusion has decreased since the prior study.",
    "There is a 6 mm calcified granuloma in the right mid lung zone.",
    "A vague nodular density of 9 x 7 mm projects over the left apex; CT of the chest is recommended.",
    "Lung volumes are low with bronchovascular crowding.",
    "The pulmonary vascularity is prominent, suggesting mild interstitial edema.",
    "Multilevel degenerative changes of the thoracic spine are present.",
    "There is no acute bony abnormality.",
    "Old healed fractures of the right fifth and sixth ribs are noted.",
    "A right internal jugular catheter ends in the superior vena cava.",
    "Sternotomy wires and mediastinal clips are again seen.",
    "The left hemidiaphragm is elevated.",
    "There is no free air under the diaphragm.",
    "The hyperexpanded lungs and flattened diaphragms are consistent with emphysema.",
    "A moderate hiatal hernia is present.",
    "No acute cardiopulmonary disease.",
    "The costophrenic angles are sharp.",
]


def _texts(source: Path | None, count: int) -> tuple[str, list[str]]:
    if source is None:
        return "composed here", compose(count + WARM_UP)
    from radpipe.evaluate.openi import read_texts

    found = read_texts(source)
    return found.source, list(found.texts.values())[: count + WARM_UP]


def _long(texts: Sequence[str], length: int) -> str:
    joined = "\n".join(itertools.islice(itertools.cycle(texts), length // min(map(len, texts)) + 1))
    return joined[:length]


def _start(command: Sequence[str]) -> float:
    """Median seconds of five processes, from their start to the end of one report."""
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        text = "\n" if "--worker" in command else compose(1)[0]
        subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=_one_thread())
        seconds.append(time.perf_counter() - begun)
    return round(statistics.median(seconds), 3)


def _cli(texts: Sequence[str], folder: Path) -> dict[str, Any]:
    """The command on all reports, and on one of ten million characters."""
    reports, long_one = folder / "reports.jsonl", folder / "long.jsonl"
    reports.write_text("".join(json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(texts)))
    long_one.write_text(json.dumps({"id": "long", "text": _long(texts, LENGTHS[-1])}) + "\n")
    found: dict[str, Any] = {}
    for name, path in (("reports", reports), ("ten_million_characters", long_one)):
        begun = time.perf_counter()
        command = [sys.executable, "-c", LAUNCHER, sys.executable, "-m", "radpipe", "structure", str(path)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=_one_thread())
        found[name] = {"s": round(time.perf_counter() - begun, 2), "peak_mb": round(int(done.stdout) / 1000)}
    found["reports_per_s"] = round(len(texts) / found["reports"]["s"], 1)
    return found


def _one_thread() -> dict[str, str]:
    return {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")}


if __name__ == "__main__":
    main()
