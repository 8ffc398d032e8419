"""How a network gets onto the chip: plans, blocks, execution of any size, and what it costs."""
