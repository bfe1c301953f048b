#!/bin/sh
# Install what the tests of the web need: Node packages, and Chromium from the distribution's packages; with --engines the
# browsers of tests/browser/test_engines.py, too: Firefox, and WebKit's small one with a display for it.
set -eu
cd "$(dirname "$0")/.."
if ! command -v npm >/dev/null; then
  echo "no npm: the browser test will be skipped" >&2
  exit 0
fi
(cd tests/browser && npm ci --silent --no-audit --no-fund)
(cd tests/bundlers && npm ci --ignore-scripts --silent --no-audit --no-fund)
(cd tests/onnx_web && npm ci --silent --no-audit --no-fund)
if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium >/dev/null
fi
if [ "${1:-}" = --engines ]; then
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends firefox-esr webkit2gtk-driver xvfb xauth >/dev/null
fi
