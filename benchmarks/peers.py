"""The cost of knowing a voice, live, beside the peers: one paired run, one thread, the same sound, every peer in turn at every hop.

PYTHONPATH=SITE python benchmarks/peers.py --campplus runs/campplus.onnx [--rounds 30] [--out results/peers.md]

SITE, by `pip install --no-deps --target SITE`: speechbrain hyperpyyaml ruamel.yaml, resemblyzer librosa lazy_loader soxr
audioread pooch decorator msgpack webrtcvad-wheels numba llvmlite, openvino openvino-telemetry, sherpa-onnx sherpa-onnx-core.

Every half second the peers hear their whole window anew; ours computes what is new and carries a state. Wall time and the
process's own time, as a machine may be busy with others: go by the latter, medians over the rounds, ratios of the same
round. peer_models.py says what each peer is. How costs grow: with the length heard, streams at once, people enrolled, hop.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import peer_models
import peer_processes
from peer_models import Hop
from sounds import Samples, clips

from edge_lupi.bundle.bundle import shipped_bundle
from edge_lupi.device.processor import environment
from edge_lupi.device.state import state
from edge_lupi.frames import SAMPLE_RATE_HZ
from edge_lupi.runtime.listening.listener import Listener
from edge_lupi.runtime.sources.block import Block
from edge_lupi.vectors import unit

HOP_SECONDS = 0.5
AGAINST = ("ECAPA-1024, 5 s", "ECAPA-512, 5 s", "CAM++, 5 s")
REPEATS = 8  # hops a round of what hears half a second
Taken = dict[str, np.ndarray]  # ms a hop [rounds, 2]: wall, the process's own


def clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def timed(hops: dict[str, tuple[Hop, int]], sound: Samples, rounds: int) -> Taken:
    """Each peer in turn, on the sound that ends at the same moment."""
    taken = {name: np.zeros((rounds, 2)) for name in hops}
    step = round(HOP_SECONDS * SAMPLE_RATE_HZ)
    for turn in range(-2, rounds):
        for name, (hop, samples) in hops.items():
            repeats = REPEATS if samples < SAMPLE_RATE_HZ else 1
            ends = [len(sound) - step * ((turn + number) % 20 + 1) for number in range(repeats)]
            began = clocks()
            for end in ends:
                hop(sound[end - samples : end])
            if turn >= 0:
                taken[name][turn] = 1e3 * (clocks() - began) / repeats
    return taken


def listener_hop(gate: str) -> tuple[Hop, int]:
    """The whole of listening: the shipped student with gate, levels, tracker and events."""
    listening = Listener(shipped_bundle("speaker"), gallery=None, gate=gate).begin()

    def hop(samples: Samples) -> np.ndarray:
        for block in np.split(samples, 5):
            listening.push(Block(block))
        return samples

    return hop, round(HOP_SECONDS * SAMPLE_RATE_HZ)


def median(taken: np.ndarray) -> tuple[float, float]:
    wall, own = np.median(taken, 0).tolist()
    return wall, own


def costs(taken: Taken, sizes: dict[str, int]) -> list[str]:
    lines = [
        "| peer | ms a hop, own time | wall | ms a second of sound | "
        + " | ".join(f"{name} costs so many times as much" for name in AGAINST)
        + " | model MB |",
        "|---|---|---|---|" + "---|" * (len(AGAINST) + 1),
    ]
    for name, ms in taken.items():
        wall, own = median(ms)
        times = " | ".join(f"{np.median(taken[other][:, 1] / ms[:, 1]):.1f}" for other in AGAINST)
        lines.append(
            f"| {name} | {own:.2f} | {wall:.2f} | {own / HOP_SECONDS:.2f} | {times} | {sizes[name] / 1e6:.2f} |"
        )
    return lines


def own_ms(work: Callable[[], object], runs: int) -> float:
    """Median of the process's own time; what is run once needs no warming."""
    if runs > 1:
        work()
    spent = []
    for _ in range(runs):
        began = time.process_time()
        work()
        spent.append(1e3 * (time.process_time() - began))
    return float(np.median(spent))


def by_length(sound: Samples, networks: dict[str, Hop], runs: int) -> list[str]:
    """Ours after so much was heard, beside a network that hears all of it anew (up to a minute)."""
    listening = Listener(shipped_bundle("speaker"), gallery=None).begin()
    step, blocks, heard = SAMPLE_RATE_HZ // 2, itertools.cycle(np.split(sound[: 120 * SAMPLE_RATE_HZ], 240)), 0
    lines = [
        "| seconds heard | ours, whole listener | " + " | ".join(networks) + " |",
        "|---|---|" + "---|" * len(networks),
    ]
    for seconds in (5, 20, 60, 600, 1800):
        while heard < seconds * SAMPLE_RATE_HZ:
            listening.push(Block(next(blocks)))
            heard += step
        mine = own_ms(lambda: listening.push(Block(next(blocks))), 40)
        heard += 41 * step
        whole = sound[: seconds * SAMPLE_RATE_HZ]
        anew = [own_ms(partial(network, whole), runs) if seconds <= 60 else None for network in networks.values()]
        cells = ["–" if ms is None else f"{ms:.1f}" for ms in anew]
        lines.append(f"| {seconds} | {mine:.2f} | " + " | ".join(cells) + " |")
    return lines


def streams_hop(parts: list[Samples], streams: int) -> Callable[[], None]:
    """One hop of each."""
    listening, numbers = Listener(shipped_bundle("speaker"), gallery=None).begin(), itertools.count()

    def hop() -> None:
        now = next(numbers)
        for stream in range(streams):
            block = parts[(now + 7 * stream) % len(parts)]
            listening.push(Block(block, stream=str(stream), more=stream < streams - 1))

    return hop


def by_streams(sound: Samples) -> list[str]:
    """Streams whose hops end at the same moment, as one batch: ms a hop of each."""
    lines = ["| streams | ours, whole listener, ms a hop of each |", "|---|---|"]
    parts = np.split(sound[: 60 * SAMPLE_RATE_HZ], 120)
    for streams in (1, 4, 16, 64):
        hop = streams_hop(parts, streams)
        hop()
        lines.append(f"| {streams} | {own_ms(hop, max(5, 60 // streams)) / streams:.2f} |")
    return lines


def by_people() -> list[str]:
    """One voice against so many enrolled, as one product; of our width and of theirs."""
    draw = np.random.default_rng(0)
    lines = ["| people enrolled | ours, 128 numbers a voice, ms | ECAPA and CAM++, 192, ms |", "|---|---|---|"]
    for people in (1, 10, 100, 1000, 10_000):
        cells = []
        for width in (128, 192):
            known = np.apply_along_axis(unit, 1, draw.standard_normal((people, width)).astype(np.float32))
            cells.append(f"{own_ms(lambda known=known: np.einsum('nd,d->n', known, known[0]).argmax(), 50):.3f}")
        lines.append(f"| {people} | " + " | ".join(cells) + " |")
    return lines


def by_hop(sound: Samples, window: dict[str, tuple[Hop, int]]) -> list[str]:
    """ms a second of sound where an answer comes every so often."""
    lines = ["| hop, s | ours nano, int8 | " + " | ".join(window) + " |", "|---|---|" + "---|" * len(window)]
    fixed = {name: own_ms(partial(hop, sound[:n]), 3) for name, (hop, n) in window.items()}
    for seconds in (1.0, 0.5, 0.25, 0.1):
        peer = next(p for p in peer_models.ours(seconds, ["nano"]) if p.name == "ours nano, int8")
        mine = own_ms(partial(peer.make(), sound[: peer.samples]), 60) / seconds
        lines.append(f"| {seconds} | {mine:.2f} | " + " | ".join(f"{ms / seconds:.1f}" for ms in fixed.values()) + " |")
    return lines


def plot(taken: Taken, out: Path) -> None:
    """ms a hop of each, the cheapest first, on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    order = sorted(taken, key=lambda name: median(taken[name])[1])
    figure, axes = pyplot.subplots(figsize=(8, 0.26 * len(order) + 1), layout="constrained")
    axes.barh(
        order, [median(taken[n])[1] for n in order], color=["C0" if n.startswith("ours") else "C7" for n in order]
    )
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("ms of one thread for half a second of sound")
    axes.grid(axis="x", which="both", alpha=0.3)
    figure.savefig(out, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campplus", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument(
        "--without", nargs="*", default=[], help="words of names to leave out, as OpenVINO or Resemblyzer"
    )
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    sound = np.concatenate(clips(12))
    every = peer_models.peers(asked.campplus)
    chosen = [peer for peer in every if not any(word in peer.name for word in asked.without)]
    hops: dict[str, tuple[Hop, int]] = {peer.name: (peer.make(), peer.samples) for peer in chosen}
    sizes = {peer.name: peer.model_bytes() for peer in chosen}
    for gate in ("voice", "energy"):
        name = f"ours, shipped nano, whole listener, {gate} gate"
        hops[name], sizes[name] = listener_hop(gate), sizes["ours nano, int8"]
    taken = timed(hops, sound, asked.rounds)
    tables = {"Cost": costs(taken, sizes)}
    print("\n".join(tables["Cost"]), flush=True)
    whole = {name: hops[name] for name in AGAINST}
    tables["Length heard: ms a hop, where all of it is heard anew"] = by_length(
        sound, {name.split(",")[0]: hop for name, (hop, _) in whole.items()}, 1
    )
    tables["Streams"] = by_streams(sound)
    tables["People"] = by_people()
    tables["Hop: ms a second of sound"] = by_hop(sound, whole)
    with tempfile.TemporaryDirectory() as folder:
        nano = peer_models.student("nano")[0]["int8"].SerializeToString()
        started = peer_processes.processes(asked.campplus, peer_models.ecapa, nano, Path(folder))
    tables["Process: start to first embedding, memory at its most, size of the packages"] = [
        "| peer | seconds, own time | wall | memory MB | packages MB |",
        "|---|---|---|---|---|",
        *(
            f"| {n} | {p.cpu_seconds:.2f} | {p.wall_seconds:.2f} | {p.memory_mb:.0f} | {p.package_mb:.0f} |"
            for n, p in started.items()
        ),
    ]
    text = "\n\n".join(f"## {title}\n\n" + "\n".join(lines) for title, lines in tables.items())
    print(text)
    if asked.out:
        plot(taken, asked.out.with_suffix(".svg"))
        here, now = environment(), state()
        made = (
            f"python {' '.join(sys.argv)}; {here['cpu']}, load {now['load']}, onnxruntime {here['onnxruntime']}, "
            f"numpy {here['numpy']}, {date.today()}; {asked.rounds} rounds"
        )
        asked.out.write_text(
            f"# The cost of knowing a voice, beside the peers\n\n{made}\n\n![ms a hop]({asked.out.stem}.svg)\n\n{text}\n"
        )
    print(json.dumps({name: median(ms) for name, ms in taken.items()}))


if __name__ == "__main__":
    main()
