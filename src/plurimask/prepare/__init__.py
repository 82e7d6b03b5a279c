"""Public collections and other people's data -> datasets in a layout of ours."""
