#!/usr/bin/env bash
# setup-wasm-rust.sh: makes PREFIX/bin/cargo-wasm, a stand-in for cargo that builds facets.
#
#     PREFIX/bin/cargo-wasm build --release --target wasm32-unknown-unknown
#
# writes TARGET_DIR/wasm32-unknown-unknown/release/NAME.wasm, which is a component already: the linker is
# wasm-component-ld. The rule kept here: once PREFIX is made, nothing of the caller's environment decides what is built.
# The script may be called from inside `cargo run` or `cargo test`, by two processes at once, and again at any time; when
# everything is there it takes no noticeable time.
#
# Two ways to get there (--mode chooses):
#   installed  the active Rust has a standard library for wasm32-unknown-unknown. Where it has not and rustup is there,
#              `rustup target add` is tried first.
#   debian     otherwise: Debian's rustc-web packages are unpacked into PREFIX without being installed, and the standard
#              library is built from the sources in them with the crates that they bring along. Needs apt-get with fetched
#              lists, dpkg-deb, cargo and cc; no root. Fetches 140 MB, takes 650 MB of disk and one to three minutes.
set -euo pipefail

TARGET=wasm32-unknown-unknown
LAYOUT=1 # raise it when what a PREFIX holds changes: older ones are made anew

usage() {
  cat <<'E'
usage: setup-wasm-rust.sh [--prefix DIR] [--mode auto|installed|debian] [--force]
  --prefix DIR  where everything goes; default $FACETD_TOOLCHAIN_DIR, else ~/.cache/facetd/wasm-rust
  --mode MODE   default auto: installed if that works, else debian
  --force       make it anew
E
}

say() { printf '[%3ds] %s\n' "$SECONDS" "$*" >&2; }
die() { say "error: $*"; exit 1; }

PREFIX=${FACETD_TOOLCHAIN_DIR:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/facetd/wasm-rust}
MODE=auto FORCE=0
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) PREFIX=${2:?--prefix needs a folder}; shift ;;
    --mode) MODE=${2:?--mode needs a mode}; shift ;;
    --force) FORCE=1 ;;
    -h|--help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
case $MODE in auto|installed|debian) ;; *) usage >&2; exit 2 ;; esac

# What an outer cargo or an editor sets for the host must not reach the guest's compiler. RUSTUP_TOOLCHAIN stays: it says
# which Rust is the active one.
unset CARGO_BUILD_TARGET CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR CARGO_BUILD_RUSTC CARGO_BUILD_RUSTFLAGS \
  CARGO_ENCODED_RUSTFLAGS RUSTC RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER RUSTDOC RUSTFLAGS

# ---- is it there already? ---------------------------------------------------

# Line 1 of PREFIX/complete: layout and mode; line 2: the rustc in use. It is written last.
complete() {
  [ "$FORCE" = 0 ] && [ -x "$PREFIX/bin/cargo-wasm" ] && [ -r "$PREFIX/complete" ] || return 1
  local layout mode rustc
  { read -r layout mode && read -r rustc; } < "$PREFIX/complete" || return 1
  [ "$layout" = "$LAYOUT" ] && { [ "$MODE" = auto ] || [ "$MODE" = "$mode" ]; } && [ -x "$rustc" ] \
    && compgen -G "$(dirname "$rustc")/../lib/rustlib/$TARGET/lib/libstd-*.rlib" > /dev/null
}

ready() { say "ready: $PREFIX/bin/cargo-wasm build --release --target $TARGET"; }

mkdir -p "$PREFIX"
PREFIX=$(cd "$PREFIX" && pwd)
TC=$PREFIX/toolchain
if complete; then ready; exit 0; fi

# One process makes it, the others wait and find it made. The lock ends with the process.
if command -v flock > /dev/null; then
  exec 9> "$PREFIX/lock"
  flock -n 9 || { say "another process is at it; waiting"; flock 9; }
  if complete; then ready; exit 0; fi
fi

# ---- the wrapper ------------------------------------------------------------

CARGO_BIN=$(command -v cargo || true)
[ -n "$CARGO_BIN" ] || CARGO_BIN=${CARGO:-}
[ -n "$CARGO_BIN" ] || die "no cargo in PATH; install Rust first (https://rustup.rs)"

# Behind rustup's proxies the real programs, so that no rust-toolchain file, override or variable swaps them later.
sysroot_of() { "$1" --print sysroot; }
real_cargo() {
  local found
  if command -v rustc > /dev/null && found=$(sysroot_of rustc)/bin/cargo && [ -x "$found" ]; then
    printf '%s\n' "$found"
  else
    printf '%s\n' "$CARGO_BIN"
  fi
}

# A word for sh, in single quotes.
quote() { printf "'%s'" "${1//\'/\'\\\'\'}"; }

write_wrapper() { # MODE SYSROOT
  local mode=$1 sysroot=$2 rustc=$2/bin/rustc host ld
  host=$("$rustc" -vV | sed -n 's/^host: //p')
  ld=$sysroot/lib/rustlib/$host/bin/wasm-component-ld
  [ -x "$ld" ] || ld=$(command -v wasm-component-ld) || die "no wasm-component-ld; cargo install wasm-component-ld"
  mkdir -p "$PREFIX/bin"
  cat > "$PREFIX/bin/cargo-wasm.new" <<E
#!/bin/sh
# Written by setup-wasm-rust.sh (mode: $mode). Behaves as cargo, with a compiler and linker for $TARGET.
unset CARGO_BUILD_TARGET CARGO_BUILD_RUSTC CARGO_BUILD_RUSTFLAGS CARGO_ENCODED_RUSTFLAGS RUSTFLAGS
unset RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER RUSTUP_TOOLCHAIN CARGO
export RUSTC=$(quote "$rustc") RUSTDOC=$(quote "$sysroot/bin/rustdoc")
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$(quote "$ld")
# No path of this user in the guest. Spaces would separate flags here, so a home with a space keeps its paths.
home=\${CARGO_HOME:-\$HOME/.cargo}
case \$home in
  *[[:space:]]*) ;;
  *) export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="--remap-path-prefix=\$home/registry/src=/cargo \${CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS:-}" ;;
esac
exec $(quote "$(real_cargo)") "\$@"
E
  chmod +x "$PREFIX/bin/cargo-wasm.new"
  mv "$PREFIX/bin/cargo-wasm.new" "$PREFIX/bin/cargo-wasm"
  printf '%s %s\n%s\n' "$LAYOUT" "$mode" "$rustc" > "$PREFIX/complete.new"
  mv "$PREFIX/complete.new" "$PREFIX/complete"
}

has_std() { # RUSTC
  local dir
  dir=$("$1" --print target-libdir --target "$TARGET" 2> /dev/null) || return 1
  compgen -G "$dir/libstd-*.rlib" > /dev/null
}

# ---- mode installed ---------------------------------------------------------

installed() {
  command -v rustc > /dev/null || return 1
  if ! has_std rustc && command -v rustup > /dev/null; then
    say "rustup target add $TARGET"
    # Without a network rustup tries for long; then the other way is quicker.
    local limit=(env); ! command -v timeout > /dev/null || limit=(timeout 120)
    "${limit[@]}" rustup target add "$TARGET" >&2 || say "that did not work; going on"
  fi
  has_std rustc || return 1
  write_wrapper installed "$(sysroot_of rustc)"
}

# ---- mode debian ------------------------------------------------------------

candidate() { apt-cache policy "$1" 2> /dev/null | sed -n 's/^  Candidate: //p' | grep -v '(none)' || true; }
# The first dependency of package $1 whose name matches $2.
dependency() { apt-cache depends --important "$1" 2> /dev/null | sed -n 's/^ *Depends: //p' | grep -E "$2" | head -n 1 || true; }

fetch() {
  command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null \
    || die "this Rust cannot build for $TARGET, and this is no Debian; run: rustup target add $TARGET"
  if [ -z "$(candidate rustc-web)" ] && [ "$(id -u)" = 0 ]; then say "apt-get update"; apt-get -qq update; fi
  [ -n "$(candidate rustc-web)" ] \
    || die "no package rustc-web (Debian 12 with its security suite has it); run apt-get update, or: rustup target add $TARGET"
  # Followed by dependency, so that a later version of Rust is found, too.
  local libstd llvm package packages options=()
  libstd=$(dependency libstd-rust-web-dev '^libstd-rust-web-[0-9]')
  llvm=$(dependency "${libstd:-none}" '^libllvm[0-9]+$')
  [ -n "$llvm" ] || die "cannot tell which LLVM rustc-web needs"
  packages=(rustc-web "$libstd" libstd-rust-web-dev rust-web-src rust-web-llvm "$llvm" "lld-${llvm#libllvm}")
  for package in "${packages[@]}"; do [ -n "$(candidate "$package")" ] || die "package $package is not available"; done
  say "fetching rustc-web $(candidate rustc-web) and what it needs"
  rm -rf "$PREFIX/debs"; mkdir -p "$PREFIX/debs"
  # As root apt would fetch as another user, who may not write here. It checks signatures and hashes.
  [ "$(id -u)" != 0 ] || options=(-o APT::Sandbox::User=root)
  (cd "$PREFIX/debs" && apt-get -qq "${options[@]}" download "${packages[@]}")
  say "fetched $(du -sh "$PREFIX/debs" | cut -f1)"
}

# Sorts the packages into the layout of a Rust toolchain. The sysroot is found from the place of the driver library, so the
# folder may be anywhere.
unpack() {
  local raw=$PREFIX/raw new=$TC.new deb program bin
  rm -rf "$raw" "$new" "$PREFIX/std"; mkdir -p "$raw" "$new/bin" "$new/libexec" "$new/lib" "$PREFIX/std"
  for deb in "$PREFIX"/debs/*.deb; do
    case ${deb##*/} in
      rust-web-src_*)
        dpkg-deb --fsys-tarfile "$deb" \
          | tar -x -C "$PREFIX/std" --strip-components=4 --wildcards './usr/src/rustc-*/library' ;;
      *) dpkg-deb -x "$deb" "$raw" ;;
    esac
  done
  mv "$raw/usr/bin/rustc" "$raw/usr/bin/rustdoc" "$new/libexec/"
  mv "$raw/usr/lib/rustlib" "$new/lib/"
  cp -a "$raw"/usr/lib/*-linux-gnu*/librustc_driver-*.so "$raw"/usr/lib/*-linux-gnu*/libLLVM* "$new/lib/"
  for program in rustc rustdoc; do
    cat > "$new/bin/$program" <<E
#!/bin/sh
root=$(quote "$TC")
LD_LIBRARY_PATH="\$root/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" exec "\$root/libexec/$program" "\$@"
E
    chmod +x "$new/bin/$program"
  done
  bin=$(echo "$new"/lib/rustlib/*-linux-gnu*/bin)
  rm -rf "$bin/gcc-ld" "$new/lib/rustlib/src" "$new/lib/rustlib/etc"; find "$bin" -type l -delete; mkdir -p "$bin/gcc-ld"
  cp "$(echo "$raw"/usr/lib/llvm-*/bin/lld)" "$bin/rust-lld"
  ln -s ../rust-lld "$bin/gcc-ld/wasm-ld"; ln -s rust-lld "$bin/wasm-ld"
  rm -rf "$TC"; mv "$new" "$TC"; rm -rf "$raw" "$PREFIX/debs"
  say "unpacked $("$TC/bin/rustc" -V)"
}

# Builds the standard library as a dependency of an empty crate, and puts it where rustc looks for it. The crate's folder is
# the parent of `library`, so that cargo hashes relative paths and the result does not depend on PREFIX.
build_std() {
  local work=$PREFIX/std library=$PREFIX/std/library lib=$TC/lib/rustlib/$TARGET/lib hash
  hash=$("$TC/bin/rustc" -vV | sed -n 's/^commit-hash: //p')
  rm -rf "$work/target"; mkdir -p "$work/src"
  printf '#![feature(no_core)]\n#![allow(internal_features)]\n#![no_core]\n' > "$work/src/lib.rs"
  cp "$library/Cargo.lock" "$work/Cargo.lock"
  cat > "$work/Cargo.toml" <<'E'
[package]
name = "wasm-sysroot"
version = "0.0.0"
edition = "2021"
[workspace]
exclude = ["library"]
[dependencies]
sysroot = { path = "library/sysroot", default-features = false }
[patch.crates-io]
rustc-std-workspace-core = { path = "library/rustc-std-workspace-core" }
rustc-std-workspace-alloc = { path = "library/rustc-std-workspace-alloc" }
rustc-std-workspace-std = { path = "library/rustc-std-workspace-std" }
[profile.release]
opt-level = "s"
panic = "abort"
codegen-units = 4
[profile.release.package.compiler_builtins]
debug-assertions = false
overflow-checks = false
codegen-units = 16
E
  printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "%s/vendor"\n' "$library" \
    > "$work/vendor.toml"
  say "building the standard library"
  # Encoded flags are separated by 0x1f, so that a path may hold spaces.
  local flags s=$'\x1f' home=${CARGO_HOME:-${HOME:-}/.cargo}
  flags="-Zforce-unstable-if-unmarked${s}-Cembed-bitcode=yes"
  flags+="${s}--remap-path-prefix=$library=/rustc/$hash/library${s}--remap-path-prefix=$home/registry/src=/rust/deps"
  (cd "$work" && RUSTC="$TC/bin/rustc" RUSTC_BOOTSTRAP=1 CARGO_ENCODED_RUSTFLAGS=$flags \
    __CARGO_DEFAULT_LIB_METADATA=wasmsysroot \
    "$(real_cargo)" build -q --release --target "$TARGET" --target-dir "$work/target" --offline \
    --config "$work/vendor.toml" 2> "$work/log") || { cat "$work/log" >&2; die "the standard library did not build"; }
  rm -rf "${lib%/lib}"; mkdir -p "$lib"
  cp "$work/target/$TARGET/release/deps"/*.rlib "$lib/"
  rm -rf "$lib"/libwasm_sysroot-*.rlib "$work/target"
}

debian() {
  if [ "$FORCE" = 1 ] || ! "$TC/bin/rustc" -V > /dev/null 2>&1 || ! [ -d "$PREFIX/std/library/sysroot" ]; then
    fetch
    unpack
  fi
  if [ "$FORCE" = 1 ] || ! has_std "$TC/bin/rustc"; then build_std; fi
  write_wrapper debian "$TC"
}

# ---- main -------------------------------------------------------------------

case $MODE in
  installed) installed || die "this Rust cannot build for $TARGET; run: rustup target add $TARGET" ;;
  debian) debian ;;
  auto) installed || debian ;;
esac
ready
