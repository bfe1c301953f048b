#!/bin/sh
# Set up and run every check: style, types, layers, tests. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh test
# downloads, while the checks compute
(scripts/setup-browser.sh && scripts/setup-qemu.sh) &
downloads=$!
export OMP_NUM_THREADS=1
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/lint-imports
wait "$downloads"
exec .venv/bin/python -m pytest -n 2 --dist loadgroup -m "not slow" "$@"
