"""The mathematics: trajectories, the network, its rollouts and losses; pure functions of arrays."""
