"""Runs of an experiment: their directory, checkpoints, signals and session."""
