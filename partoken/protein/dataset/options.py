"""The options of `data` that every source has: classes, splits, limits, batches."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from partoken.errors import UserError, check_choice, check_number
from partoken.protein.chains.family import read_family
from partoken.protein.chains.label_spec import LabelSpec, read_label_columns
from partoken.system.annotations import check_annotations

__all__ = ["SPLIT_KINDS", "DataOptions"]

SPLIT_KINDS = ("given", "cluster", "random")


@dataclass(frozen=True)
class DataOptions:
    """How labelled chains become classes, splits and batches.

    Raises:
        UserError: a value is out of range or has the wrong type.
    """

    split: str | None = None
    """"given": the source's own splits; "cluster": chains of one cluster stay in one split; "random". None: the
    source's own splits if it has any, otherwise by cluster."""
    fractions: Sequence[float] = (0.7, 0.15, 0.15)
    """Fractions of the chains for train, val and test, which sum to 1; unused with the source's own splits."""
    multi_label: bool = False
    """True: a chain may have several classes. False: it has exactly one."""
    unlabelled: bool = False
    """True: all chains are used, and labels do not matter, for pretraining."""
    classes: Sequence[str | int] | None = None
    """Labels or names of the classes to learn. None: all."""
    class_names: Mapping[Any, str] | None = None
    """Readable names by label. They override the names that the source knows. None: the source's names only. A label
    without a name is its own name."""
    label_columns: Any = None
    """Columns of several labels to learn at once, each with its own answer: a list of columns or of mappings with the
    fields of `LabelSpec`, or a mapping by name. None: a single label."""
    family: Any = None
    """Column with the family of each chain; or a mapping with `column`, and `depth` and `first` as of a label. The test
    scores chains of families that training never saw apart from the others. None: there are no families."""
    min_class_size: int = 1
    """Classes with fewer chains, over all splits, are left out. The default keeps all."""
    limit: int | None = None
    """Approximate number of chains to use, spread over all splits and classes. None: all."""
    residue_features: str | os.PathLike[str] | None = None
    """NPZ file or folder with more features of each residue, such as the embeddings of a language model, joined to the
    chains by id. None: none."""
    max_residues_per_batch: int | None = None
    """Largest number of residues in a batch; batches are then filled by residues. None: batches have a fixed number of
    chains, `train.batch_size`."""
    epochs_per_pass: int = 1
    """Training epochs that share one pass over the chains. With the default every epoch sees every chain."""
    cluster_identity: float = 0.3
    """Sequence identity, 0 to 1, from which two chains belong to one cluster; unused if the source has clusters."""
    cluster_balance: float = 0.0
    """How far the loss balances the clusters of the training chains, 0 to 1: a chain has the weight 1 / size of its
    cluster to this power, and the mean weight is 1. 0: every chain counts the same. 1: every cluster does."""
    max_skipped: float = 0.1
    """Largest fraction of inputs, 0 to 1, that may be unusable; above it the run stops."""
    baselines: bool = True
    """True: the summary compares the network with regressions on a few hundred numbers of each chain."""
    cache_dir: str | os.PathLike[str] | None = None
    """Folder for chains and clusters that take long to read or compute. None: the user's cache folder."""

    def __post_init__(self) -> None:
        check_choice("data.split", self.split, SPLIT_KINDS, optional=True)
        _check_fractions(self.fractions)
        self.label_specs()
        read_family(self.family)
        check_number("data.limit", self.limit, minimum=1, whole=True, optional=True)
        check_number(
            "data.max_residues_per_batch",
            self.max_residues_per_batch,
            minimum=1,
            whole=True,
            optional=True,
        )
        check_number("data.epochs_per_pass", self.epochs_per_pass, minimum=1, whole=True)
        check_number("data.cluster_identity", self.cluster_identity, minimum=0, maximum=1)
        check_number("data.cluster_balance", self.cluster_balance, minimum=0, maximum=1)
        check_number("data.max_skipped", self.max_skipped, minimum=0, maximum=1)
        check_annotations(DataOptions, vars(self), "data")

    def label_specs(
        self, column: str = "label", depth: int | None = None, first: bool = False
    ) -> tuple[LabelSpec, ...]:
        """Returns the labels to learn: those of `label_columns`, or a single one with the name "".

        Arguments:
            column: `data.label_column`, the column of a single label.
            depth: `data.label_depth`, the levels to keep of a single label.
            first: of several labels in the cell of a single label the first one counts.

        Raises:
            UserError: a value cannot be used, or there are options of a single label beside `label_columns`.
        """
        if self.label_columns is None:
            single = LabelSpec("", column, depth, 1.0, first, self.multi_label, self.min_class_size)
            return (replace(single, classes=self.classes, class_names=self.class_names),)
        for name, value in {"label_depth": depth, "classes": self.classes, "class_names": self.class_names}.items():
            if value is not None:
                key = name.removeprefix("label_")
                raise UserError(
                    f"data.{name}={value}: is for a single label, but data.label_columns is set; set it to null, and "
                    f"give an entry of data.label_columns its own, as in {{column: COLUMN, {key}: ...}}"
                )
        return read_label_columns(self.label_columns, multi_label=self.multi_label, min_class_size=self.min_class_size)


def _check_fractions(fractions: Any) -> None:
    is_list = isinstance(fractions, Sequence) and not isinstance(fractions, str)
    is_valid = (
        is_list
        and len(fractions) == 3
        and all(_is_number(f) and f >= 0 for f in fractions)
        and math.isclose(sum(fractions), 1, abs_tol=1e-6)
    )
    if not is_valid:
        shown = list(fractions) if is_list else fractions
        raise UserError(
            f"data.fractions={shown}: must be three numbers of at least 0 for train, val and test that sum to 1"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
