"""One table of several models on one corpus: teacher, audio-only student, distilled student, int8 bundle.

python benchmarks/by_model.py --data CORPUS [--split fold0] [--snr-db -10] MODEL...
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge_lupi.evaluate.measure import report
from edge_lupi.evaluate.open import open_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split")
    parser.add_argument("--snr-db", type=float)
    arguments = parser.parse_args()
    found = {}
    for path in arguments.models:
        said = report(open_model(path), arguments.data, None, split=arguments.split, snr_db=arguments.snr_db)
        found[path.name] = said.plain()
        print(f"{path.name:<20}{said.text().splitlines()[0]}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
