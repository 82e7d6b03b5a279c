"""What a method costs: parameters, floating point operations, seconds. A multiply-add counts as two operations."""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.methods.method import Method
from plurimask.records import Batch, Case
from plurimask.sampling import Model

REPEATS = 3


def parameters(method: Method) -> int:
    """Numbers that training may change, and those that it may not."""
    return sum(parameter.numel() for parameter in method.parameters())


def gflop_a_step(method: Method, batch: Batch) -> float:
    """1e9 operations of the loss of a batch and its gradient; convolutions and matrix products are counted."""
    with torch.random.fork_rng(devices=[]):
        return _gflop(lambda: torch.autograd.backward(method.loss(batch).total))


def gflop_a_mask(model: Model, case: Case, count: int, sampler: SamplerSettings | None = None) -> float:
    """1e9 operations of one of `count` masks of a case, with its share of what is done once an image.

    `sampler` is other than the recipe's own.
    """
    return _gflop(lambda: model.sample(case, count, sampler=sampler)) / count


def seconds_a_mask(model: Model, case: Case, count: int) -> float:
    """Seconds of one of `count` masks of a case: the median of a few panels, after one that is not timed."""
    model.sample(case, count)
    return median(_seconds(lambda: model.sample(case, count)) for _ in range(REPEATS)) / count


def _gflop(work: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops()) / 1e9


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
