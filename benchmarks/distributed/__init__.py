"""A cluster of three nodes on one machine: same answers, what dies and how soon it is back, training on it."""
