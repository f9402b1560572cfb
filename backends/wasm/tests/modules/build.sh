#!/bin/sh
# Builds the test modules that are checked in. Needs clang, lld, wasi-libc and libclang-rt-14-dev-wasm32 (Debian 12).
set -eu
cd "$(dirname "$0")"
flags="--target=wasm32-wasi --sysroot=/usr -Os -Wall -Werror -Wl,--strip-all"
clang $flags -D_WASI_EMULATED_PROCESS_CLOCKS -I/usr/include/wasm32-wasi -L/usr/lib/wasm32-wasi -o acts.wasm acts.c
clang $flags -mexec-model=reactor -I/usr/include/wasm32-wasi -L/usr/lib/wasm32-wasi -o handlers.wasm handlers.c
sha256sum acts.c acts.wasm handlers.c handlers.wasm > SHA256SUMS
