"""Peak memory of `radpipe run` over 100 radiographs of 2048 x 2048, and whether it is flat from the 20th to the 100th.

    python benchmarks/memory.py [--studies 100] [--output FILE]

Counts the process and its children (Prefect's server): resident memory, sampled ten times a second. Target: < 800 MB and
flat. Writes benchmarks/memory.json when it measured 100 studies or more, else only the file that --output names.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.radiographs import FULL_SIZE, write_radiographs, write_result


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--studies", type=int, default=FULL_SIZE)
    parser.add_argument("--output", type=Path, help="where to write the result (default: beside this file, if full size)")
    options = parser.parse_args()
    if options.studies <= 20:
        parser.error("--studies must be more than 20: the memory until the 20th is compared with that after it")
    with tempfile.TemporaryDirectory(prefix="radpipe-bench-") as folder:
        write_radiographs(Path(folder), options.studies)
        command = [sys.executable, "-m", "radpipe", "run", str(Path(folder) / "studies"), "--json", "--backend", "onnx"]
        process = subprocess.Popen([*command, "--store", str(Path(folder) / "store")], stdout=subprocess.PIPE, text=True)
        samples: list[tuple[int, float, float]] = []  # readings so far, main MB, all MB
        count = 0
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.1):
                own = resident_mb(process.pid)
                samples.append((count, own, own + sum(resident_mb(child) for child in children(process.pid))))

        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.perf_counter()
        first_s = 0.0
        assert process.stdout is not None
        for _ in process.stdout:
            count += 1
            first_s = first_s or time.perf_counter() - started
        stop.set()
        watcher.join()
        status = process.wait()
    at_20 = max(own for seen, own, _ in samples if seen <= 20)
    result = {
        "studies": count,
        "exit_status": status,
        "first_result_s": round(first_s, 1),
        "peak_mb": round(max(own for _, own, _ in samples)),
        "peak_with_prefect_server_mb": round(max(everything for _, _, everything in samples)),
        "peak_until_20th_mb": round(at_20),
        "peak_from_20th_mb": round(max(own for seen, own, _ in samples if seen > 20)),
    }
    write_result(result, count, Path(__file__).with_suffix(".json"), options.output)


def resident_mb(pid: int) -> float:
    """VmRSS of a process, MB; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in text.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(line.split()[1]) / 1000


def children(pid: int) -> list[int]:
    """All descendants."""
    try:
        direct = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    for task in Path(f"/proc/{pid}/task").iterdir() if Path(f"/proc/{pid}/task").exists() else []:
        if task.name != str(pid):
            direct += [int(child) for child in (task / "children").read_text().split()]
    return direct + [grandchild for child in direct for grandchild in children(child)]


if __name__ == "__main__":
    main()
