// A guest book: one facet, one table, plain C.
//
//   sign(name, text)     adds an entry, answers its number
//   entries(limit?)      the newest entries, at most `limit` (default 20): [{"id", "name", "text", "at"}, ...]
//   count()              how many there are

#include "facetd.h"

// Run by every method: cheap, and a facet that is started anew need not know what is stored already.
static bool prepare(facet_call *call) {
  return facet_query(call, 0,
                     "CREATE TABLE IF NOT EXISTS entries ("
                     " id INTEGER PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL, at INTEGER NOT NULL)") != NULL;
}

static bool sign(facet_call *call) {
  facet_string_t name, text;
  if (!facet_arg_text(call, "name", 1, 100, &name)) return false;
  if (!facet_arg_text(call, "text", 1, 2000, &text)) return false;
  if (!facet_args_end(call) || !prepare(call)) return false;

  int64_t now = (int64_t)facetd_runtime_clock_now_ms();
  const facet_rows *added = facet_query(call, 1, "INSERT INTO entries (name, text, at) VALUES (?, ?, ?) RETURNING id",
                                        facet_text(name), facet_text(text), facet_int(now));
  return added != NULL && facet_answer_int(call, facet_int_at(added, 0, 0));
}

static bool entries(facet_call *call) {
  int64_t limit = 20;
  if (facet_arg_given(call) && !facet_arg_int(call, "limit", 1, 1000, &limit)) return false;
  if (!facet_args_end(call) || !prepare(call)) return false;

  const facet_rows *found = facet_query(call, 1000, "SELECT id, name, text, at FROM entries ORDER BY id DESC LIMIT ?", facet_int(limit));
  if (found == NULL) return false;

  facet_json out = {0};
  facet_json_raw(&out, "[");
  for (size_t i = 0; i < found->rows.len; i++) {
    facet_json_raw(&out, i == 0 ? "{\"id\":" : ",{\"id\":");
    facet_json_int(&out, facet_int_at(found, i, 0));
    facet_json_raw(&out, ",\"name\":");
    facet_json_text(&out, facet_text_at(found, i, 1));
    facet_json_raw(&out, ",\"text\":");
    facet_json_text(&out, facet_text_at(found, i, 2));
    facet_json_raw(&out, ",\"at\":");
    facet_json_int(&out, facet_int_at(found, i, 3));
    facet_json_raw(&out, "}");
  }
  facet_json_raw(&out, "]");
  return facet_answer(call, &out);
}

static bool count(facet_call *call) {
  if (!facet_args_end(call) || !prepare(call)) return false;
  const facet_rows *found = facet_query(call, 1, "SELECT count(*) FROM entries");
  return found != NULL && facet_answer_int(call, facet_int_at(found, 0, 0));
}

const facet_method facet_methods[] = {{"sign", sign}, {"entries", entries}, {"count", count}, {0}};
