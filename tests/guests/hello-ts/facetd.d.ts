// The part of /wit that this guest uses, as componentize-qjs shows it to JavaScript.
// A function that answers `result<T, call-error>` returns the T or throws the call-error.

declare module "facetd:runtime/types@0.1.0" {
  export type Format = "bytes" | "json" | "cbor";
  export interface Payload { format: Format; body: Uint8Array }
  export interface CallError {
    kind: string; code: string; message: string;
    outcome: "not-applied" | "applied" | "unknown"; detail: Payload | null;
  }
  export interface Failure { code: string; message: string; detail: Payload | null }
  export interface Stub { dup(): Stub; isObject(): boolean }
  export interface Answer { value: Payload; stubs: Stub[] }
}

declare module "facetd:runtime/kv@0.1.0" {
  const kv: {
    get(key: string): Uint8Array | null;
    put(key: string, value: Uint8Array): void;
    delete(key: string): boolean;
  };
  export default kv;
}

declare module "facetd:runtime/sql@0.1.0" {
  /** `integer` is a JavaScript number here: exact only up to 2^53. */
  export type Value =
    | { tag: "null" } | { tag: "integer"; val: number } | { tag: "real"; val: number }
    | { tag: "text"; val: string } | { tag: "blob"; val: Uint8Array };
  export interface Rows { columns: string[]; rows: Value[][]; more: boolean }
  const sql: { query(text: string, params: Value[], maxRows: number): Rows };
  export default sql;
}
