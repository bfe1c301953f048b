#!/bin/sh
# Set up and run every check: style, types, layers, tests. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
# what other package managers install, while pip does
(scripts/setup-browser.sh && scripts/setup-qemu.sh) &
others=$!
scripts/setup.sh test
export OMP_NUM_THREADS=1
# setup.sh leaves bytecode to who first imports a file: each of some thousand processes would compile torch anew
unset PYTHONDONTWRITEBYTECODE
.venv/bin/mypy &
types=$!
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/lint-imports
wait "$others"
tests=0
.venv/bin/python -m pytest -n 2 -m "not slow" "$@" || tests=$?
wait "$types"
exit "$tests"
