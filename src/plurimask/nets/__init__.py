"""Tensors -> tensors; they know nothing of masks or readers."""
