"""What the chip is: its numbers (`substrate`), its quantities, and one drawn specimen (`chip`)."""
