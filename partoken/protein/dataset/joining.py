"""Joins residue features that users bring to the chains of a source."""

from dataclasses import replace

from partoken.errors import UserError
from partoken.protein.chains.collection import Collection
from partoken.protein.chains.features import ResidueFeatures
from partoken.system.skipped import Skipped

__all__ = ["join_features"]


def join_features(collection: Collection, features: ResidueFeatures, *, unlabelled: bool = False) -> Collection:
    """Returns the chains that have features, and lists the others as skipped.

    Arguments:
        collection: the chains of a source.
        features: features of residues, by id of the chain.
        unlabelled: True if chains without a label are used too. If False, it does not matter whether they have
            features, and they are kept.

    Raises:
        UserError: no chain has features, or a chain has features for another number of residues.
    """
    ids, lengths = collection.store.ids, collection.store.lengths
    used = [i for i, has_label in enumerate(collection.labelled) if has_label or unlabelled]
    rows = [collection.rows[i] for i in used]
    missing = {i for i, row in zip(used, rows, strict=True) if ids[row] not in features}
    if used and len(missing) == len(used):
        raise UserError(
            f"{features.path} has no features of any chain: the data have ids such as {ids[rows[0]]}, this file has "
            f"ids such as {features.ids[0]}; give the chains the same ids in both"
        )
    wrong = [row for row in rows if features.length(ids[row]) not in (None, lengths[row])]
    if wrong:
        chain_id = ids[wrong[0]]
        others = f", and {len(wrong) - 1} other chains differ too" if len(wrong) > 1 else ""
        raise UserError(
            f"{features.path} has {features.length(chain_id)} rows for the chain {chain_id}, which has "
            f"{lengths[wrong[0]]} residues{others}; give one row for each residue in the structure, as "
            "python -m partoken.protein.language_model does"
        )
    kept = [i for i in range(len(collection.rows)) if i not in missing]
    reason = f"no features in {features.path}"
    skipped = [Skipped(ids[collection.rows[i]], "", reason) for i in sorted(missing)]
    splits, clusters = collection.splits, collection.clusters
    return replace(
        collection,
        rows=[collection.rows[i] for i in kept],
        labels={name: [of_chains[i] for i in kept] for name, of_chains in collection.labels.items()},
        splits=None if splits is None else [splits[i] for i in kept],
        clusters=None if clusters is None else [clusters[i] for i in kept],
        skipped=[*collection.skipped, *skipped],
    )
