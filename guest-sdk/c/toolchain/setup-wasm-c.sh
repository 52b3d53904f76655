#!/bin/sh
# setup-wasm-c.sh - find, or else fetch, a C compiler for WebAssembly.
#
# Prints one line on stdout: the path of a command that takes clang's arguments and compiles C for wasm32 (no libc, no
# headers but the compiler's own). Everything else goes to stderr. Tried in this order:
#
#   1. $FACETD_CLANG, if set; nothing else then
#   2. a clang (or zig) on this machine that can do wasm32                        nothing fetched
#   3. the PyPI wheel `ziglang`, pinned by version and hash                       100 MB fetched, 200 MB on disk
#   4. Debian's or Ubuntu's clang packages, unpacked and not installed            about 45 MB fetched, 190 MB on disk
#
# The wheel comes before the smaller packages because it is the same everywhere: any Linux or macOS with pip, no apt
# lists, one version. FACETD_WASM_C_FROM=clang|wheel|debian picks one. The result lies in
# ${FACETD_TOOLCHAIN_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/facetd}/wasm-c; later runs take it from there, in 10 ms.
# Neither Python's packages nor the system's are touched, and root is not needed.
set -eu
unset CDPATH

ZIG_VERSION=0.17.1
ZIG_HASHES='
  ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54 x86-64 Linux
  b7c5f02fccd40f89b999ee16a1f5ddced56e6182370f8affe494bcf8a28cf07e aarch64 Linux
  4e0b4b9c02b8d0d220e9948010f860b62ff11d96abb39762eca5fa2ef3f7bc97 x86-64 macOS
  09953b6af7f64168b915180a42774f520f92d86ef6331b28e33915c7e1f0bb23 arm64 macOS'

say() { printf 'wasm-c: %s\n' "$*" >&2; }

base=${FACETD_TOOLCHAIN_DIR:-}
[ -n "$base" ] || { [ -n "${XDG_CACHE_HOME:-}" ] && base=$XDG_CACHE_HOME/facetd; } || base=${HOME:?neither FACETD_TOOLCHAIN_DIR nor HOME is set}/.cache/facetd
mkdir -p "$base/wasm-c"
dir=$(cd "$base/wasm-c" && pwd)
cc=$dir/wasm-cc

# Does "$@" compile C for wasm32? Tries what the SDK needs: the compiler's headers, attributes, a custom section.
works() {
  probe=$(mktemp -d "$dir/probe.XXXXXX")
  cat >"$probe/a.c" <<'C'
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
__attribute__((__import_module__("m"), __import_name__("i"))) extern int32_t i(void *at, size_t length);
__attribute__((__export_name__("e"))) bool e(void *at, size_t length) { return i(at, length) == 3; }
__asm__(".section \".custom_section.probe:x\",\"\",@\n.ascii \"a\\000\"\n.section .text.none,\"\",@\n");
C
  ok=1
  "$@" -c "$probe/a.c" -o "$probe/a.o" >"$probe/log" 2>&1 && [ "$(od -An -tx1 -N4 "$probe/a.o" | tr -d ' \n')" = 0061736d ] || ok=0
  reason=$(grep -m 1 . "$probe/log" || true)
  rm -rf "$probe"
  [ $ok = 1 ]
}

# Makes "$@" the compiler: wasm-cc appears whole or not at all. `environment` holds assignments for its use.
use() {
  {
    echo '#!/bin/sh'
    echo "# written by setup-wasm-c.sh; remove this file to choose a compiler anew"
    [ -z "${environment:-}" ] || printf '%s\n' "$environment"
    printf 'exec'; for word in "$@"; do printf " '%s'" "$word"; done; echo ' "$@"'
  } >"$cc.new"
  chmod +x "$cc.new"
  if works "$cc.new"; then mv "$cc.new" "$cc"; say "using $*"; return 0; fi
  rm -f "$cc.new"
  return 1
}

clang_arguments='--target=wasm32 -ffreestanding -nostdlibinc'
zig_arguments='-target wasm32-freestanding -ffreestanding -nostdlibinc'

# ---- a compiler that is there ------------------------------------------------------------------------------------

find_clang() {
  for c in clang $(for v in 23 22 21 20 19 18 17 16 15 14 13; do echo "clang-$v /usr/lib/llvm-$v/bin/clang"; done) \
      ${WASI_SDK_PATH:+"$WASI_SDK_PATH/bin/clang"} /opt/wasi-sdk/bin/clang /opt/homebrew/opt/llvm/bin/clang /usr/local/opt/llvm/bin/clang; do
    c=$(command -v "$c" 2>/dev/null) || continue
    use "$c" $clang_arguments && return 0
  done
  c=$(command -v zig 2>/dev/null) || return 1
  zig_environment && use "$c" cc $zig_arguments
}

zig_environment() {
  mkdir -p "$dir/zig-cache"
  environment="ZIG_GLOBAL_CACHE_DIR='$dir/zig-cache' ZIG_LOCAL_CACHE_DIR='$dir/zig-cache'
export ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR
unset ZIG_LIB_DIR"
}

# ---- the wheel ---------------------------------------------------------------------------------------------------

fetch_wheel() {
  zig=$dir/ziglang-$ZIG_VERSION
  if [ ! -x "$zig/zig" ]; then
    py=
    for c in python3 python; do "$c" -m pip --version >/dev/null 2>&1 && { py=$c; break; }; done
    if [ -z "$py" ]; then reason="no python3 with pip"; return 1; fi
    say "fetching ziglang $ZIG_VERSION from PyPI (100 MB)"
    rm -rf "$dir/wheel" "$zig.new"; mkdir -p "$dir/wheel" "$zig.new"
    { printf 'ziglang==%s' "$ZIG_VERSION"
      echo "$ZIG_HASHES" | while read -r hash _; do [ -z "$hash" ] || printf ' --hash=sha256:%s' "$hash"; done; echo; } >"$dir/wheel/requirements.txt"
    if ! "$py" -m pip download --quiet --disable-pip-version-check --no-input --no-cache-dir --no-deps --only-binary=:all: --require-hashes \
        --timeout 30 --retries 2 -d "$dir/wheel" -r "$dir/wheel/requirements.txt" >"$dir/wheel/log" 2>&1 </dev/null; then
      reason="pip: $(grep -m 1 '^ERROR' "$dir/wheel/log" || tail -n 1 "$dir/wheel/log")"; rm -rf "$dir/wheel"; return 1
    fi
    say "unpacking"
    # The compiler and its headers are all that is wanted: half of the wheel is C libraries. zig looks for std.zig to find itself.
    "$py" - "$dir/wheel" "$zig.new" <<'P' || { reason="the wheel could not be unpacked"; rm -rf "$dir/wheel" "$zig.new"; return 1; }
import glob, os, shutil, sys, zipfile
source, target = sys.argv[1:]
with zipfile.ZipFile(glob.glob(source + "/ziglang-*.whl")[0]) as wheel:
    for name in wheel.namelist():
        if name in ("ziglang/zig", "ziglang/LICENSE", "ziglang/lib/std/std.zig") or name.startswith("ziglang/lib/include/"):
            path = os.path.join(target, *name.split("/")[1:])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with wheel.open(name) as data, open(path, "wb") as file:
                shutil.copyfileobj(data, file)
os.chmod(target + "/zig", 0o755)
P
    rm -rf "$dir/wheel" "$zig"; mv "$zig.new" "$zig"
  fi
  zig_environment && use "$zig/zig" cc $zig_arguments
}

# ---- Debian's packages -------------------------------------------------------------------------------------------

known() { LC_ALL=C apt-cache policy "$1" 2>/dev/null | grep -q '^  Candidate: [0-9]'; }

fetch_debian() {
  for c in apt-get apt-cache dpkg-deb dpkg-query; do command -v $c >/dev/null || { reason="no $c here"; return 1; }; done
  version=
  for v in 19 20 18 21 17 16 15 14; do known clang-$v && { version=$v; break; }; done
  [ -n "$version" ] || { reason="apt knows no clang (apt-get update?)"; return 1; }
  tree=$dir/debian-clang-$version
  if [ ! -x "$tree/usr/lib/llvm-$version/bin/clang" ]; then
    # The compiler, its headers, and the shared libraries that it needs and the system lacks.
    cpp=libclang-cpp$version; known $cpp || cpp=$(echo "$cpp"t64)
    packages="clang-$version libclang-common-$version-dev" round="libllvm$version $cpp" depth=0
    while [ -n "$round" ] && [ $depth -lt 5 ]; do
      packages="$packages $round"; next=
      for p in $(LC_ALL=C apt-cache depends --important $round 2>/dev/null | sed -n 's/^ *Depends: \(lib[^<: ]*\)$/\1/p' | sort -u); do
        case " $packages $next " in *" $p "*) continue ;; esac
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || next="$next $p"
      done
      round=${next# } depth=$((depth + 1))
    done
    say "fetching $packages (about 45 MB)"
    rm -rf "$dir/debs" "$tree.new"; mkdir -p "$dir/debs" "$tree.new"
    sandbox=; [ "$(id -u)" != 0 ] || sandbox='-o APT::Sandbox::User=root'
    if ! (cd "$dir/debs" && apt-get -qq $sandbox download $packages >log 2>&1 </dev/null); then
      reason="apt-get download: $(grep -m 1 '^E:' "$dir/debs/log" || tail -n 1 "$dir/debs/log")"; rm -rf "$dir/debs"; return 1
    fi
    say "unpacking"
    for deb in "$dir"/debs/*.deb; do dpkg-deb -x "$deb" "$tree.new" || { reason="cannot unpack $deb"; return 1; }; done
    rm -rf "$dir/debs" "$tree"; mv "$tree.new" "$tree"
  fi
  environment="LD_LIBRARY_PATH='$(ls -d "$tree"/usr/lib/*-linux-gnu*):$tree/usr/lib/llvm-$version/lib'\"\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}\"
export LD_LIBRARY_PATH"
  headers=$(ls -d "$tree/usr/lib/llvm-$version/lib/clang"/*/include | head -n 1)
  use "$tree/usr/lib/llvm-$version/bin/clang" $clang_arguments -resource-dir "${headers%/include}"
}

# ---- which one ---------------------------------------------------------------------------------------------------

if [ -n "${FACETD_CLANG:-}" ]; then
  cc=$dir/wasm-cc.$(echo "$FACETD_CLANG" | cksum | cut -d ' ' -f 1)
  [ -x "$cc" ] || use "$FACETD_CLANG" $clang_arguments || { say "error: FACETD_CLANG=$FACETD_CLANG cannot compile for wasm32: $reason"; exit 1; }
  echo "$cc"; exit 0
fi

# The compiler behind wasm-cc may be gone by now: the last word of its quoted command that starts the line tells.
ready() {
  [ -x "$cc" ] || return 1
  program=$(sed -n "s/^exec '\([^']*\)'.*/\1/p" "$cc")
  [ -x "$program" ]
}

from=${FACETD_WASM_C_FROM:-clang wheel debian}
[ -z "${FACETD_WASM_C_FROM:-}" ] || cc=$dir/wasm-cc.$from
if ready; then echo "$cc"; exit 0; fi

# One at a time: two would fetch twice, or pull the files from under each other.
if command -v flock >/dev/null 2>&1; then
  exec 9>"$dir/lock"
  flock -n 9 || { say "waiting for another setup-wasm-c.sh"; flock 9; }
else
  waited=0
  until mkdir "$dir/lock.d" 2>/dev/null; do
    [ $waited -lt 600 ] || { say "error: $dir/lock.d has been there for ten minutes; remove it if nothing runs"; exit 1; }
    waited=$((waited + 1)); sleep 1
  done
  trap 'rmdir "$dir/lock.d"' EXIT
  trap 'exit 130' INT TERM
fi
if ready; then echo "$cc"; exit 0; fi

reason= why=
for way in $from; do
  environment=
  case $way in
    clang) find_clang && break; why="$why
  a clang on this machine: none that compiles for wasm32${reason:+ ($reason)}" ;;
    wheel) fetch_wheel && break; why="$why
  PyPI's ziglang: $reason" ;;
    debian) fetch_debian && break; why="$why
  Debian's clang: $reason" ;;
    *) say "error: FACETD_WASM_C_FROM is clang, wheel or debian"; exit 1 ;;
  esac
done
if ! ready; then
  say "error: no C compiler for WebAssembly could be found or fetched.$why
Any clang with the wasm32 target will do (Debian: apt install clang; macOS: brew install llvm; wasi-sdk has one, too):
install one, or set FACETD_CLANG to its path, and run this again."
  exit 1
fi
echo "$cc"
