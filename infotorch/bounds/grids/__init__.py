"""What is to be run, what one cell of it is, and where it is kept."""
