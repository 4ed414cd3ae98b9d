"""Residue importance: how much the predicted classes of a chain depend on each of its residues.

The method `substitution` asks how far the answer would move if a residue had another type, to first order. Let s be the
log odds of the predicted class and g[i, a] the derivative of s with respect to the weight of type a at residue i.
Replacing the type t of the residue by a changes s by g[i, a] - g[i, t], and the importance is the norm of the changes,

    sqrt(sum over the 21 types a of (g[i, a] - g[i, t])^2),

where the last type is an unknown or hidden residue. The derivative counts a residue both as the centre of its own
surroundings and as a neighbour in those of others. Log odds have the gradient of the log probability without its factor
1 - p, so a confident answer does not hide it. The scores of the classes are a sum over parts of the network, and
`reading` takes the gradient of one of them.

References:
    Deep Inside Convolutional Networks (Simonyan, Vedaldi and Zisserman, ICLR workshop 2014) for gradients as
    explanations.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from partoken.errors import UserError, check_choice
from partoken.protein.geometry.surroundings import SURROUNDINGS
from partoken.protein.geometry.surroundings import surroundings as compute_surroundings
from partoken.protein.model.contributions import RESIDUES
from partoken.protein.model.labels import LearnedLabel, split_logits
from partoken.protein.model.partoken import ParToken, ParTokenOutput
from partoken.protein.model.ranks import multiply_ranks, share_out
from partoken.protein.model.residues import UNKNOWN
from partoken.protein.model.self_supervised import SelfSupervised, load_self_supervised

__all__ = ["METHODS", "ExplainedBatch", "check_method", "default_method", "explain", "log_odds"]

METHODS = {
    "substitution": "change of the answer if the residue had another type, to first order",
    "gradient": "norm of the gradient of the answer with respect to the weights of the residue's types",
    "reading": "substitution in the part of the answer that is read from the residues by attention",
    "attention": "attention weight of the residue",
    "substructures": "importance of the residue's substructure x its membership",
    "substitution_and_prior": "substitution x prior, as ranks",
    "reading_and_prior": "reading x prior, as ranks",
    "prior": "closeness to the centroid x pocket, without the network",
    "self_supervised": "conserved x polar x surprising x prior, learned without labels, without the network",
    "substitution_and_self_supervised": "substitution x self_supervised, as ranks",
    "reading_and_self_supervised": "reading x self_supervised, as ranks",
}
"""Methods, and what they measure."""

_WITH_READING = ("attention", "reading", "reading_and_prior", "reading_and_self_supervised")
_WITH_PRIOR = ("prior", "substitution_and_prior", "reading_and_prior")
_SELF_SUPERVISED = ("self_supervised", "substitution_and_self_supervised", "reading_and_self_supervised")
_READ_OFF = ("attention", "substructures", "prior", "self_supervised")
"""Methods that need no gradient."""


class ExplainedBatch(NamedTuple):
    """The answer of a network for N residues, and what it depends on."""

    output: ParTokenOutput
    """The answer, without a graph of gradients."""
    importance: Tensor
    """Importance of each residue, float32 `[N]`: sum 1 over a chain, 0 for a residue without N, CA or C."""


def explain(
    network: ParToken,
    labels: Sequence[LearnedLabel],
    inputs: Mapping[str, Any],
    method: str | None = None,
    self_supervised: SelfSupervised | None = None,
) -> ExplainedBatch:
    """Answers for a batch of chains, and computes the importance of each residue, from one forward pass.

    A gradient needs one backward pass for each label. With several labels, the ranks of a residue within its chain are
    multiplied over the labels. A chain depends on no other chain of the batch. Hard choices of the network, such as the
    members of a substructure, have the gradient that they have in training.

    A network that does not read types has the gradient with respect to its features of the residues instead; then
    `substitution` and `gradient` are equal.

    Arguments:
        network: The network, in evaluation mode.
        labels: The labels that it answers, in the order of its logits.
        inputs: The arguments of its `forward` by name, as `ChainBatch.inputs` returns them.
        method: One of `METHODS`; None: `default_method`.
        self_supervised: What computes the score of the methods `self_supervised`; None: the one that ships.

    Raises:
        UserError: as for `check_method` and `ParToken.forward`; or a method needs residue types and there are none.

    Example:
        >>> from partoken.protein.model.settings import NetworkSettings
        >>> _ = torch.manual_seed(0)
        >>> network = ParToken(3, NetworkSettings(encoder="frames", seq_in=True, node_h_dim=(16, 1))).eval()
        >>> coords, ptr = torch.randn(30, 4, 3).cumsum(0), torch.tensor([0, 10, 30])
        >>> inputs = {"coords": coords, "ptr": ptr, "sequence": torch.randint(20, (30,))}
        >>> explain(network, [LearnedLabel("", ("a", "b", "c"), False)], inputs).importance[:10].sum()
        tensor(1.)
    """
    assert not network.training, "the network must be in evaluation mode"
    method = check_method(method, network)
    with torch.inference_mode(False), torch.autocast(inputs["coords"].device.type, enabled=False):
        given = {name: _outside_inference(value) for name, value in inputs.items()}
        needs_surroundings = method in (*_WITH_PRIOR, *_SELF_SUPERVISED)
        if needs_surroundings and given.get("surroundings") is None:
            given["surroundings"] = compute_surroundings(given["coords"], given["ptr"])
        columns: list[Tensor] = []
        if method in _READ_OFF:
            with torch.no_grad():
                output = network(**given)
        else:
            output, columns = _differentiate(network, labels, given, method)
        columns += _read_off(output, given, method)
        ptr, present = given["ptr"], given["coords"][:, :3].isfinite().all(dim=2).all(dim=1)
        if method in _SELF_SUPERVISED:
            of_labels = [multiply_ranks(columns, ptr, present)] if columns else []
            columns = [*of_labels, _self_supervised(given, self_supervised)]
        combined = columns[0] if len(columns) == 1 else multiply_ranks(columns, ptr, present)
        return ExplainedBatch(output, share_out(combined, ptr, present))


def default_method(network: ParToken) -> str:
    """Returns the method that is used if nobody chooses one.

    A network whose attention starts at the prior was told that the decisive residues are near pockets. There, known
    catalytic residues rank highest by the product of both. Other networks may look for anything.
    """
    has_prior = network.reading is not None and network.settings.attention_prior
    return "reading_and_prior" if has_prior else "substitution"


def check_method(method: str | None, network: ParToken) -> str:
    """Returns the method for a network; None: its default.

    Raises:
        UserError: the method is unknown, or it needs attention or substructures and the network has none.
    """
    if method is None:
        return default_method(network)
    check_choice("importance", method, list(METHODS))
    if method in _WITH_READING and network.reading is None:
        raise UserError(
            f"importance={method}: this network reads no residues by attention; choose substitution, or train with "
            "model.residue_attention=true"
        )
    if method == "substructures" and network.partitioner is None:
        raise UserError(
            "importance=substructures: this network has no substructures; choose substitution, or train with another "
            "model.partition than none"
        )
    return method


def log_odds(logits: Tensor, multi_label: bool) -> Tensor:
    """Computes the log odds of the likeliest class of each chain, `[B]`, from the scores of a label, `[B, C]`.

    Example:
        >>> log_odds(torch.tensor([[2.0, 0.0, -1.0]]).log_softmax(1), multi_label=False)
        tensor([1.6867])
        >>> probability = torch.tensor([2.0, 0.0, -1.0]).softmax(0)[0]
        >>> torch.logit(probability)
        tensor(1.6867)
    """
    chosen = logits.detach().argmax(1, keepdim=True)
    score = logits.gather(1, chosen).squeeze(1)
    if multi_label or logits.shape[1] == 1:
        return score
    return score - logits.scatter(1, chosen, -torch.inf).logsumexp(1)


def _outside_inference(value: Any) -> Any:
    """Returns a tensor that may take part in gradients."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def _differentiate(
    network: ParToken, labels: Sequence[LearnedLabel], inputs: Mapping[str, Any], method: str
) -> tuple[ParTokenOutput, list[Tensor]]:
    """Returns the answer, and for each label the importance of every residue, `[N]`."""
    sequence = inputs.get("sequence")
    needs_gradient = [part for part in network.parameters() if part.requires_grad]
    try:
        # Only what depends on the types is then kept for the backward pass.
        for part in needs_gradient:
            part.requires_grad_(False)
        with torch.enable_grad():
            graph = network.featurize(inputs["coords"], inputs["ptr"], inputs.get("share"))
            types = None
            if network.settings.seq_in and sequence is not None:
                types = F.one_hot(sequence, UNKNOWN + 1).to(next(network.parameters()).dtype).requires_grad_()
            h = network.encode(graph, types, inputs.get("features"))
            source = h.requires_grad_() if types is None else types
            output = network(**{**inputs, "embedding": h})
            read = output.contributions[RESIDUES] if method in _WITH_READING else output.logits
            slopes = _slopes(output.logits, labels)
            scores = [(slopes[name] * part).sum() for name, part in split_logits(read, labels).items()]
        gradients = [_gradient(score, source, keep=score is not scores[-1]) for score in scores]
    finally:
        for part in needs_gradient:
            part.requires_grad_(True)
    if types is not None and sequence is not None and method != "gradient":
        gradients = [_substitute(gradient, sequence) for gradient in gradients]
    return _detached(output), [gradient.norm(dim=1) for gradient in gradients]


def _slopes(logits: Tensor, labels: Sequence[LearnedLabel]) -> dict[str, Tensor]:
    """Computes the derivatives of the log odds of each label with respect to the scores of its classes, `[B, C]`."""
    slopes = {}
    for label, scores in zip(labels, split_logits(logits.detach(), labels).values(), strict=True):
        scores = scores.clone().requires_grad_()
        [slopes[label.name]] = torch.autograd.grad(log_odds(scores, label.multi_label).sum(), scores)
    return slopes


def _gradient(score: Tensor, source: Tensor, keep: bool) -> Tensor:
    """Computes the gradient of a score; it is zero if the score does not depend on the source."""
    if not score.requires_grad:
        return torch.zeros_like(source)
    [gradient] = torch.autograd.grad(score, source, retain_graph=keep, allow_unused=True, materialize_grads=True)
    return gradient


def _substitute(gradient: Tensor, sequence: Tensor) -> Tensor:
    """Computes the change of a score to first order if each residue had each type, `[N, 21]`."""
    return gradient - gradient.gather(1, sequence[:, None])


def _detached(output: ParTokenOutput) -> ParTokenOutput:
    fields: dict[str, Any] = {}
    for name, value in vars(output).items():
        if isinstance(value, Tensor):
            fields[name] = value.detach()
        elif isinstance(value, dict):
            fields[name] = {key: part.detach() for key, part in value.items()}
        else:
            fields[name] = value
    return ParTokenOutput(**fields)


def _read_off(output: ParTokenOutput, inputs: Mapping[str, Any], method: str) -> list[Tensor]:
    """Returns what a method reads of every residue without a gradient, `[N]` each."""
    if method == "attention":
        assert output.attention is not None, "checked before"
        return list(output.attention.unbind(1))
    if method == "substructures":
        lengths = inputs["ptr"].diff()
        chain = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
        weight = output.importance[chain, output.assignment.clamp(min=0)]
        return [weight * output.membership * (output.assignment >= 0)]
    if method in _WITH_PRIOR:
        closeness, pocket = (inputs["surroundings"][:, SURROUNDINGS.index(name)] for name in ("closeness", "pocket"))
        return [closeness * pocket]
    return []


@torch.no_grad()
def _self_supervised(inputs: Mapping[str, Any], network: SelfSupervised | None) -> Tensor:
    """Computes the self-supervised score of each residue, `[N]`, on the device of the chains."""
    if inputs.get("sequence") is None:
        raise UserError("importance=self_supervised: these chains have no sequence; choose another method")
    coords = inputs["coords"]
    network = (network or load_self_supervised()).to(coords.device)
    scores: Tensor = network(coords.float(), inputs["ptr"], inputs["sequence"], inputs["surroundings"].float())
    return scores
