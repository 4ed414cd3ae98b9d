"""How the tests start the commands: from the clone, or from an installed wheel if `tests` stands alone in a folder."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
IN_CLONE = (ROOT / "run_partoken.py").exists()
TRAIN = [sys.executable, "run_partoken.py"] if IN_CLONE else [sys.executable, "-m", "partoken.cli", "train"]
