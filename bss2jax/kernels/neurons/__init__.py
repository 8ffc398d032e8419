"""Neurons: how membranes move in a step, and when they spike."""
