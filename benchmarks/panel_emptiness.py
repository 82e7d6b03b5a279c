"""What tells that a reader draws nothing: small nets on what a panel's encoder gives, pooled in several ways.

python benchmarks/panel_emptiness.py lidc-panel --data lidc-slices-128 --out docs/benchmarks/panel/emptiness.json
"""

import argparse
import json
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from plurimask.datasets.batches import scale_intensity
from plurimask.datasets.open import open_dataset
from plurimask.datasets.splits import split_indices
from plurimask.files.stored import write_text
from plurimask.methods.panel import Panel
from plurimask.nets.emptiness import where_expected
from plurimask.sampling import load

SEEDS, EPOCHS, BATCH = (0, 1, 2), 4, 24
MEAN_MASK = "the mean mask: its sum and its largest pixel"
Inputs = dict[str, Tensor]


@torch.inference_mode()
def pooled(method: Panel, image: Tensor) -> Inputs:
    """(B, C, H, W) -> what each small net is shown, (B, channels)."""
    features = method.encoder(scale_intensity(image))
    share, _ = method.expected(features)
    patch = method.settings.encoder.patch
    marked = [where_expected(level, share, patch * 2**k) for k, level in enumerate(features)]
    everywhere = [level.mean((2, 3)) for level in features]
    flat = share.flatten(1)
    return {
        MEAN_MASK: torch.stack([flat.sum(1).log(), torch.logit(flat.amax(1), eps=1e-6)], dim=1),
        "finest features, all pixels alike": everywhere[0],
        "all scales, all pixels alike": torch.cat(everywhere, dim=1),
        "finest features, where a mask is expected": marked[0],
        "all scales, where a mask is expected": torch.cat(marked, dim=1),
    }


def learn(shown: Tensor, empty: Tensor, seed: int) -> nn.Module:
    """Two layers, on standardised inputs (n, channels) and shares of empty readers (n,)."""
    torch.manual_seed(seed)
    width = shown.shape[1]
    net = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.03)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * -(-len(shown) // BATCH))
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(shown)).split(BATCH):
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(net(shown[rows])[:, 0], empty[rows]).backward()
            optimizer.step()
            falling.step()
    return net


def score(share: Tensor, empty: Tensor) -> tuple[float, float]:
    """Cross-entropy in nats a mask, and correlation over cases."""
    return binary_cross_entropy(share, empty).item(), float(np.corrcoef(share, empty)[0, 1])


def main() -> None:
    """Print a table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--train", type=int, default=2000, help="training slices to learn from")
    parser.add_argument("--val", type=int, default=800, help="validation slices to score on")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    data, model = open_dataset(asked.data), load(asked.model, "cpu")
    assert isinstance(model.method, Panel)
    inputs: dict[str, Inputs] = {}
    empty: dict[str, Tensor] = {}
    for split, limit in (("train", asked.train), ("val", asked.val)):
        chosen = np.random.default_rng(0).permutation(split_indices(data, split))[:limit]
        parts, shares = [], []
        for start in track(range(0, len(chosen), 20), split):
            cases = [data[index] for index in chosen[start : start + 20].tolist()]
            parts.append(pooled(model.method, torch.stack([torch.from_numpy(case.image) for case in cases])))
            shares += [float((~case.raters.any((1, 2))).mean()) for case in cases]
        inputs[split] = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        empty[split] = torch.tensor(shares)
    always = torch.full_like(empty["val"], empty["train"].mean().item())
    rows = []
    for name, shown in inputs["train"].items():
        mean, spread = shown.mean(0), shown.std(0)
        nets = [learn((shown - mean) / spread, empty["train"], seed) for seed in SEEDS]
        with torch.inference_mode():
            unseen = (inputs["val"][name] - mean) / spread
            found = [score(net(unseen)[:, 0].sigmoid(), empty["val"]) for net in nets]
        nats, r = (fmean(values) for values in zip(*found, strict=True))
        rows.append({"shown": name, "numbers": shown.shape[1], "nats": nats, "r": r})
        print(f"| {name} | {shown.shape[1]} | {nats:.4f} | {r:.3f} |")
    record = {
        "weights": model.checkpoint.digest,
        "data": data.digest,
        "train": len(empty["train"]),
        "val": len(empty["val"]),
        "seeds": SEEDS,
        "rows": rows,
        "always_the_mean_nats": binary_cross_entropy(always, empty["val"]).item(),
    }
    write_text(asked.out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
