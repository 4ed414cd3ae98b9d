"""Trains, validates and tests a model as conf/ and the command line say: `partoken train`, run from a clone.

python run_partoken.py                                      the main job on the embedded protein chains
python run_partoken.py train.use_cosine_schedule=true       with warm-up and cosine decay
python run_partoken.py -m train.lr=1e-4,1e-3                a sweep, one folder a job
python run_partoken.py --cfg job                            the composed configuration, nothing is run
"""

import sys

from partoken.cli import train

if __name__ == "__main__":
    sys.exit(train(sys.argv[1:]))
