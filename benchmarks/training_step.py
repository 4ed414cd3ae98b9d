"""Measures the speed of a training step against the limit of the machine and against the published layers.

    python benchmarks/training_step.py             about two minutes on two cores
    python benchmarks/training_step.py --bf16      the same, with bfloat16 mixed precision beside it

A step is one batch of embedded chains: forward, backward and Adam. Each form runs in processes of its own, in turn,
with the same allocator settings. The speed is that of the fastest step, the memory is the resident peak. "plain" is the
same network with layers written as in the paper (`plain.py`). The limit is the time of the encoder's matrix products
alone, forward and backward, each shape at the speed that it reaches on this machine. The percentage is the limit's time
over the step's time.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F

from partoken.protein.chains.store import ChainStore
from partoken.protein.model.partoken import ParToken
from partoken.protein.model.settings import NetworkSettings
from partoken.protein.sources.arrays import read_arrays
from partoken.system.process import prepare_process

NUM_NEIGHBORS = 30
# Published channels: scalars and vectors of a residue, of an edge; hidden vectors of the first message perceptron.
S, V, ES, EV, H = 100, 16, 32, 1, 33


def batch(num_chains: int, num_residues: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws embedded chains whose residues sum to within one percent of a number: coordinates and pointer."""
    store = ChainStore.of(read_arrays(resources.files("partoken.protein.embedded") / "chains.npz"))
    generator = torch.Generator().manual_seed(0)
    lengths = torch.from_numpy(store.lengths)
    while True:
        rows = torch.randperm(len(lengths), generator=generator)[:num_chains]
        if abs(lengths[rows].sum() / num_residues - 1) < 0.01:
            chains = store.read(rows.tolist())
            return torch.cat([torch.from_numpy(chain.coords) for chain in chains]), F.pad(
                lengths[rows].cumsum(0), (1, 0)
            )


def time_of(call: Callable[[], object], repeats: int) -> float:
    """Returns the least of some times of a call, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def child(form: str, settings: argparse.Namespace) -> dict[str, float]:
    """Trains a few steps in one form and says how long they took."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    coords, ptr = batch(settings.chains, settings.residues)
    network = ParToken(3, NetworkSettings(num_neighbors=NUM_NEIGHBORS))
    if form == "plain":
        from plain import PlainEncoder

        network.encoder = PlainEncoder(network.encoder)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    labels = torch.arange(settings.chains) % 3
    mixed = torch.autocast("cpu", dtype=torch.bfloat16, enabled=form == "bf16")

    def step() -> None:
        optimizer.zero_grad()
        with mixed:
            output = network(coords, ptr)
            terms = output.losses
            loss = (
                F.cross_entropy(output.logits, labels)
                + terms["vq"]
                + 1e-3 * terms["entropy"]
                + 1e-2 * terms["coverage"]
            )
        loss.backward()
        optimizer.step()

    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    repeats = settings.steps if form != "plain" else max(1, settings.steps // 2)
    results = {"step": time_of(step, repeats), "residues": len(coords)}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    results |= {"faults": (usage.ru_minflt - faults) / (repeats + 1), "peak_mb": usage.ru_maxrss / 1024}
    if form == "fast":
        graph = network.featurize(coords, ptr)
        h = network.encode(graph).detach().requires_grad_()
        results["featurize"] = time_of(lambda: network.featurize(coords, ptr), 5)
        results["partition"] = time_of(lambda: network.partition(h, graph).features.sum().backward(), 5)
    return results


def products(num_residues: int) -> list[tuple[int, int, int, float]]:
    """Lists the matrix products of a forward pass of the encoder: rows, inner and outer size, and how often.

    Edges are counted in blocks, as they are walked.
    """
    block = 128 * NUM_NEIGHBORS
    blocks = 3 * num_residues / 128
    edge = [
        (block, ES, S), (block, H, S), (3 * block, H, V), (3 * block, V, V), (block, S, S), (block, V, S),
        (3 * block, V, V), (3 * block, V, V),
    ]  # fmt: skip
    n = num_residues
    node = [
        (n, S, S), (n, S, S), (3 * n, V, H), (3 * n, V, H), (n, S + V, S), (3 * n, V, V), (3 * n, V, V),
        (3 * n, V, 2 * V), (n, S + 2 * V, 4 * S), (3 * n, 2 * V, 2 * V),
        (3 * n, 2 * V, 2 * V), (n, 4 * S + 2 * V, S), (3 * n, 2 * V, V),
    ]  # fmt: skip
    ends = [(n * NUM_NEIGHBORS, ES + 1, ES), (n, S + V, S), (n, 22, S)]
    return [(*shape, blocks) for shape in edge] + [(*shape, 3) for shape in node] + [(*shape, 1) for shape in ends]


def matmul_limit(num_residues: int, threads: int) -> dict[str, float]:
    """Measures the seconds of the encoder's products: forward and backward, and what recomputation adds."""
    torch.set_num_threads(threads)
    forward = backward = again = 0.0
    for rows, inner, outer, times in products(num_residues):
        left, right, out = torch.randn(rows, inner), torch.randn(inner, outer), torch.empty(rows, outer)
        for a, b in ((left, right), (out, right.T), (left.T, out)):
            target = torch.empty(a.shape[0], b.shape[1])
            torch.mm(a, b, out=target)
            seconds = time_of(lambda a=a, b=b, target=target: torch.mm(a, b, out=target), 7) * times
            if a is left:
                forward += seconds
                again += seconds if times > 3 else 0.0
            else:
                backward += seconds
    return {"limit": forward + backward, "recomputed": again}


def run(form: str, settings: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", form]
    command += [f"--{key}={getattr(settings, key)}" for key in ("chains", "residues", "steps", "threads")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the {form} form failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def report(results: dict[str, list[dict[str, float]]], limits: dict[str, float], out: Path) -> None:
    best = {form: min(runs, key=lambda run: run["step"]) for form, runs in results.items()}
    fast = best["fast"]
    residues = fast["residues"]
    speed = {form: run["residues"] / run["step"] for form, run in best.items()}
    print(f"{'':<8}{'residues/s':>12}{'step, s':>10}{'peak, MB':>10}{'faults/step':>13}{'of plain':>10}")
    for form, run in best.items():
        print(
            f"{form:<8}{speed[form]:>12,.0f}{run['step']:>10.2f}{run['peak_mb']:>10,.0f}{run['faults']:>13,.0f}"
            f"{speed[form] / speed['plain']:>9.2f}x"
        )
    ratios = [p["step"] / f["step"] for f, p in zip(results["fast"], results["plain"], strict=True)]
    print(f"fast over plain, round by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    limit = residues / limits["limit"]
    print(
        f"limit of the encoder's matrix products: {limit:,.0f} residues/s, of which reached {speed['fast'] / limit:.0%}"
    )
    bound = residues / (limits["limit"] + limits["recomputed"])
    print(f"with those that the backward pass repeats: {bound:,.0f} residues/s, reached {speed['fast'] / bound:.0%}")
    for part in ("featurize", "partition"):
        print(f"{part}: {fast[part] * 1e3:.0f} ms, {fast[part] / fast['step']:.1%} of a step")
    plot(speed, {form: run["peak_mb"] for form, run in best.items()}, limit, out)
    (out / "training_step.json").write_text(json.dumps({"best": best, "limits": limits, "ratios": ratios}, indent=2))
    print(f"wrote {out / 'training_step.png'} and training_step.json")


def plot(speed: dict[str, float], memory: dict[str, float], limit: float, out: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(8, 0.6 * len(speed) + 1.2), sharey=True, layout="constrained")
    for axes, values, title in zip(panels, (speed, memory), ("residues a second", "resident peak, MB"), strict=True):
        bars = axes.barh(list(values)[::-1], list(values.values())[::-1], color="tab:blue", height=0.6)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3)
        axes.set_title(title)
        axes.set_xlim(right=1.15 * max(values.values()))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].axvline(limit, color="tab:red", linestyle="--", label="matrix products alone")
    panels[0].set_xlim(right=1.15 * max(limit, *speed.values()))
    figure.legend(loc="outside lower left", fontsize="small", frameon=False)
    figure.savefig(out / "training_step.png", dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=32)
    parser.add_argument("--residues", type=int, default=8000, help="residues of the batch, to one percent")
    parser.add_argument("--rounds", type=int, default=2, help="times that the forms take turns")
    parser.add_argument(
        "--steps", type=int, default=4, help="steps of a turn after the first; plain takes half of them"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true", help="measure bfloat16 mixed precision too")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    parser.add_argument("--child", choices=["fast", "plain", "bf16"], help=argparse.SUPPRESS)
    settings = parser.parse_args()
    prepare_process()  # as the main job does, and for the children
    if settings.child:
        print(json.dumps(child(settings.child, settings)))
        return
    settings.out.mkdir(parents=True, exist_ok=True)
    forms = ["fast", "plain"] + (["bf16"] if settings.bf16 else [])
    results = {form: [] for form in forms}
    limits = []
    for _ in range(settings.rounds):
        for form in forms:
            results[form].append(run(form, settings))
        limits.append(matmul_limit(results["fast"][0]["residues"], settings.threads))
    report(results, min(limits, key=lambda limit: limit["limit"]), settings.out)


if __name__ == "__main__":
    main()
