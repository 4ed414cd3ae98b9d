"""Facts of a small report, made by hand: three helices, of which two have a page."""

import math
from typing import Any

import gemmi

__all__ = ["EVIL", "made_facts", "made_structure"]

EVIL = "<script>alert(1)</script>"
LENGTH = 30
NUMBERS = [str(number) for number in range(-2, 18)] + ["17A", "17B"] + [str(number) for number in range(18, 26)]
"""With negative numbers and insertion codes; there is no 0 left out."""


def made_structure(format: str = "pdb") -> str:
    """Returns a backbone of `LENGTH` residues, a helix of 1.5 angstrom and 100 degrees per residue, and a water."""
    atoms = (("N", 1.55, -28.0, -0.89), ("CA", 2.28, 0.0, 0.0), ("C", 1.67, 26.0, 1.1), ("O", 2.05, 24.0, 2.3))
    chain = gemmi.Chain("A")
    for i, number in enumerate(NUMBERS):
        residue = gemmi.Residue()
        digits = number.rstrip("AB")
        residue.name, residue.seqid = (
            ("GLY", "ALA", "HIS")[i % 3],
            gemmi.SeqId(int(digits), number[len(digits) :] or " "),
        )
        for name, radius, turn, rise in atoms:
            angle = math.radians(100 * i + turn)
            atom = gemmi.Atom()
            atom.name, atom.element = name, gemmi.Element(name[0])
            atom.pos = gemmi.Position(radius * math.cos(angle), radius * math.sin(angle), 1.5 * i + rise)
            residue.add_atom(atom)
        chain.add_residue(residue)
    water = gemmi.Residue()
    water.name, water.seqid = "HOH", gemmi.SeqId(3, " ")
    atom = gemmi.Atom()
    atom.name, atom.element, atom.pos = "O", gemmi.Element("O"), gemmi.Position(9, 9, 9)
    water.add_atom(atom)
    chain.add_residue(water)
    model = gemmi.Model(1)
    model.add_chain(chain)
    structure = gemmi.Structure()
    structure.add_model(model)
    structure.setup_entities()
    if format == "pdb":
        return structure.make_pdb_string(gemmi.PdbWriteOptions(minimal=True, cryst1_record=False))
    return structure.make_mmcif_document().as_string()


def made_detail(name: str, format: str) -> dict[str, Any]:
    importance = [0.01] * LENGTH
    importance[7], importance[21] = 0.4, 0.32
    halves = [list(range(12)), list(range(15, LENGTH))]
    return {
        "chain": "A",
        "sequence": "GAH" * (LENGTH // 3),
        "numbers": NUMBERS,
        "names": ["GLY", "ALA", "HIS"] * (LENGTH // 3),
        "structure": made_structure(format),
        "format": format,
        "importance": importance,
        "substructure": [1] * 12 + [0] * 3 + [2] * 15,
        "probabilities": {"": {"lyase": 0.9, name: 0.1}},
        "substructures": [
            {
                "number": number,
                "token": number,
                "size": len(residues),
                "importance": sum(importance[place] for place in residues),
                "residues": residues,
                "first": NUMBERS[residues[0]],
                "last": NUMBERS[residues[-1]],
                "helix": 0.8,
                "strand": 0.0,
                "coil": 0.2,
                "without": {"": {"lyase": 0.3, name: 0.7}} if number == 1 else {},
                "num_sites": 1,
            }
            for number, residues in enumerate(halves, start=1)
        ],
        "sites": [7, 21],
    }


def made_facts(name: str = "b_A") -> dict[str, Any]:
    """Returns facts in which a chain, its file, a class and the titles contain `name`."""
    ids = ["a_A", name, "c_A"]
    answers = [("lyase", True), ("lyase", False), (name, None)]
    example = {"chain": "a_A", "substructure": 1, "closeness": 0.9}
    trace = {"positions": [0, 1, 2], "sequence": "GAH", "trace": [[0, 0, 0], [3.8, 0, 0], [3.8, 3.8, 0]]}
    living = {
        "dead": False,
        "helix": 0.5,
        "strand": 0.1,
        "coil": 0.4,
        "size_mean": 13.5,
        "classes": [
            {"label": "", "class": name, "count": 2, "expected": 1.0, "enrichment": 2.0, "p": 0.001, "q": 0.01}
        ],
        "typical": [example, {**example, "chain": name}],
        "weakest": [{**example, "chain": "c_A", **trace}],
        "conserved": [{"offset": -2, "residue": "H", "share": 0.6, "q": 0.001}],
        "recurrence": {"aligned": 3, "tried": 6, "rmsd_median": 1.2, "by_chance": 0.25},
    }
    return {
        "about": {
            "title": f"Report of {name}",
            "checkpoint": name,
            "learned": f"learned from {name}",
            "written": "2026-01-01",
            "version": "1",
            "method": "gradient",
            "method_text": name,
            "chosen": f"2 of 3 chains have a page ({name})",
        },
        "labels": [{"name": "", "classes": ["lyase", name], "multi_label": False}],
        "chains": [
            {
                "id": one,
                "file": f"{one}.pdb",
                "split": "test",
                "length": LENGTH,
                "answers": {
                    "": {"label": label, "confidence": 0.9, "truth": name if right is False else None, "right": right}
                },
                "tokens": [1, 2],
                "has_page": one != "c_A",
            }
            for one, (label, right) in zip(ids, answers, strict=True)
        ],
        "details": {"a_A": made_detail(name, "pdb"), name: made_detail(name, "cif")},
        "dictionary": [
            {"token": 1, "count": 3, "chains": 3, "share": 0.5, **living},
            {"token": 2, "count": 3, "chains": 3, "share": 0.5, **living, "classes": [], "weakest": []},
            {"token": 0, "count": 0, "chains": 0, "share": 0.0, "dead": True},
        ],
        "model": {
            "scores": [
                {
                    "label": "",
                    "num_chains": None,
                    "accuracy": 0.5,
                    "macro_f1": 0.4,
                    "baselines": {name: {"accuracy": 0.3, "macro_f1": None}},
                }
            ],
            "confusion": {"": {"classes": ["lyase", name], "counts": [[1, 0], [1, 0]]}},
            "calibration": {
                "": {
                    "error": 0.4,
                    "bins": [
                        {"low": 0.8, "high": 0.9, "confidence": None, "accuracy": None, "count": 0},
                        {"low": 0.9, "high": 1.0, "confidence": 0.9, "accuracy": 0.5, "count": 2},
                    ],
                }
            },
            "substructures": {"coverage_mean": 0.9, "sizes": [12, 15, 12, 15], "per_chain": [2, 2]},
            "right_and_wrong": [{"label": "", "right": {"chains": 1, "top_share": 0.5}, "wrong": {"chains": 0}}],
            "checks": [{"title": name, "text": name, "columns": ["line", name], "rows": [[name, 0.25]]}],
        },
    }
