#!/bin/sh
# Builds asker.c into the component $FACETD_OUT.
set -eu
unset CDPATH
cd "$(dirname "$0")"
exec ../../../guest-sdk/c/cc-component --world gateway-blocking-facet -o "${FACETD_OUT:?}" asker.c
