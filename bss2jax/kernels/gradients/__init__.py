"""What a spike's derivative is taken for."""
