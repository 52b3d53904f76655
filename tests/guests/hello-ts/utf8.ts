// TextEncoder and TextDecoder are not there in QuickJS: UTF-8 by hand. What is broken becomes U+FFFD.

export function encode(text: string): Uint8Array {
  const out: number[] = [];
  for (const char of text) {
    let c = char.codePointAt(0)!;
    if (c >= 0xd800 && c <= 0xdfff) c = 0xfffd; // half of a surrogate pair
    if (c < 0x80) out.push(c);
    else if (c < 0x800) out.push(0xc0 | (c >> 6), 0x80 | (c & 63));
    else if (c < 0x10000) out.push(0xe0 | (c >> 12), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
    else out.push(0xf0 | (c >> 18), 0x80 | ((c >> 12) & 63), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
  }
  return new Uint8Array(out);
}

export function decode(bytes: Uint8Array): string {
  let out = "";
  for (let i = 0; i < bytes.length; ) {
    const first = bytes[i++];
    if (first < 0x80) { out += String.fromCharCode(first); continue; }
    const more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    let c = first & (0x3f >> more);
    let seen = 0;
    while (seen < more && i < bytes.length && (bytes[i] & 0xc0) === 0x80) { c = (c << 6) | (bytes[i++] & 63); seen++; }
    const least = [0, 0x80, 0x800, 0x10000][more];
    const good = first >= 0xc2 && first <= 0xf4 && seen === more && c >= least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
    out += good ? String.fromCodePoint(c) : "\ufffd";
  }
  return out;
}
