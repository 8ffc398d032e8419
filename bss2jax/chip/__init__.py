"""What the chip is: its numbers (`substrate`) and one drawn specimen (`chip`)."""
