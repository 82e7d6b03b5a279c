"""Bytes <-> records."""
