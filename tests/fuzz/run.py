"""Fuzzing at length: every parser under atheris, in a process of its own; a table of executions and foreign exceptions.

python tests/fuzz/run.py [--runs 200000] [--native-runs 20000] [--only NAME]

Coverage of edge_lupi guides the mutations. A foreign exception ends that parser's run, and its input is kept in
`runs/fuzz/`. Exit code 1 where there was one.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEPT = HERE.parents[1] / "runs" / "fuzz"
LONGEST_BYTES = 65_536
LONGEST_SECONDS = 10  # of one execution
MOST_MEMORY_MB = 2_048


def fuzz(name: str, runs: int) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris

    sys.path.insert(0, str(HERE.parents[1]))
    with atheris.instrument_imports(include=["edge_lupi"]):
        from tests.fuzz.parsers import parsers
    parser = parsers()[name]
    corpus = tempfile.mkdtemp(prefix="edge-lupi-corpus-")
    for number, seed in enumerate(parser.seeds):
        (Path(corpus) / str(number)).write_bytes(seed)
    limits = [
        f"-runs={runs}",
        f"-max_len={LONGEST_BYTES}",
        f"-timeout={LONGEST_SECONDS}",
        f"-rss_limit_mb={MOST_MEMORY_MB}",
    ]
    atheris.Setup(
        [sys.argv[0], *limits, f"-artifact_prefix={KEPT}/", "-print_final_stats=1", "-verbosity=0", corpus],
        parser.survives,
    )
    atheris.Fuzz()


def row(name: str, runs: int) -> tuple[str, bool]:
    """One parser's line of the table, and whether nothing foreign came up."""
    began = time.perf_counter()
    asked = [sys.executable, __file__, "--fuzz", name, "--runs", str(runs)]
    done = subprocess.run(asked, capture_output=True, text=True, errors="replace")
    said = done.stdout + done.stderr
    executions = re.findall(r"stat::number_of_executed_units:\s+(\d+)", said)
    foreign = re.search(r"=== Uncaught Python exception: ===\n(.*)|(ERROR: libFuzzer: .*)", said)
    fault = "0" if not done.returncode else (foreign.group(0).splitlines()[-1] if foreign else said[-200:])
    return (
        f"| {name} | {executions[-1] if executions else '?'} | {fault} | {time.perf_counter() - began:.0f} |",
        not done.returncode,
    )


def main() -> None:
    """Run all, print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=200_000)
    options.add_argument("--native-runs", type=int, default=20_000)
    options.add_argument("--only", action="append")
    options.add_argument("--fuzz", help=argparse.SUPPRESS)
    asked = options.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    if asked.fuzz:
        fuzz(asked.fuzz, asked.runs)
    sys.path.insert(0, str(HERE.parents[1]))
    from tests.fuzz.parsers import parsers

    print("| parser | executions | foreign exceptions | seconds |\n|---|---|---|---|", flush=True)
    whole = True
    for name, parser in parsers().items():
        if not asked.only or name in asked.only:
            line, clean = row(name, asked.native_runs if parser.native else asked.runs)
            whole &= clean
            print(line, flush=True)
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
