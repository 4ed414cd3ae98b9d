"""Trains, validates and tests a model as conf/ and the command line say.

python run_partoken.py                                      the main job on the embedded protein chains
python run_partoken.py train.use_cosine_schedule=true       with warm-up and cosine decay
python run_partoken.py -m train.lr=1e-4,1e-3                a sweep, one folder a job
python run_partoken.py --cfg job                            the composed configuration, nothing is run
"""

import hydra
from omegaconf import DictConfig

from partoken.config import check_config, launch, log_failed_job


@hydra.main(version_base="1.3", config_path="conf", config_name="config_partoken")
def main(cfg: DictConfig) -> float:
    with log_failed_job():
        check_config(cfg)
        # torch, Lightning and matplotlib are imported only when a run is certain
        from partoken.report import present
        from partoken.training.engine import check_outcome, run

        outcome = run(cfg)
        if outcome.is_main_process:
            present(outcome.folder)
        check_outcome(outcome.summary)
    return outcome.objective


if __name__ == "__main__":
    launch(main)
