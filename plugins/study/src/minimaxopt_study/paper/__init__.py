"""What the paper printed, and what it calls its defences."""
