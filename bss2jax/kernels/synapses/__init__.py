"""What is sent to synapses, and its product with weights."""
