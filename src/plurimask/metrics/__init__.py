"""Pure functions on batches of masks: samples (B, S, H, W[, D]), readers (B, R, H, W[, D]), one value a case."""
