"""IR to IR, one pass a file; file name = pass name = name on the command line = name of its test."""
