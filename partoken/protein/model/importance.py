"""Residue importance: how much the predicted classes of a chain depend on each of its residues.

The default method asks how far the answer would move if a residue had another type, to first order. Let s be the log
odds of the predicted class and g[i, a] the derivative of s with respect to the weight of type a at residue i. Replacing
the type t of the residue by a changes s by g[i, a] - g[i, t], and the importance is the norm of these changes,

    sqrt(sum over the 21 types a of (g[i, a] - g[i, t])^2),

where the last type is an unknown or hidden residue. The derivative counts a residue both as the centre of its own
surroundings and as a neighbour in those of others. Log odds have the gradient of the log probability without its factor
1 - p, so a confident answer does not hide it.

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
from partoken.protein.model.labels import LearnedLabel, split_logits
from partoken.protein.model.partoken import ParToken, ParTokenOutput
from partoken.protein.model.residues import UNKNOWN

__all__ = ["DEFAULT_METHOD", "METHODS", "ExplainedBatch", "check_method", "explain", "log_odds"]

DEFAULT_METHOD = "substitution"

METHODS = {
    "substitution": "change of the answer if the residue had another type, to first order",
    "gradient": "norm of the gradient of the answer with respect to the weights of the residue's types",
    "attention": "attention weight of the residue",
    "substructures": "importance of the residue's substructure x its membership",
    "substitution_and_prior": "substitution x prior, as ranks",
    "prior": "closeness to the centroid x pocket, without the network",
}
"""Methods, and what they measure."""

_GRADIENTS = ("substitution", "gradient", "substitution_and_prior")


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
    method: str = DEFAULT_METHOD,
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
        method: One of `METHODS`.

    Raises:
        UserError: the method is unknown, or it needs attention or substructures and the network has none; or as for
            `ParToken.forward`.

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
    check_method(method, network)
    with torch.inference_mode(False), torch.autocast(inputs["coords"].device.type, enabled=False):
        given = {name: _outside_inference(value) for name, value in inputs.items()}
        if method in ("prior", "substitution_and_prior") and given.get("surroundings") is None:
            given["surroundings"] = compute_surroundings(given["coords"], given["ptr"])
        if method in _GRADIENTS:
            output, columns = _differentiate(network, labels, given, method)
        else:
            with torch.no_grad():
                output = network(**given)
            columns = []
        columns += _read_off(output, given, method)
        present = given["coords"][:, :3].isfinite().all(dim=2).all(dim=1)
        return ExplainedBatch(output, _combine(columns, given["ptr"], present))


def check_method(method: str, network: ParToken) -> None:
    """Rejects a method that a network does not support.

    Raises:
        UserError: the method is unknown, or it needs attention or substructures and the network has none.
    """
    check_choice("importance", method, list(METHODS))
    if method == "attention" and network.reading is None:
        raise UserError(
            f"importance=attention: this network reads no residues by attention; choose {DEFAULT_METHOD}, or train "
            "with model.residue_attention=true"
        )
    if method == "substructures" and network.partitioner is None:
        raise UserError(
            f"importance=substructures: this network has no substructures; choose {DEFAULT_METHOD}, or train with "
            "another model.partition than none"
        )


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
            scores = [
                log_odds(logits, label.multi_label).sum()
                for label, logits in zip(labels, split_logits(output.logits, labels).values(), strict=True)
            ]
        gradients = [_gradient(score, source, keep=score is not scores[-1]) for score in scores]
    finally:
        for part in needs_gradient:
            part.requires_grad_(True)
    if types is not None and sequence is not None and method != "gradient":
        gradients = [_substitute(gradient, sequence) for gradient in gradients]
    return _detached(output), [gradient.norm(dim=1) for gradient in gradients]


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
    if method in ("prior", "substitution_and_prior"):
        closeness, pocket = (inputs["surroundings"][:, SURROUNDINGS.index(name)] for name in ("closeness", "pocket"))
        return [closeness * pocket]
    return []


def _combine(columns: Sequence[Tensor], ptr: Tensor, present: Tensor) -> Tensor:
    """Combines scores `[N]` to one of sum 1 over each chain: a single one as it is, several by their ranks."""
    combined = []
    for begin, end in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        of_chain, is_there = [column[begin:end] for column in columns], present[begin:end]
        product = torch.ones_like(of_chain[0])
        for scores in of_chain:
            product = product * (scores if len(columns) == 1 else _rank(scores, is_there))
        product = product.float() * is_there
        combined.append(product / product.sum().clamp(min=torch.finfo(product.dtype).tiny))
    return torch.cat(combined)


def _rank(scores: Tensor, present: Tensor) -> Tensor:
    """Ranks the scores `[L]` of present residues: the fraction of smaller ones, plus half the fraction of equal ones.

    Others have the rank 0.
    """
    _, place, count = scores[present].unique(return_inverse=True, return_counts=True)
    ranks = torch.zeros_like(scores)
    ranks[present] = ((count.cumsum(0) - count / 2) / max(1, len(place)))[place].to(ranks.dtype)
    return ranks
