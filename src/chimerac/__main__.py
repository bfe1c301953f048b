"""``python -m chimerac``: the command line, where its script is not on the path."""

from chimerac.compiler.cli.main import main

main(prog_name="chimerac")
