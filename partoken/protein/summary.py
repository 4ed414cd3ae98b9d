"""The model's part of a run's summary, from what the test has collected."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from partoken.protein.baselines import regression_answers
from partoken.protein.chains.label_spec import by_name
from partoken.protein.evaluation import describe_parts, score_answers, summarise
from partoken.protein.family_scores import family_table
from partoken.protein.model.labels import LearnedLabel
from partoken.protein.model.settings import NetworkSettings

__all__ = ["summarise_test"]


def summarise_test(
    labels: Sequence[LearnedLabel],
    results: Mapping[str, Any],
    settings: NetworkSettings,
    data: Any,
    *,
    is_main_process: bool,
) -> dict[str, Any]:
    """Returns the scores of a test beside those of simple answers, and what describes the network.

    See also:
        `partoken.protein.task.ParTokenTask.summary`, which names the keys.

    Arguments:
        labels: The labels of the network.
        results: What the task has collected: `scores`, `labels`, `parts`, `codebook`, `partition`; `index`, the places
            of the tested chains in the test split, `[chains]`; `logits` and `truth`, by label.
        settings: The architecture.
        data: The data module. It may describe its chains (`describe_chains`) and know families (`seen_families`).
        is_main_process: True: regressions are fitted, which the other processes leave out.
    """
    tested = results["index"].cpu()
    logits, truth = ({name: values.cpu() for name, values in results[key].items()} for key in ("logits", "truth"))
    answers = _answer_simply(labels, data, tested) if is_main_process else {}
    mark = getattr(data, "seen_families", None)
    seen = None if mark is None else mark("test")
    families = None if seen is None else family_table(labels, logits, answers, truth, seen[tested])
    return {
        "test": results["scores"],
        "facts": _facts(labels, results, settings),
        "codebook": results["codebook"],
        "partition": results["partition"],
        "parts": by_name(results["parts"]),
        **summarise(labels, results["labels"], score_answers(labels, answers, truth), families),
    }


def _answer_simply(labels: Sequence[LearnedLabel], data: Any, tested: Tensor) -> dict[str, dict[str, Tensor]]:
    """Lets regressions answer for the tested chains; {}: the data module describes no chains.

    Arguments:
        labels: The labels.
        data: The data module.
        tested: Places of the tested chains in the test split, `[chains]`.
    """
    describe = getattr(data, "describe_chains", None)
    if describe is None:
        return {}
    train, val, test = (describe(split) for split in ("train", "val", "test"))
    if train is None:
        return {}
    numbers = {name: values[tested] for name, values in test[0].items()}
    return regression_answers(labels, train, val, numbers)


def _facts(labels: Sequence[LearnedLabel], results: Mapping[str, Any], settings: NetworkSettings) -> dict[str, str]:
    """Describes the parts of the answers, the codes and the substructures, if there are any, in one line each."""
    facts = {"answer": describe_parts(labels, results["parts"])}
    if settings.partition == "none":
        return facts
    codebook, partition = results["codebook"], results["partition"]
    use = f"{codebook['used_codes']} of {settings.codebook_size} codes used, perplexity {codebook['perplexity']:.1f}"
    return facts | {
        "codebook": "bypassed" if settings.bypass_codebook else use,
        "partition": (
            f"{partition['coverage']:.0%} of the residues in {partition['mean_count']:.1f} substructures "
            f"of {partition['mean_size']:.1f} residues"
        ),
    }
