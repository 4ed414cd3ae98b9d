"""Planted motifs and codes: figures that can be counted by hand."""

from dataclasses import replace

import numpy as np
import torch

from partoken.protein.answers import Prediction
from partoken.protein.catalog import synthetic
from partoken.protein.explanation_checks.codes import score_codes
from partoken.protein.explanation_checks.explained import ExplainedChain
from partoken.protein.explanation_checks.motif import score_motif


def explained(chain, residues, importance, tokens=()):
    ranking = np.zeros(len(chain))
    ranking[residues[int(np.argmax(importance))]] = 1
    answer = Prediction("x", "", {}, list(tokens), importance, residues, residue_importance=ranking.tolist())
    return ExplainedChain(chain, "test", answer)


def test_the_most_important_substructure_is_compared_with_the_motif(tmp_path):
    chain = synthetic(num_chains=12, cache_dir=str(tmp_path)).collection.store.read([0])[0]
    first, last = map(int, chain.fields["motif"].split("-"))
    motif = list(range(first, last + 1))
    elsewhere = [residue for residue in range(len(chain)) if residue not in motif][:4]
    random = np.random.default_rng(0)

    right = score_motif(explained(chain, [elsewhere, motif], [0.1, 0.9]), random)
    perfect = {"hit rate": 1.0, "IoU": 1.0, "precision": 1.0, "recall": 1.0}
    assert right["most important substructure"] == perfect
    assert right["residues that rank highest, as many as the motif has"] == perfect
    assert right["random substructure of the same size"]["IoU"] < 0.5

    wrong = score_motif(explained(chain, [elsewhere, motif], [0.9, 0.1]), random)
    assert set(wrong["most important substructure"].values()) == {0.0}
    assert score_motif(explained(replace(chain, fields={}), [motif], [1.0]), random) == {}


def test_used_and_redundant_codes_are_counted(chains):
    codes = torch.tensor([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [0.0, 1.001]])
    seen = [explained(chains[0], [[0], [1], [2]], [1.0, 0.0, 0.0], tokens=[0, 1, 2])]
    found = score_codes(seen, codes)
    assert (found["used"], found["codes"], found["substructures"], found["redundant"]) == (3, 4, 3, 2)
    assert round(found["perplexity"], 3) == 3
    assert score_codes([explained(chains[0], [[0]], [1.0], tokens=[-1])], codes) is None
