"""The confidence of predicted structures, which their files hold in the column of the B factors.

The column says nothing about itself: in an experimental structure it holds B factors, in angstrom squared. It is taken
for a confidence only if the user asks for a lowest one.

References:
    Highly accurate protein structure prediction with AlphaFold (Jumper et al., Nature 2021): pLDDT, 0 to 100.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from partoken.errors import UserError, check_number
from partoken.protein.chains.backbone import ATOMS

__all__ = ["NoConfidence", "check_min_plddt", "experiment_of", "mean_confidence", "read_confidences"]

METHOD = re.compile(
    r"diffraction|crystallography|microscopy|\bnmr\b|scattering|spectroscopy|\bepr\b|fluorescence", re.IGNORECASE
)
"""Words of the experimental methods that files of the Protein Data Bank name."""
METHOD_ITEMS = {
    b"EXPDTA": re.compile(rb"\n(?!EXPDTA)"),
    b"_exptl.method": re.compile(rb"\n(?:#|loop_|data_|_(?!exptl\.))"),
}
"""Where PDB and mmCIF files name the method, and what follows it."""
RESOLUTION_ITEMS = (b"REMARK   2 RESOLUTION.", b"_refine.ls_d_res_high", b"_em_3d_reconstruction.resolution")


class NoConfidence(ValueError):
    """The B factors of a file are no confidence; the message says why."""


def check_min_plddt(key: str, value: object) -> None:
    """Checks the lowest confidence that a user asks for; None: the user asks for none.

    Raises:
        UserError: it is no number above 0 and at most 100, or looks like one on the scale of 0 to 1.

    >>> check_min_plddt("data.min_plddt", 0.7)
    Traceback (most recent call last):
    partoken.errors.UserError: data.min_plddt=0.7: goes from 0 to 100, whatever the scale of the files; write 70
    """
    if isinstance(value, float) and 0 < value <= 1:
        raise UserError(f"{key}={value}: goes from 0 to 100, whatever the scale of the files; write {100 * value:g}")
    check_number(key, value, above=0, maximum=100, optional=True)


def read_confidences(content: bytes, b_factors: Sequence[np.ndarray], notes: Counter[str]) -> list[np.ndarray] | None:
    """Returns the confidence of the residues of a file, and notes on which scale the file has it.

    Arguments:
        content: the text of the file; its header may name an experiment.
        b_factors: for each protein chain with L residues, float [L, 4]: the B column of N, CA, C and O; NaN for a
            missing atom.
        notes: gets the scale, or that the structure is an experimental one.

    Returns:
        For each chain the value of each residue's CA atom, from 0 to 100, float [L]; NaN for a residue without CA. None
        for an experimental structure, whose residues were all seen.

    Raises:
        NoConfidence: the numbers cannot be a confidence.
    """
    if experiment_of(content):
        notes["experimental structures, read without a confidence"] += 1
        return None
    column = np.concatenate(list(b_factors))
    is_known = np.isfinite(column)
    known = column[is_known]
    if not known.size:
        raise NoConfidence("no confidence for min_plddt: the file has no B factors")
    lowest, highest = float(known.min()), float(known.max())
    if lowest < 0 or highest > 100:
        raise NoConfidence(
            f"no confidence for min_plddt: the B factors go from {lowest:g} to {highest:g}, "
            "a confidence from 0 to 1 or from 0 to 100"
        )
    if lowest == highest:
        raise NoConfidence(f"no confidence for min_plddt: the B factors are all {highest:g}")
    scale = 1 if highest <= 1 else 100
    largest, smallest = (np.where(is_known, column, fill).T for fill in (-np.inf, np.inf))
    owner = "atom" if (largest.max(0) > smallest.min(0)).any() else "residue"
    notes[f"files with a confidence of 0 to {scale} for each {owner}"] += 1
    # A parser may have B factors as float32; rounding gives back the digits of the file, so that 0.70 is not below 70.
    return [np.round(of_chain[:, ATOMS.index("CA")] * (100 / scale), 3) for of_chain in b_factors]


def mean_confidence(confidence: np.ndarray) -> str:
    """Returns the mean over the residues that have a confidence, with two digits; "" if none has."""
    known = confidence[np.isfinite(confidence)]
    return f"{known.mean():.2f}" if known.size else ""


def experiment_of(content: bytes) -> str:
    """Returns the experiment that the text of a file names: its method, or else its resolution; "" if it names none.

    >>> experiment_of(b"HEADER\\nEXPDTA    X-RAY DIFFRACTION\\n"), experiment_of(b"EXPDTA    THEORETICAL MODEL\\n")
    ('X-RAY DIFFRACTION', '')
    """
    stated = [_after(content, start, end) for start, end in METHOD_ITEMS.items()]
    for text in stated:
        if METHOD.search(text):
            return " ".join(text.replace("'", "").split())
    if not any(re.search(r"[a-z]{3}", text, re.IGNORECASE) for text in stated):
        for start in RESOLUTION_ITEMS:
            number = re.match(r"\s*(\d+\.?\d*)", _after(content, start, re.compile(rb"\n")))
            if number and float(number[1]) > 0:
                return f"resolution {number[1]}"
    return ""


def _after(content: bytes, start: bytes, end: re.Pattern[bytes]) -> str:
    """Returns the text after the first line that begins with `start`, up to `end`; "" if there is none."""
    place = 0 if content.startswith(start) else content.find(b"\n" + start) + 1
    if not content.startswith(start, place):
        return ""
    rest = content[place + len(start) : place + len(start) + 2000]
    return end.split(rest, maxsplit=1)[0].decode("latin-1")
