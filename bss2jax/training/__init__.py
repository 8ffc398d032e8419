"""How a network learns: objective, phases and their loop, and what a run leaves behind."""
