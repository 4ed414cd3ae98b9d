"""The end of a run, read by a person."""

from partoken.report.run import format_summary

SUMMARY = {
    "test": {"accuracy": 0.8, "macro_f1": 0.7, "loss": None},
    "majority": {"class": "helix", "accuracy": 0.5, "macro_f1": 0.2},
    "codebook": {"used_codes": 7, "dead_codes": 3, "perplexity": 5.25},
    "schedule": {"verdict": "planned = applied at 9 steps"},
    "residues_per_second": 1234.6,
    "seconds": 61.7,
    "best_checkpoint": "run/best.ckpt",
    "best_epoch": 4,
    "epochs": 6,
    "run_folder": "run",
}


def test_every_score_stands_beside_doing_nothing():
    lines = format_summary(SUMMARY)
    assert "always 'helix'" in lines[0]
    accuracy, macro_f1, loss = lines[1:4]
    assert accuracy.split() == ["accuracy", "0.800", "0.500"]
    assert macro_f1.split() == ["macro", "f1", "0.700", "0.200"]
    assert loss.split() == ["loss", "-"], "a loss that is no number is not shown as one"


def test_what_is_known_is_told_and_the_folder_comes_last():
    text = "\n".join(format_summary(SUMMARY))
    for words in ("7 codes used", "3 never", "1,235 residues a second", "62 s", "epoch 5 of 6", "planned = applied"):
        assert words in text
    assert text.splitlines()[-1].split() == ["run", "folder", "run"]
    assert "partition" not in text
