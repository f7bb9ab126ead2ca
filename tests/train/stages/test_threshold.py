"""The cosine above which two voices are one, also from recordings shorter than the pieces that it is found on."""

import csv
from pathlib import Path

import soundfile

from edge_lupi.models.files import load_student
from edge_lupi.train.examples.corpus import prepare
from edge_lupi.train.recipe import load_recipe
from edge_lupi.train.stages.threshold import with_threshold

STUDENT = Path(__file__).resolve().parents[3] / "train" / "students" / "speaker.pt"


def test_short_recordings_of_a_voice_are_joined(data_root: Path, tmp_path: Path) -> None:
    """EmoDB's, of two seconds each: two of them make a piece of three."""
    heard: dict[str, int] = {}
    with (data_root / "emodb" / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            heard[row["speaker"]] = heard.get(row["speaker"], 0) + 1
            if heard[row["speaker"]] <= 6:
                place = tmp_path / "people" / row["speaker"]
                place.mkdir(parents=True, exist_ok=True)
                samples, rate = soundfile.read(data_root / "emodb" / row["audio"])
                assert len(samples) == 2 * rate
                soundfile.write(place / f"{heard[row['speaker']]}.wav", samples, rate)
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        f'name = "r"\n[data]\nroot = "{tmp_path}/people"\ntask = "speaker"\ntest = 0.2\nvalidation_speakers = 0.5\n'
    )
    prepared = prepare(load_recipe(recipe))
    trained = with_threshold(load_student(STUDENT), load_recipe(recipe), prepared)
    assert trained.provenance["threshold"]["pieces"] == 3 * 4  # four speakers validate, six recordings each
    threshold = trained.student.config.tasks[0].threshold
    assert threshold is not None
    assert 0.2 < threshold < 0.9
