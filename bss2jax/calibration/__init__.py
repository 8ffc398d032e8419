"""The experimenter's bench: measure a chip, characterise it, equalise it."""
