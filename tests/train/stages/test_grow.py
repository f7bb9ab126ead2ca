"""A branch grown on the shipped speaker student: one bundle of two tasks, which tells who speaks to the bit as before."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.errors import BundleError, InputError
from edge_lupi.evaluate.open import open_model
from edge_lupi.models.files import load_student
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.recipe import load_recipe
from edge_lupi.train.stages.student import train_student

SPEAKER = Path(__file__).resolve().parents[3] / "train" / "students" / "speaker_nano.pt"
Cli = Callable[..., CompletedProcess[str]]
GROWING = (
    f'student.start_from="{SPEAKER}"',
    'student.frozen=["encoder"]',
    "student.keep_tasks=true",
    "student.epochs=2",
    "segments.seconds=1.0",
    "segments.hop_seconds=0.5",
    "segments.crop_seconds=1.0",
)


def grow(chain: Any, folder: Path, *changes: str) -> Path:
    recipe = load_recipe(chain.recipe, [*GROWING, *changes])
    return train_student(recipe, prepare(recipe), folder)


@pytest.fixture(scope="module")
def grown(mood_chain: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grow(mood_chain, tmp_path_factory.mktemp("grown"))


def test_what_was_told_before_is_told_as_before(grown: Path, cli: Cli) -> None:
    before, after = load_student(SPEAKER), load_student(grown)
    assert [task.name for task in after.student.config.tasks] == ["speaker", "mood"]
    assert after.student.config.tasks[0] == before.student.config.tasks[0]
    for name, value in before.student.state_dict().items():
        assert torch.equal(value, after.student.state_dict()[name]), name
    assert before.ranges.keys() == after.ranges.keys()
    for student, name in ((grown, "both"), (SPEAKER, "alone")):
        out = grown.with_name(f"{name}.lupi")
        done = cli("compile", student, "--out", out, "--target", "cpu", "--precision", "int8")
        assert done.returncode == 0, done.stderr
    both, alone = (Bundle.load(grown.with_name(f"{name}.lupi")) for name in ("both", "alone"))
    for file in ("encoder.onnx", "aggregator.speaker.onnx", "front_end.onnx"):
        assert both.file(file) == alone.file(file)
    assert "aggregator.mood.onnx" in both.files


def test_each_branch_has_its_licence_and_its_origin(grown: Path, cli: Cli) -> None:
    out = grown.with_name("licensed.lupi")
    assert cli("compile", grown, "--out", out, "--target", "cpu").returncode == 0
    bundle = Bundle.load(out)
    own = load_student(grown).provenance.branches["mood"].licence
    assert bundle.manifest["licences"] == {"speaker": "CC BY 4.0", "mood": own}
    assert "CC BY 4.0" in own  # its encoder has heard that too
    assert bundle.manifest["licence"].split("; ")[0] == "CC BY 4.0"
    card = bundle.file("CARD.md").decode()
    assert "\n- speaker branch: CC BY 4.0\n- mood branch: " in card
    assert "180 utterances of librispeech" in card
    said = cli("inspect", out).stdout
    assert "licence    speaker: CC BY 4.0\n" in said
    assert "licence    mood: " in said
    for path in (grown, out):
        assert open_model(path, "speaker").origin.corpus == "librispeech"
        assert open_model(path, "mood").origin.corpus != "librispeech"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("student.frozen=[]", r'expected student.start_from and student.frozen = \["encoder"\]'),
        ('student.start_from=""', r"expected student.start_from"),
        (
            "segments.hop_seconds=0.25",
            r"expected segments of 1.0 s every 0.5 s, sequential, as .*speaker_nano.pt has them",
        ),
    ],
)
def test_what_cannot_be_grown(mood_chain: Any, tmp_path: Path, change: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        grow(mood_chain, tmp_path, change)
    assert not list(tmp_path.glob("*.pt"))


def test_a_task_grows_once(mood_chain: Any, grown: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not know yet, got mood"):
        grow(mood_chain, tmp_path, f'student.start_from="{grown}"')


def test_a_false_origin_is_refused(grown: Path, tmp_path: Path) -> None:
    content = torch.load(grown, weights_only=True)
    for branches in ([], {"mood": "somewhere"}, {"mood": {"licence": 7}}, {"mood": {"branches": {"mood": {}}}}):
        content["provenance"]["branches"] = branches
        torch.save(content, tmp_path / "false.pt")
        with pytest.raises(BundleError, match="is damaged or of another version"):
            load_student(tmp_path / "false.pt")
