"""How often a few steps of the straight path draw pixels that go together, for each shift; the best denoiser is known.

python benchmarks/flow_shift.py
"""

from itertools import pairwise

import numpy as np

from plurimask.diffusion.flow import Flow
from plurimask.diffusion.samplers import SamplerSettings

SHARE, DRAWS = 0.25, 100_000
SHIFTS, STEPS, PIXELS = (1.0, 3.0, 5.0, 8.0, 15.0), (2, 4, 8, 16), (15, 60, 300, 1000)


def drawn_share(pixels: int, steps: int, shift: float) -> float:
    """Euler's method on the mean of the pixels, which is all that the best denoiser looks at."""
    gamma = Flow(shift).gamma.double().numpy()
    times = SamplerSettings(name="ddim", steps=steps).times(len(gamma) - 1)
    mean = np.random.default_rng(0).standard_normal(DRAWS) / np.sqrt(pixels)
    for t, s in pairwise(times):
        evidence = 2 * pixels * mean * np.sqrt(gamma[t]) / (1 - gamma[t])
        x_0 = np.tanh((np.log(SHARE / (1 - SHARE)) + evidence) / 2)
        eps = (mean - np.sqrt(gamma[t]) * x_0) / np.sqrt(1 - gamma[t])
        mean = np.sqrt(gamma[s]) * x_0 + np.sqrt(1 - gamma[s]) * eps
    return float((mean > 0).mean())


def main() -> None:
    """Print the table of docs/benchmarks/panel.md."""
    print("| pixels | steps |", " | ".join(f"shift {shift:g}" for shift in SHIFTS), "|")
    print("| ---: " * (2 + len(SHIFTS)) + "|")
    for pixels in PIXELS:
        for steps in STEPS:
            shares = (f"{drawn_share(pixels, steps, shift):.3f}" for shift in SHIFTS)
            print(f"| {pixels} | {steps} |", " | ".join(shares), "|")


if __name__ == "__main__":
    main()
