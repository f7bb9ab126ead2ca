"""One table of voices from two corpora: LibriSpeech excerpts, and RAVDESS's actors 1 to 16, for a speaker recipe.

python train/speaker_table.py [--emotions neutral] > runs/voices.csv
edge-lupi train student train/speaker_mixed.toml --set data.root=$PWD/runs/voices.csv

RAVDESS's trials are of actors 17 to 24. What is trained on this table is for non-commercial use, as RAVDESS is.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

from edge_lupi.data.readers.corpora import read_corpus

LAST_ACTOR = 16


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emotions", default="all", help="with commas between, or all")
    asked = parser.parse_args()
    data = Path(os.environ["EDGE_LUPI_DATA"]).resolve()
    table = csv.writer(sys.stdout)
    table.writerow(["audio", "label", "split"])
    for reader in read_corpus(data / "librispeech_excerpts", task="speaker").utterances:
        table.writerow([reader.audio, reader.label, reader.split])
    for clip in read_corpus(data / "ravdess_av", task="emotion").utterances:
        if int(str(clip.speaker)[-2:]) <= LAST_ACTOR and (
            asked.emotions == "all" or clip.label in asked.emotions.split(",")
        ):
            table.writerow([clip.audio, clip.speaker, "train"])


if __name__ == "__main__":
    main()
