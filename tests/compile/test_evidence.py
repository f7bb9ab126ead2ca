"""Labelled speech decides: an int8 that is made slower or worse is not chosen, and what training has heard says nothing."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.compile import student as compiling
from edge_lupi.compile.choice import Limits
from edge_lupi.compile.evidence import evidence_for_bundle
from edge_lupi.compile.request import Request
from edge_lupi.compile.student import compile_student, encoders
from edge_lupi.errors import InputError
from edge_lupi.models.files import TrainedStudent, load_student, save_student

Cli = Callable[..., CompletedProcess[str]]
STUDENTS = Path(__file__).resolve().parents[2] / "train" / "students"


def with_useless_nodes(model: ModelProto) -> ModelProto:
    """The same answers, a thousand hyperbolic tangents of the input later."""
    slow = ModelProto()
    slow.CopyFrom(model)
    names = ["log_mel", *(f"tangent {number}" for number in range(1000))]
    tangents = [helper.make_node("Tanh", [a], [b], name=b) for a, b in pairwise(names)]
    node = helper.make_node
    last = [
        node("ReduceMean", [names[-1]], ["mean"], name="mean", keepdims=0),
        node("Mul", ["mean", "nothing"], ["zero"], name="zero"),
        node("Add", ["fast embedding", "zero"], ["embedding"], name="slow"),
    ]
    for maker in slow.graph.node:
        maker.output[:] = ["fast embedding" if name == "embedding" else name for name in maker.output]
    slow.graph.node.extend([*tangents, *last])
    slow.graph.initializer.append(numpy_helper.from_array(np.float32(0), "nothing"))
    onnx.checker.check_model(slow)
    return slow


def with_broken_ranges(trained: TrainedStudent, factor: float) -> TrainedStudent:
    """Every activation clips far too low."""
    ranges = {name: r if name.endswith(".weight") else r * factor for name, r in trained.ranges.items()}
    return replace(trained, ranges=ranges)


def reason(bundle: Path) -> tuple[str, str]:
    precision = Bundle.load(bundle).manifest["precision"]
    assert f"Precision {precision['chosen']}: {precision['why']}." in Bundle.load(bundle).file("CARD.md").decode()
    return precision["chosen"], precision["why"]


def test_int8_made_slower_is_not_chosen(mood_chain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(trained: TrainedStudent) -> Mapping[str, ModelProto]:
        graphs = encoders(trained)
        return {**graphs, "int8": with_useless_nodes(graphs["int8"])}

    monkeypatch.setattr(compiling, "encoders", slow)
    choice = compile_student(mood_chain.folder / "student.int8.pt", tmp_path / "x.lupi").choice
    int8, fp32 = choice.precisions["int8"], choice.precisions["fp32"]
    assert int8.cosine_worst > 0.95, "it is as good as before"
    chosen, why = reason(tmp_path / "x.lupi")
    assert chosen == "fp32"
    said = f"int8 is not faster on this device ({int8.p50_ms:.2f} ms a segment against {fp32.p50_ms:.2f} ms, 0."
    assert why.startswith(said)
    assert Bundle.load(tmp_path / "x.lupi").manifest["precision"]["float_layers"]


def test_int8_made_worse_is_not_chosen(mood_chain: Any, tmp_path: Path) -> None:
    save_student(tmp_path / "x.pt", with_broken_ranges(load_student(mood_chain.folder / "student.int8.pt"), 0.05))
    choice = compile_student(tmp_path / "x.pt", tmp_path / "x.lupi").choice
    int8 = choice.precisions["int8"]
    chosen, why = reason(tmp_path / "x.lupi")
    assert chosen == "fp32"
    assert why == (
        f"int8 strays from the float student (cosine mean {int8.cosine_mean:.4f}, worst {int8.cosine_worst:.4f}; "
        "allowed 0.99, 0.95)"
    )


@pytest.fixture(scope="module")
def few_trials(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """LibriSpeech excerpts, and the trials of ten of their held-out voices."""
    data = data_root / "librispeech_excerpts"
    lines = [line.split() for line in (data / "trials_held_out.txt").read_text().splitlines()]
    enrolled, tested = (sorted({line[place] for line in lines})[:10] for place in (1, 2))
    kept = [" ".join(line) for line in lines if line[1] in enrolled and line[2] in tested]
    trials = tmp_path_factory.mktemp("trials") / "few.txt"
    trials.write_text("\n".join(kept) + "\n")
    return data, trials


def test_int8_made_worse_at_its_task_is_not_chosen(few_trials: tuple[Path, Path], tmp_path: Path) -> None:
    """With cosines out of the way the task's own metric says so."""
    data, trials = few_trials
    save_student(tmp_path / "x.pt", with_broken_ranges(load_student(STUDENTS / "speaker.pt"), 0.1))
    request = Request(data=data, trials=trials, limits=Limits(0.005, -1, -1))
    choice = compile_student(tmp_path / "x.pt", tmp_path / "x.lupi", request).choice
    metric, int8 = choice.findings.metric, choice.precisions["int8"]
    assert metric is not None
    assert int8.metric is not None
    assert (metric.name, metric.measured_on) == ("eer", "100 trials")
    assert choice.precisions["fp32"].metric == metric.float_student < 0.05
    assert int8.metric > 0.1
    chosen, why = reason(tmp_path / "x.lupi")
    assert chosen == "fp32"
    assert why.startswith(f"int8 loses {100 * (int8.metric - metric.float_student):.2f} points of EER (95 % ")
    assert why.endswith(
        f"against the float student (EER {100 * int8.metric:.2f} % against {100 * metric.float_student:.2f} %; allowed 0.5)"
    )


def test_on_the_command_line(cli: Cli, few_trials: tuple[Path, Path], tmp_path: Path) -> None:
    """The shipped student keeps its EER; asked for int8, so that the speed of a busy machine decides nothing."""
    data, trials = few_trials
    words = ("compile", STUDENTS / "speaker.pt", "--out", tmp_path / "x.lupi", "--precision", "int8", "--json")
    done = cli(*words, "--data", data, "--trials", trials)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["chosen"] == "int8"
    assert found["why"].startswith("int8 was asked for")
    assert found["metric"].keys() == {"name", "float_student", "measured_on"}
    assert found["segments"] >= 200
    for figures in found["precisions"].values():
        assert figures["metric"] - found["metric"]["float_student"] <= 0.005
        assert figures["cosine_mean"] >= 0.98
        assert figures["cosine_worst"] >= 0.95
    assert found["precisions"]["int8"]["int8"]["layers"] == found["precisions"]["int8"]["int8"]["of_layers"]
    assert json.loads(cli("inspect", tmp_path / "x.lupi", "--json").stdout)["precision"]["metric"] == found["metric"]


def test_classes_of_unheard_voices(mood_chain: Any) -> None:
    bundle = Bundle.load(mood_chain.folder / "float.lupi")
    heard = set(bundle.manifest["training"]["training_speakers"])
    evidence = evidence_for_bundle(bundle, mood_chain.corpus, None)
    assert {u.speaker for u in evidence.utterances} == {"voice4", "voice5"}
    assert not {u.speaker for u in evidence.utterances} & heard
    assert evidence.segments.shape == (40, 80, 1, 50)  # eight clips of 1.5 s, in segments of 0.5 s every 0.25 s


def test_trials_of_heard_voices_say_nothing(speaker_chain: Any, tmp_path: Path) -> None:
    bundle = Bundle.load(speaker_chain.folder / "student.lupi")
    heard = set(bundle.manifest["training"]["training_speakers"])
    listed = speaker_chain.folder / "trials.txt"
    evidence = evidence_for_bundle(bundle, speaker_chain.corpus, listed)
    voices = {path.name.split("_")[0] for trial in evidence.trials for path in (trial.enrol, trial.test)}
    assert {f"voice{voice}" for voice in voices} == {f"voice{voice}" for voice in range(8)} - heard
    assert len(evidence.trials) == len(voices) ** 2
    only_heard = tmp_path / "heard.txt"
    lines = [line for line in listed.read_text().splitlines() if f"voice{line[2]}" in heard]
    only_heard.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=f"trials of voices that training has not heard, got none of {len(lines)}"):
        evidence_for_bundle(bundle, speaker_chain.corpus, only_heard)


def test_sound_alone_serves_for_the_cosines(cli: Cli, speaker_chain: Any, tmp_path: Path) -> None:
    words = ("compile", speaker_chain.folder / "student.pt", "--out", tmp_path / "x.lupi")
    done = cli(*words, "--data", speaker_chain.corpus)
    assert done.returncode == 0
    assert done.stderr == "without trials EER is not measured, the speech serves for the cosines alone (--trials)\n"
    assert "EER" not in done.stdout
    assert "cosines to the float student on" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--trials", "trials.txt"), "the folder that their paths begin in, got none: name it (--data)"),
        (("--data", "nowhere"), "expected a corpus at nowhere, got no such file or folder"),
        (
            ("--data", ".", "--trials", "trials.txt"),
            "expected a student that compares voices, got one for mood: leave the trials out (--trials)",
        ),
        (("--max-drop", "2"), "expected max_drop from 0 to 1 (0.005 is half a point), got 2.0 (--max-drop)"),
    ],
)
def test_what_cannot_be_judged_by(cli: Cli, mood_chain: Any, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = cli("compile", mood_chain.folder / "student.pt", "--out", tmp_path / "x.lupi", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x.lupi").exists()
