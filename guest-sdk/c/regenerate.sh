#!/bin/sh
# Makes gen/ anew from /wit. To be run when the contract changes; what it writes is checked in.
#
#   cargo install --locked wit-bindgen-cli --version 0.61.1 --no-default-features --features c
#   ./regenerate.sh            # or, with the tool elsewhere: WIT_BINDGEN=/path/to/wit-bindgen ./regenerate.sh
#   ./regenerate.sh --check    # writes nothing; fails if gen/ is not what the contract says
#
# wit-bindgen leaves the type of the component in an object file. Here it becomes a C file with the same custom section,
# so that nothing binary has to be checked in. Needs python3 for that.
set -eu
unset CDPATH
cd "$(dirname "$0")"
tool=${WIT_BINDGEN:-wit-bindgen}
[ "$("$tool" --version)" = "wit-bindgen-cli 0.61.1" ] || { echo "need wit-bindgen-cli 0.61.1, as the Rust SDK does" >&2; exit 1; }
new=$(mktemp -d "${TMPDIR:-/tmp}/gen.XXXXXX")
trap 'rm -rf "$new" "$new.log"' EXIT

for world in blocking-facet full-blocking-facet online-blocking-facet gateway-blocking-facet; do
  "$tool" c ../../wit --world $world --rename-world facet --out-dir "$new/$world" >"$new.log" 2>&1 || { cat "$new.log" >&2; exit 1; }
  python3 - "$new/$world/facet_component_type.o" "$new/$world/component_type.c" $world <<'P'
import sys
source, target, world = sys.argv[1:]
data = open(source, "rb").read()

def leb(at):
    value = shift = 0
    while True:
        byte = data[at]; at += 1
        value |= (byte & 127) << shift; shift += 7
        if byte < 128:
            return value, at

at, section = 8, None
while at < len(data):
    kind = data[at]
    size, at = leb(at + 1)
    if kind == 0:
        length, start = leb(at)
        name = data[start:start + length].decode()
        if name.startswith("component-type"):
            section = name, data[start + length:at + size]
    at += size
name, body = section

def text(chunk):
    out = ""
    for byte in chunk:
        char = chr(byte)
        out += char if char.isascii() and (char.isalnum() or char in " -_.:/@[]#*(){}<>=+,;") else "\\\\%03o" % byte
    return out

with open(target, "w") as file:
    file.write(f"// The type of the world `{world}`, in the section where the linker looks for it. Written by regenerate.sh.\n\n")
    file.write('__asm__(".section \\".custom_section.%s\\",\\"\\",@\\n"\n' % name)
    for i in range(0, len(body), 64):
        file.write('        ".ascii \\"%s\\"\\n"\n' % text(body[i:i + 64]))
    file.write('        ".section .text.component_type,\\"\\",@\\n");\n\n')
    file.write("// The bindings refer to this, so that the linker takes this file in.\n")
    file.write("void __component_type_object_force_link_facet(void) {}\n")
P
  rm "$new/$world/facet_component_type.o"
done

if [ "${1:-}" = --check ]; then
  diff -r "$new" gen >/dev/null || { echo "guest-sdk/c/gen is not what /wit says: run guest-sdk/c/regenerate.sh" >&2; exit 1; }
else
  rm -rf gen
  mv "$new" gen
  chmod 755 gen
fi
