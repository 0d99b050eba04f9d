"""What travels inside messages."""
