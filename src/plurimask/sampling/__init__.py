"""Checkpoint + image, or whole study -> MaskSet on the image's own grid."""

from plurimask.sampling.model import Model, load

__all__ = ["Model", "load"]
