"""Training: method, optimiser, population, step and loop; checkpoints, metrics and workdir."""
