#!/bin/sh
# Builds hello.ts into the component $FACETD_OUT (default: hello-ts.wasm here).
# Exit code 77, with one line of reason: cannot be built on this machine (no npm, or no registry to be reached).
set -eu
unset CDPATH
cd "$(dirname "$0")"
out=${FACETD_OUT:-$PWD/hello-ts.wasm}
skip() { echo "skipped: $*" >&2; exit 77; }

command -v node >/dev/null && command -v npm >/dev/null || skip "no node and npm in PATH"
mkdir -p node_modules
if command -v flock >/dev/null; then exec 9>node_modules/.facetd-lock; flock 9; fi

# Install what package-lock.json says, once, and beside, so that npm cannot rewrite the lock file. Not `npm ci`: it
# insists on three platform bindings that componentize-qjs 0.4.5 names but that never published that version.
stamp=node_modules/.facetd-$(cat package.json package-lock.json | cksum | tr ' ' -)-$(node -p 'process.platform+"-"+process.arch')
if [ ! -e "$stamp" ]; then
  echo "hello-ts: npm install (componentize-qjs and esbuild, about 50 MB unpacked)" >&2
  rm -rf node_modules/.work; mkdir node_modules/.work
  cp package.json package-lock.json node_modules/.work/
  log=node_modules/.log
  if ! npm install --prefix node_modules/.work --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund --prefer-offline \
      --fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=2000 --fetch-timeout=60000 >"$log" 2>&1 </dev/null; then
    grep -Eq 'E(NOTFOUND|AI_AGAIN|CONN[A-Z]*|TIMEDOUT|NETUNREACH|HOSTUNREACH|NOTCACHED|PROTO)|ERR_SOCKET|FETCH_ERROR|E(401|403|407|429|50[0-9])|network|timeout' "$log" \
      && skip "npm cannot reach its registry: $(grep -m1 -E 'E[A-Z]{4,}|E[0-9]{3}' "$log")"
    cat "$log" >&2; exit 1
  fi
  (cd node_modules/.work && node -e 'require("componentize-qjs"); require("esbuild").transformSync("")' 2>/dev/null) \
    || skip "componentize-qjs or esbuild has no build for this platform"
  rm -rf node_modules/componentize-qjs node_modules/esbuild node_modules/@* node_modules/.bin node_modules/.facetd-[0-9]*
  mv node_modules/.work/node_modules/.bin node_modules/.work/node_modules/* node_modules/
  rm -rf node_modules/.work "$log"
  : >"$stamp"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/hello-ts.XXXXXX")
trap 'rm -rf "$work"' EXIT
node_modules/.bin/esbuild hello.ts --bundle --format=esm --target=es2023 '--external:facetd:*' \
  --log-level=warning --outfile="$work/hello.js"
here=$PWD
(cd "$work" && "$here/node_modules/.bin/componentize-qjs" --wit "$here/../../../wit" --js hello.js --world mixed-facet \
  --stub-wasi --output out.wasm >log 2>&1) || { cat "$work/log" >&2; exit 1; }
mkdir -p "$(dirname "$out")"
mv "$work/out.wasm" "$out"
echo "hello-ts: $(wc -c <"$out" | tr -d ' ') bytes: $out" >&2
