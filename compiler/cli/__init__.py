"""The command line: parses arguments, calls a verb, prints what it returns."""
