"""Training: method, optimiser, population, update and loop; checkpoints, metrics and workdir."""
