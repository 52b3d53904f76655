#!/bin/sh
# Builds steps.c into the component $FACETD_OUT.
set -eu
unset CDPATH
cd "$(dirname "$0")"
exec ../../../guest-sdk/c/cc-component --world full-blocking-facet -o "${FACETD_OUT:?}" steps.c
