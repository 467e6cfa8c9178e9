"""Options that all experiments on images share."""

import argparse
import os
from pathlib import Path


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the data's folder and the folder of results."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("TLEARN_DATA")
    made.add_argument(
        "--data", type=Path, default=data, required=data is None, help="folder of data and weights"
    )
    made.add_argument(
        "--out", type=Path, default=Path("experiments/results"), help="folder of the results"
    )
    return made
