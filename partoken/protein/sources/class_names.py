"""Readable names of the classes of two public classifications."""

__all__ = ["CATH_CLASSES", "ENZYME_CLASSES"]

CATH_CLASSES = {
    "1": "mainly alpha",
    "2": "mainly beta",
    "3": "alpha beta",
    "4": "few secondary structures",
    "6": "special",
}
"""Class, the first level of CATH 4.3 (Sillitoe et al. 2021, Nucleic Acids Res. 49, D266; https://www.cathdb.info)."""

ENZYME_CLASSES = {
    "1": "oxidoreductase",
    "2": "transferase",
    "3": "hydrolase",
    "4": "lyase",
    "5": "isomerase",
    "6": "ligase",
    "7": "translocase",
}
"""First level of the EC number (IUBMB Nomenclature Committee; https://iubmb.qmul.ac.uk/enzyme)."""
