"""What the program says while it works, and how it is asked to stop."""
