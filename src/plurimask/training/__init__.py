"""Recipe, loop, checkpoint, run folder."""
