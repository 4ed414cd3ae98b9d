"""Measures how the cost of features, partitioner and whole training step grows with the length of the chains.

    python benchmarks/scaling.py                   32 chains of 100 to 1,000 residues, about two minutes on two cores

The last column is the exponent of the cost between the shortest and the longest chains: 1 is linear. Only the neighbour
search within a chain may grow faster.
"""

import argparse
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from training_step import time_of

from partoken.protein.model.partoken import ParToken


def chains(num_chains: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Makes compact random walks with bonds of 3.8 angstrom between neighbouring CA."""
    generator = torch.Generator().manual_seed(length)
    bonds = F.normalize(torch.randn(num_chains, length, 3, generator=generator), dim=-1)
    ca = 3.8 * bonds.cumsum(1) / length**0.17
    others = F.normalize(torch.randn(num_chains, length, 4, 3, generator=generator), dim=-1) * 1.5
    others[:, :, 1] = 0
    return (ca[:, :, None] + others).flatten(0, 1), torch.arange(num_chains + 1) * length


def costs(num_chains: int, length: int, repeats: int) -> dict[str, float]:
    """Measures the seconds of features, of the partitioner and of a training step, both with their backward pass."""
    torch.manual_seed(0)
    coords, ptr = chains(num_chains, length)
    network = ParToken(3)
    optimizer = torch.optim.Adam(network.parameters())
    graph = network.featurize(coords, ptr)
    h = torch.rand(len(coords), 100, requires_grad=True)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(coords, ptr).logits, torch.arange(num_chains) % 3).backward()
        optimizer.step()

    step()
    return {
        "featurize": time_of(lambda: network.featurize(coords, ptr), repeats + 1),
        "partition": time_of(lambda: network.partition(h, graph).features.sum().backward(), repeats + 1),
        "step": time_of(step, repeats),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=32)
    parser.add_argument("--lengths", type=int, nargs="+", default=[100, 200, 300, 600, 1000])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    settings.out.mkdir(parents=True, exist_ok=True)

    results = {length: costs(settings.chains, length, settings.repeats) for length in settings.lengths}
    print(f"{'ms':<12}" + "".join(f"{f'{settings.chains} x {length}':>12}" for length in results) + f"{'exponent':>12}")
    first, last = min(results), max(results)
    for part in ("featurize", "partition", "step"):
        exponent = (
            math.log(results[last][part] / results[first][part]) / math.log(last / first) if last > first else 1.0
        )
        print(f"{part:<12}" + "".join(f"{cost[part] * 1e3:>12.1f}" for cost in results.values()) + f"{exponent:>12.2f}")
    print(
        f"{'partition':<12}"
        + "".join(f"{c['partition'] / c['step']:>12.1%}" for c in results.values())
        + "   of a step"
    )
    plot(results, settings.chains, settings.out)
    (settings.out / "scaling.json").write_text(json.dumps(results, indent=2))
    print(f"wrote {settings.out / 'scaling.png'} and scaling.json")


def plot(results: dict[int, dict[str, float]], num_chains: int, out: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.6), layout="constrained")
    residues = [num_chains * length for length in results]
    for part in ("step", "featurize", "partition"):
        seconds = [cost[part] for cost in results.values()]
        (line,) = axes.loglog(residues, seconds, marker="o", label=part)
        linear = [seconds[0] * size / residues[0] for size in residues]
        axes.loglog(residues, linear, color=line.get_color(), linestyle=":", linewidth=1)
    axes.set(xlabel="residues in the batch", ylabel="seconds", title="cost (dotted: linear from the first point)")
    axes.set_xticks(residues, [f"{size:,}" for size in residues], rotation=30)
    axes.minorticks_off()
    axes.legend()
    figure.savefig(out / "scaling.png", dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
