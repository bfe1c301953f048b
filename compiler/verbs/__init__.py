"""What the command line can do, as typed functions that print nothing."""
