"""Settings of the network and of its loss: the keys of `model` in the configuration, checked once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from partoken.errors import UserError, check_choice, check_flag, check_number, did_you_mean

__all__ = ["POOLINGS", "LossSettings", "NetworkSettings", "feature_width", "split_settings"]

POOLINGS = ("sum", "mean", "max", "attention", "moments", "environments")
ENCODERS = ("gvp", "frames")
PARTITIONS = ("learned", "random", "elements", "attention", "stretches", "none")
FOLLOW_ATTENTION = ("attention", "stretches")
"""Partitions into regions around the residues of large attention."""
EXCHANGES = ("touching", "geometry")
DISTANCES = ("l2", "cosine")
TOKEN_SOURCES = ("codes", "features")
COMBINATIONS = ("gate", "sum")
CLASSIFIER_INPUTS = ("both", "substructures")
INITS = ("auto", "pretrained", "random")

_COUNTS = (
    "num_layers",
    "num_neighbors",
    "max_clusters",
    "nhid",
    "k_hop",
    "cluster_size_max",
    "codebook_size",
)
_WEIGHTS = (
    "lambda_vq",
    "lambda_ent",
    "lambda_psc",
    "lambda_summary",
    "lambda_parts",
    "coordinate_noise",
)
_HIDDEN = "[scalars, vectors], both at least 1"
_NODE_INPUT = "[2, 4 or 6 scalars, 1 to 3 vectors]: cosine and sine of up to three angles; next, previous, side chain"
_EDGE_INPUT = "[a multiple of 4 scalars, 1 vector]: half distances, half sequence offsets; the direction"


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Everything that decides the architecture of `ParToken`.

    Raises:
        UserError: a value is not allowed; the message names its key under `model`.

    Example:
        >>> NetworkSettings(max_clusters=5).codebook_size
        512
        >>> NetworkSettings(max_clusters=0)
        Traceback (most recent call last):
        partoken.errors.UserError: model.max_clusters=0: must be a whole number of 1 or more
    """

    # Encoder

    encoder: str = "gvp"
    """gvp: geometric vector perceptrons, scalars and vectors; frames: attention over the neighbours as each residue
    sees them in its own frame, scalars only. `node_in_dim`, `edge_in_dim`, `edge_h_dim` and the vectors of
    `node_h_dim` have no effect on frames. See `FrameEncoder`."""
    node_in_dim: tuple[int, int] = (6, 3)
    """Scalars and vectors read of each residue: 2, 4 or 6 scalars (cosine and sine of phi, psi, omega) and 1 to 3
    vectors (to the next CA, to the previous CA, to the side chain)."""
    node_h_dim: tuple[int, int] = (100, 16)
    """Hidden scalars and vectors of a residue; a residue's feature has as many channels as hidden scalars."""
    edge_in_dim: tuple[int, int] = (32, 1)
    """Scalars and vectors read of each edge: a multiple of 4 scalars (half of them a radial basis of the distance, half
    sinusoids of the sequence offset) and 1 vector (the direction)."""
    edge_h_dim: tuple[int, int] = (32, 1)
    """Hidden scalars and vectors of an edge."""
    num_layers: int = 3
    """Message passing layers."""
    drop_rate: float = 0.1
    """Dropout rate in the encoder and in the classifier, from 0 to below 1."""
    num_neighbors: int = 30
    """Nearest residues, by CA distance, that send messages to a residue. A chain has at most as many as it has other
    residues."""
    seq_in: bool = False
    """True: the network reads the amino acids beside the geometry."""
    feature_channels: int | None = None
    """Channels to which the residue features of `data.residue_features` are mapped before they join the other scalars
    of a residue. None: as many as hidden scalars. Without such features it has no effect."""
    pooling: str = "sum"
    """How residues become the summary of a chain: sum, mean, max, attention, moments or environments. See
    `ChainPooling`."""

    # Partitioner

    partition: str = "learned"
    """learned: networks choose seeds and members. random: chance does. elements: the helices and strands of a chain are
    its substructures, with the residues that lie nearest along the chain. attention: regions around the residues of
    large attention, see `find_regions`; stretches: the same along the chain. Both need `residue_attention`, and a
    substructure counts as much as its residues have attention. none: the network has no substructures. Of the keys of
    the partitioner, `max_clusters` alone has an effect on elements; on attention and stretches also `cluster_size_max`,
    which should be smaller than `num_neighbors` with attention."""
    max_clusters: int = 10
    """Largest number K of substructures in a chain. With elements, the longest ones stay."""
    nhid: int = 50
    """Hidden channels of the seed, growth and context networks."""
    k_hop: int = 1
    """Largest distance of a substructure's residue from its seed, in edges."""
    cluster_size_max: int = 15
    """Largest number of residues in a substructure, the seed included."""
    termination_threshold: float = 0.95
    """The partitioner leaves a chain when this fraction of its residues is assigned; above 0, at most 1."""
    tau_init: float = 1.0
    """Temperature of the partitioner in epoch 0. Epoch e has max(tau_min, tau_init * tau_decay^e)."""
    tau_min: float = 0.1
    """Lowest temperature, at most `tau_init`."""
    tau_decay: float = 0.95
    """Factor of the temperature from one epoch to the next; above 0, at most 1."""

    # Codebook

    codebook_size: int = 512
    """Number of codes."""
    codebook_dim: int | None = None
    """Channels of a code. None: as many as a residue's feature, without a linear map before the codebook."""
    codebook_beta: float = 0.25
    """Weight of the commitment inside `losses["vq"]`, at least 0."""
    codebook_decay: float = 0.99
    """Fraction of the codes' moving averages that a step keeps, from 0 to below 1."""
    codebook_distance: str = "l2"
    """l2, or cosine: vectors and codes then have one common length."""
    bypass_codebook: bool = False
    """True: the classifier reads the vector of each substructure, and codes neither learn nor are read."""
    tokens_from: str = "codes"
    """What the classifier reads of a substructure. codes: its code; features: the vector that the code stands for."""
    psc_temp: float = 0.3
    """Temperature of the soft codes in `losses["entropy"]` and `losses["coverage"]`, above 0."""

    # Classifier

    classify_from: str = "both"
    """both: the classifier reads the substructures and the summary of all residues; substructures: it does not read the
    summary, so nothing but substructures can decide unless `fold_geometry` or `residue_attention` adds a part. Without
    a partition it reads the summary."""
    combine: str = "gate"
    """How the answer depends on both. gate: a gate mixes them, then one classifier reads the mixture; sum: each has a
    classifier of its own, see `PartClassifier`, and their scores are added. Without both, the kind of classifier."""
    exchange: str = "touching"
    """Messages between substructures. touching: attention among those that touch; geometry: those that lie near each
    other or follow each other along the chain tell each other their kinds, distances, angles, handedness and order."""
    exchange_layers: int = 1
    """Rounds of messages with `exchange` geometry, from 1 to 3."""
    fold_geometry: bool = False
    """True: the classifier reads the fold geometry of the chain, see `partoken.protein.geometry.fold`."""

    residue_attention: bool = False
    """True: each label also reads the residues of the chain with attention weights of its own, see `AttentionReading`.
    A prediction then has the weight of each residue."""
    attention_prior: bool = True
    """True: the attention starts at residues that are close to the centroid and face a pocket. False: it starts with
    equal weights. Without `residue_attention` it has no effect."""

    # Data

    feature_width: int = 0
    """Residue features that the data bring, see `feature_width`; 0: none. It is no key of `model`."""

    def __post_init__(self) -> None:
        for key in _COUNTS:
            check_number(f"model.{key}", getattr(self, key), minimum=1, whole=True)
        for key in ("codebook_dim", "feature_channels"):
            check_number(f"model.{key}", getattr(self, key), minimum=1, whole=True, optional=True)
        for key in ("drop_rate", "codebook_decay"):
            check_number(f"model.{key}", getattr(self, key), minimum=0, below=1)
        for key in ("termination_threshold", "tau_decay"):
            check_number(f"model.{key}", getattr(self, key), above=0, maximum=1)
        for key in ("tau_init", "tau_min", "psc_temp"):
            check_number(f"model.{key}", getattr(self, key), above=0)
        check_number("model.codebook_beta", self.codebook_beta, minimum=0)
        check_flag("model.seq_in", self.seq_in)
        check_flag("model.bypass_codebook", self.bypass_codebook)
        check_flag("model.residue_attention", self.residue_attention)
        check_flag("model.attention_prior", self.attention_prior)
        check_choice("model.encoder", self.encoder, ENCODERS)
        check_flag("model.fold_geometry", self.fold_geometry)
        check_choice("model.pooling", self.pooling, POOLINGS)
        check_choice("model.partition", self.partition, PARTITIONS)
        check_choice("model.codebook_distance", self.codebook_distance, DISTANCES)
        check_choice("model.tokens_from", self.tokens_from, TOKEN_SOURCES)
        check_choice("model.classify_from", self.classify_from, CLASSIFIER_INPUTS)
        check_choice("model.combine", self.combine, COMBINATIONS)
        check_choice("model.exchange", self.exchange, EXCHANGES)
        check_number("model.exchange_layers", self.exchange_layers, minimum=1, maximum=3, whole=True)
        self._check_exchange()
        self._check_partition()
        self._check_temperatures()
        self._check_dims()

    def _check_exchange(self) -> None:
        if self.exchange == "touching" and self.exchange_layers > 1:
            raise UserError(
                f"model.exchange_layers={self.exchange_layers}: has no effect with model.exchange=touching, which has "
                "one round; set model.exchange=geometry, or remove model.exchange_layers"
            )

    def _check_partition(self) -> None:
        if self.partition in FOLLOW_ATTENTION and not self.residue_attention:
            raise UserError(
                f"model.partition={self.partition}: its regions follow the attention over residues, which this network "
                "does not have; set model.residue_attention=true, or another model.partition"
            )

    def _check_temperatures(self) -> None:
        if self.tau_min > self.tau_init:
            raise UserError(
                f"model.tau_min={self.tau_min}: must be at most model.tau_init={self.tau_init}, because the "
                "temperature falls from tau_init to tau_min; lower tau_min or raise tau_init"
            )

    def _check_dims(self) -> None:
        """Checks the pairs of channel counts, and turns the lists of the YAML file into tuples."""
        if self.encoder == "frames" and _is_dims(self.node_h_dim) and self.node_h_dim[0] % 4:
            raise UserError(
                f"model.node_h_dim={list(self.node_h_dim)}: with model.encoder=frames the first number must be a "
                "multiple of 4, because the attention has 4 heads"
            )
        checks = {
            "node_in_dim": (_is_node_input, _NODE_INPUT),
            "node_h_dim": (_is_dims, _HIDDEN),
            "edge_in_dim": (_is_edge_input, _EDGE_INPUT),
            "edge_h_dim": (_is_dims, _HIDDEN),
        }
        for key, (is_allowed, allowed) in checks.items():
            value = getattr(self, key)
            if not is_allowed(value):
                raise UserError(f"model.{key}={value!r}: must be {allowed}")
            object.__setattr__(self, key, tuple(value))


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Everything that decides what `ParTokenTask` minimises.

    The loss is cross entropy + lambda_vq * vq + lambda_ent * entropy + lambda_psc * coverage
    + lambda_summary * summary + lambda_parts * parts.

    Raises:
        UserError: a value is not allowed; the message names its key under `model`.

    Example:
        >>> LossSettings(lambda_vq=-1)
        Traceback (most recent call last):
        partoken.errors.UserError: model.lambda_vq=-1: must be a number of 0 or more
    """

    lambda_vq: float = 1.0
    """Weight of the vq term, `codebook_beta` times the commitment, at least 0."""
    lambda_ent: float = 1e-3
    """Weight of the usage entropy term, at least 0."""
    lambda_psc: float = 1e-2
    """Weight of the coverage term, at least 0."""
    lambda_summary: float = 0.0
    """Weight of the cross entropy of a second answer, read from the chain's summary alone. It teaches the encoder what
    to look for before the partition has found it. 0: there is no second answer."""
    lambda_parts: float = 0.0
    """Weight of the mean cross entropy of the parts alone, so that each learns to answer by itself instead of leaving
    the answer to the others. Needs `combine` sum, or a single part. See `partoken.protein.model.contributions`."""
    class_balance: float = 0.0
    """How much rare classes count for: the loss of a chain is weighted by its class's frequency to the power of minus
    this. 0: all chains count alike; 1: all classes do. Must be 0 if a chain may have several labels."""
    coordinate_noise: float = 0.0
    """Standard deviation, in angstrom, of the noise on every coordinate during training."""
    frozen_encoder: bool | None = None
    """True: the encoder is not trained. Its features of all residues are computed once and kept in a file. None: it is
    frozen if it starts with the weights of the package."""
    init: str = "random"
    """pretrained: the encoder starts with weights that ship with the package, for which its settings must be those of
    the weights; random: with new ones; auto: pretrained if its settings are those of the weights, random if not. With
    `train.weights_from` it has no effect."""

    def __post_init__(self) -> None:
        for key in _WEIGHTS:
            check_number(f"model.{key}", getattr(self, key), minimum=0)
        check_number("model.class_balance", self.class_balance, minimum=0, maximum=1)
        if self.frozen_encoder is not None:
            check_flag("model.frozen_encoder", self.frozen_encoder)
        check_choice("model.init", self.init, INITS)
        if self.frozen_encoder is not None:
            self.check_noise(self.frozen_encoder)

    def check_noise(self, is_frozen: bool) -> None:
        """Rejects noise on the coordinates for an encoder that is frozen."""
        if is_frozen and self.coordinate_noise:
            raise UserError(
                f"model.coordinate_noise={self.coordinate_noise}: has no effect on a frozen encoder, which reads every "
                "chain once; set it to 0, or train the encoder with model.frozen_encoder=false"
            )


def split_settings(model: Mapping[str, Any]) -> tuple[NetworkSettings, LossSettings]:
    """Sorts the flat keys of `model` into the settings of the network and of the loss.

    Arguments:
        model: keys of `conf/model/partoken.yaml`; a missing key takes its default.

    Raises:
        UserError: a key is unknown, or a value is not allowed.

    Example:
        >>> network, loss = split_settings({"num_layers": 2, "lambda_vq": 0.1})
        >>> network.num_layers, loss.lambda_vq
        (2, 0.1)
    """
    network_keys, loss_keys = ({field.name for field in fields(kind)} for kind in (NetworkSettings, LossSettings))
    network_keys.remove("feature_width")
    for key in model:
        if key not in network_keys | loss_keys:
            known = [f"model.{name}" for name in sorted(network_keys | loss_keys)]
            raise UserError(f"model.{key} is not a setting of ParToken.{did_you_mean(f'model.{key}', known)}")
    network = NetworkSettings(**{key: value for key, value in model.items() if key in network_keys})
    loss = LossSettings(**{key: value for key, value in model.items() if key in loss_keys})
    return network, loss


def feature_width(data: Mapping[str, Any]) -> int:
    """Returns the number of residue features that the data bring: `NetworkSettings.feature_width`.

    Arguments:
        data: the settings of the data that a checkpoint keeps.

    Example:
        >>> feature_width({"residue_features": {"width": 1280}}), feature_width({})
        (1280, 0)
    """
    features = data.get("residue_features")  # older checkpoints have no such key
    return int(features["width"]) if features else 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_dims(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(map(_is_count, value))


def _is_node_input(value: Any) -> bool:
    return _is_dims(value) and value[0] in (2, 4, 6) and value[1] <= 3


def _is_edge_input(value: Any) -> bool:
    return _is_dims(value) and value[0] % 4 == 0 and value[1] == 1
