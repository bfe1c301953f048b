#!/bin/sh
# Set up and run every check: style, types, layers, tests. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh test
scripts/setup-browser.sh
scripts/setup-qemu.sh
export OMP_NUM_THREADS=1
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/lint-imports
exec .venv/bin/python -m pytest -n 2 -m "not slow" "$@"
