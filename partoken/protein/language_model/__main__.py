"""Computes residue features with ESM-2; `python -m partoken.protein.language_model --help` lists the options."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from partoken.errors import UserError, check_number, print_error
from partoken.protein.chains.features import write_features
from partoken.protein.language_model.sequences import Sequences
from partoken.protein.language_model.windows import batches
from partoken.system.skipped import write_skipped
from partoken.system.user_files import check_output

if TYPE_CHECKING:
    from partoken.protein.language_model.esm import Esm

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 for a user error."""
    options = _parser().parse_args(arguments)
    try:
        _check(options)
        print("\n".join(_run(options)))
    except (UserError, OSError) as error:
        return print_error(error)
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def _check(options: argparse.Namespace) -> None:
    """Checks what can be told before anything is read."""
    check_number("--window", options.window, minimum=16, whole=True)
    check_number("--batch-residues", options.batch_residues, minimum=1, whole=True)
    if not (options.paths or options.embedded or options.proteinshake):
        raise UserError("no chains are given: name files, folders or globs, or give --embedded or --proteinshake NAME")
    check_output("--out", options.out, ".npz", inputs=options.paths)


def _run(options: argparse.Namespace) -> Iterator[str]:
    """Computes and writes the features, and yields lines for the user."""
    from partoken.protein.language_model.esm import load_esm  # torch is imported only for a valid command

    model = load_esm(options.weights, options.device, window=options.window)
    sequences = Sequences()
    sequences.add_paths(options.paths)
    if options.embedded:
        sequences.add_embedded()
    if options.proteinshake:
        sequences.add_proteinshake(options.proteinshake, options.data_dir)
    if not sequences.codes:
        reasons = "\n".join(f"  {s.file or s.id}: {s.reason}" for s in sequences.skipped[:20])
        raise UserError(f"no protein chain could be read from what was given:\n{reasons}")
    # The longest chains come first, so that a lack of memory shows at once.
    chains = sorted(sequences.codes.items(), key=lambda chain: -len(chain[1]))
    lengths = [len(codes) for _, codes in chains]
    pieces = _embed(model, [codes for _, codes in chains], options.window, options.batch_residues)
    write_features(options.out, [name for name, _ in chains], lengths, model.width, pieces, options.dtype)
    size = options.out.stat().st_size / 1e6
    yield f"{len(chains):,} chains, {sum(lengths):,} residues, {model.width} {options.dtype} values each"
    yield f"written: {options.out} ({size:,.1f} MB), for data.residue_features={options.out}"
    if sequences.skipped:
        table = options.out.with_name(f"{options.out.stem}.skipped.csv")
        write_skipped(table, sequences.skipped)
        yield f"{len(sequences.skipped)} files or chains skipped, see {table}"


def _embed(model: "Esm", chains: Sequence[np.ndarray], window: int, batch_residues: int) -> Iterator[np.ndarray]:
    """Yields the features of chains, piece by piece in their order, float32 [any number, D]."""
    lengths = [len(codes) for codes in chains]
    with tqdm(total=sum(lengths), unit=" residues", unit_scale=True) as progress:
        for batch in batches(lengths, window, batch_residues):
            hidden = model.embed([chains[part.chain][part.start : part.stop] for part in batch])
            for part, values in zip(batch, hidden, strict=True):
                yield values[part.first - part.start : part.last - part.start]
                progress.update(part.last - part.first)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m partoken.protein.language_model",
        description="Computes the embeddings of ESM-2 for every residue, for data.residue_features=FILE.",
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="structure files, folders, globs, or an NPZ file of data=arrays"
    )
    parser.add_argument(
        "--weights", required=True, metavar="DIR", help="folder of an ESM-2 model; nothing is downloaded"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="the NPZ file; an existing one is replaced"
    )
    parser.add_argument("--embedded", action="store_true", help="add the chains that ship with the package")
    parser.add_argument("--proteinshake", metavar="NAME", help="add a ProteinShake data set, such as enzymecommission")
    parser.add_argument("--data-dir", default="data", metavar="DIR", help="its folder; default: %(default)s")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="default: %(default)s")
    parser.add_argument("--device", help="cpu or cuda; default: a GPU if there is one, else cpu")
    parser.add_argument(
        "--window", type=int, default=1022, metavar="N", help="residues that are read at once; default: %(default)s"
    )
    parser.add_argument(
        "--batch-residues", type=int, default=4096, metavar="N", help="residues of a batch; default: %(default)s"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
