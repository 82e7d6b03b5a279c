"""Folder -> Cases -> Batches."""
