"""Plans with arrays: what runs on the chip, piece after piece."""
