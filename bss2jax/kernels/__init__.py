"""What the chip computes: pure functions, arrays in and arrays out."""
