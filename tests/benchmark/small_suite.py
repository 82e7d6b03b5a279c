"""A suite of seconds: two methods of a few hundred weights on the 16x16 cases of `tiny`."""

from plurimask.benchmark.suite import Suite

QUIET = ("training.validation_cases=2", "training.validation_samples=2")
CIMD = {
    "name": "cimd",
    "label": "CIMD",
    "recipe": "cimd-small",
    "reported": "CIMD",
    "set": (
        "method.denoiser.channels=[32]",
        "method.denoiser.attention=[false]",
        "method.diffusion.schedule.timesteps=20",
        "method.ambiguity.encoder.widths=[4, 8]",
        "sampler.steps=2",
        *QUIET,
    ),
}
PROB = {
    "name": "prob",
    "recipe": "prob-unet",
    "group": "latent",
    "set": ("method.net.widths=[4]", "method.net.convolutions=1", *QUIET),
}
TREE = {
    "name": "small",
    "purpose": "To test.",
    "image_size": 16,
    "batch_size": 2,
    "budget": {"images": 8},
    "probe": {"learning_rates": (1e-3, 1e-4), "budget": {"images": 4}, "cases": 2, "samples": 2},
    "scoring": {"limit": 3, "samples": 4, "first": 2},
    "reference": "prob",
    "dataset": "lidc",
    "runs": (CIMD, PROB),
}


def suite(**changed) -> Suite:
    """The small suite, top-level keys changed."""
    return Suite.model_validate(TREE | changed)


def silent(line: str) -> None:
    """Say nothing."""
