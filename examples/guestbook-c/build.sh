#!/bin/sh
# Builds guestbook.c into the component $FACETD_OUT (default: guestbook.wasm here).
set -eu
unset CDPATH
cd "$(dirname "$0")"
exec ../../guest-sdk/c/cc-component -o "${FACETD_OUT:-guestbook.wasm}" guestbook.c
