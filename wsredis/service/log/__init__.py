"""The log of the program: its lines of text or JSON, and where they go."""
