#!/bin/sh
# Install what the tests of AArch64 code need: qemu's user emulation, and a C library for emulated programs.
set -eu
packages="qemu-user-static libc6-arm64-cross"
if command -v qemu-aarch64-static >/dev/null && [ -e /usr/aarch64-linux-gnu/lib/libc.so.6 ]; then
  exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "no qemu-aarch64: tests of AArch64 code will be skipped; install it, on Debian: sudo apt-get install $packages" >&2
  exit 0
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $packages >/dev/null
