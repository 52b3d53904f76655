// A facet in TypeScript, on QuickJS: async exports over blocking imports (world `mixed-facet`).
//
//   greet(name)            "Hello, NAME"
//   remember(key, value)   keeps any JSON value; answers the number of values ever remembered
//   recall(key)            the value, or null
//   count()                how often `remember` was called, from a table

import kv from "facetd:runtime/kv@0.1.0";
import sql, { type Value } from "facetd:runtime/sql@0.1.0";
import type { Answer, Failure, Payload, Stub } from "facetd:runtime/types@0.1.0";
import { decode, encode } from "./utf8";

class Fail extends Error {
  constructor(readonly code: string, message: string) { super(message); }
}

function text(args: unknown[], at: number, name: string): string {
  const value = args[at];
  if (typeof value !== "string") throw new Fail("bad-arguments", `${name} must be a string`);
  return value;
}

function query(statement: string, ...params: Value[]): Value[][] {
  return sql.query(statement, params, 100).rows;
}

function count(): number {
  query("CREATE TABLE IF NOT EXISTS remembered (id INTEGER PRIMARY KEY, key TEXT NOT NULL)");
  const [[cell]] = query("SELECT count(*) FROM remembered");
  return cell.tag === "integer" ? cell.val : 0;
}

const methods: Record<string, (args: unknown[], badge: string) => unknown> = {
  greet: (args) => `Hello, ${text(args, 0, "name")}`,

  remember(args) {
    const key = text(args, 0, "key");
    if (args.length < 2) throw new Fail("bad-arguments", "value is missing");
    kv.put(key, encode(JSON.stringify(args[1])));
    const before = count();
    query("INSERT INTO remembered (key) VALUES (?)", { tag: "text", val: key });
    return before + 1;
  },

  recall(args) {
    const value = kv.get(text(args, 0, "key"));
    return value === null ? null : JSON.parse(decode(value));
  },

  count,
};

function parse(args: Payload): unknown[] {
  if (args.body.length === 0) return [];
  if (args.format !== "json") throw new Fail("bad-arguments", `arguments must be json, not ${args.format}`);
  let value: unknown;
  try {
    value = JSON.parse(decode(args.body));
  } catch (e) {
    throw new Fail("bad-arguments", `arguments are not json: ${(e as Error).message}`);
  }
  if (value === null) return [];
  if (!Array.isArray(value)) throw new Fail("bad-arguments", "arguments must be a json array");
  return value;
}

// Whatever is thrown must leave as a `failure` record: QuickJS traps on anything of another shape.
function failure(thrown: any): Failure {
  const e = thrown?.payload ?? thrown;
  return { code: String(e?.kind ?? e?.code ?? "error"), message: String(e?.message ?? e), detail: null };
}

export const handler = {
  async call(method: string, args: Payload, _stubs: Stub[], badge: string): Promise<Answer> {
    try {
      if (!Object.hasOwn(methods, method)) throw new Fail("no-such-method", `no method \`${method}\`; there are: ${Object.keys(methods).join(", ")}`);
      const value = await methods[method](parse(args), badge);
      return { value: { format: "json", body: encode(JSON.stringify(value ?? null)) }, stubs: [] };
    } catch (e) {
      throw failure(e);
    }
  },
};
