"""What carries publications between programs."""
