// The helpers of facetd.h, and the exported handler that finds the method.
#include "facetd.h"
#include <stdlib.h>
#include <string.h>

// ---- Memory: what a call owns is freed with it ---------------------------------------------------------------------

typedef struct facet_owned {
  struct facet_owned *next;
  bool has_rows;
  facet_rows rows;
  uint8_t bytes[];
} facet_owned;

void *facet_alloc(size_t size) {
  void *fresh = malloc(size);
  if (fresh == NULL) abort();
  return fresh;
}

static facet_owned *own(facet_call *call, size_t bytes) {
  facet_owned *fresh = facet_alloc(sizeof(facet_owned) + bytes);
  *fresh = (facet_owned){.next = call->owned};
  return call->owned = fresh;
}

static void free_owned(facet_call *call) {
  while (call->owned != NULL) {
    facet_owned *gone = call->owned;
    call->owned = gone->next;
    if (gone->has_rows) facetd_runtime_sql_rows_free(&gone->rows);
    free(gone);
  }
}

// ---- Text ----------------------------------------------------------------------------------------------------------

facet_string_t facet_literal(const char *text) { return (facet_string_t){(uint8_t *)text, strlen(text)}; }

bool facet_equal(facet_string_t a, const char *b) { return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0; }

bool facet_utf8(const uint8_t *bytes, size_t count) {
  for (size_t i = 0; i < count;) {
    uint8_t first = bytes[i++];
    if (first < 0x80) continue;
    size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || count - i < more) return false;
    uint32_t point = first & (0x3fu >> more);
    for (size_t end = i + more; i < end; i++) {
      if ((bytes[i] & 0xc0) != 0x80) return false;
      point = point << 6 | (bytes[i] & 0x3f);
    }
    if ((more == 2 && point < 0x800) || (more == 3 && point < 0x10000)) return false; // longer than needed
    if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return false;
  }
  return true;
}

static facet_string_t join(facet_string_t *parts, size_t count) {
  facet_string_t all = {0};
  for (size_t i = 0; i < count; i++) all.len += parts[i].len;
  all.ptr = facet_alloc(all.len);
  size_t at = 0;
  for (size_t i = 0; i < count; at += parts[i++].len) memcpy(all.ptr + at, parts[i].ptr, parts[i].len);
  return all;
}

// ---- Answers -------------------------------------------------------------------------------------------------------

static bool fail_owned(facet_call *call, facet_string_t code, facet_string_t message) {
  facetd_runtime_types_failure_free(&call->failure); // the last failure counts
  call->failure = (facetd_runtime_types_failure_t){.code = code, .message = message};
  return false;
}

bool facet_fail(facet_call *call, const char *code, const char *message) {
  facet_string_t c = facet_literal(code), m = facet_literal(message);
  return fail_owned(call, join(&c, 1), join(&m, 1));
}

bool facet_fail_with(facet_call *call, facetd_runtime_types_call_error_t *error) {
  fail_owned(call, join(&error->kind, 1), join(&error->message, 1));
  facetd_runtime_types_call_error_free(error);
  return false;
}

bool facet_answer(facet_call *call, facet_json *json) {
  if (json->len == 0) facet_json_raw(json, "null");
  facet_list_u8_free(&call->value.body);
  call->value = (facetd_runtime_types_payload_t){FACETD_RUNTIME_TYPES_FORMAT_JSON, {json->ptr, json->len}};
  *json = (facet_json){0};
  return true;
}

bool facet_answer_int(facet_call *call, int64_t value) {
  facet_json out = {0};
  facet_json_int(&out, value);
  return facet_answer(call, &out);
}

void facet_json_bytes(facet_json *json, const void *from, size_t count) {
  if (json->capacity - json->len < count) {
    size_t capacity = (json->len + count) * 2 + 64;
    json->ptr = realloc(json->ptr, capacity);
    if (json->ptr == NULL) abort();
    json->capacity = capacity;
  }
  memcpy(json->ptr + json->len, from, count);
  json->len += count;
}

void facet_json_raw(facet_json *json, const char *text) { facet_json_bytes(json, text, strlen(text)); }

void facet_json_text(facet_json *json, facet_string_t text) {
  static const char hex[] = "0123456789abcdef";
  facet_json_raw(json, "\"");
  for (size_t i = 0; i < text.len; i++) {
    uint8_t c = text.ptr[i];
    if (c == '"' || c == '\\') facet_json_bytes(json, (char[]){'\\', (char)c}, 2);
    else if (c == '\n') facet_json_raw(json, "\\n");
    else if (c < 0x20) facet_json_bytes(json, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    else facet_json_bytes(json, &c, 1);
  }
  facet_json_raw(json, "\"");
}

void facet_json_int(facet_json *json, int64_t value) {
  uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
  bool quoted = left >= 1ull << 53;
  char digits[24];
  size_t at = sizeof digits;
  if (quoted) digits[--at] = '"';
  do digits[--at] = (char)('0' + left % 10); while ((left /= 10) > 0);
  if (value < 0) digits[--at] = '-';
  if (quoted) digits[--at] = '"';
  facet_json_bytes(json, digits + at, sizeof digits - at);
}

// ---- Arguments -----------------------------------------------------------------------------------------------------

static bool bad(facet_call *call, const char *name, const char *what) {
  facet_string_t parts[] = {facet_literal(name), facet_literal(what)};
  facet_string_t code = facet_literal("bad-arguments");
  return fail_owned(call, join(&code, 1), join(parts, 2));
}

static bool not_json(facet_call *call) { return bad(call, "", "arguments are not a JSON array"); }

static void skip_space(facet_call *call) {
  while (call->at < call->end && (*call->at == ' ' || *call->at == '\t' || *call->at == '\n' || *call->at == '\r')) call->at++;
}

static bool take(facet_call *call, char c) {
  skip_space(call);
  if (call->at == call->end || *call->at != c) return false;
  call->at++;
  return true;
}

static bool at_end(facet_call *call) {
  skip_space(call);
  return call->at == call->end || *call->at == ']';
}

// Goes to the next argument. False: there is none, or a comma is missing.
static bool next_argument(facet_call *call, const char *name) {
  if (at_end(call)) return bad(call, name, " is missing");
  if (!call->first && !take(call, ',')) return not_json(call);
  call->first = false;
  skip_space(call);
  return true;
}

static bool open_arguments(facet_call *call, facetd_runtime_types_payload_t *args) {
  call->at = call->end = NULL;
  call->first = true;
  if (args->body.len == 0) return true; // no arguments
  call->at = args->body.ptr;
  call->end = args->body.ptr + args->body.len;
  if (args->format != FACETD_RUNTIME_TYPES_FORMAT_JSON) return bad(call, "", "arguments must be JSON");
  if (!facet_utf8(args->body.ptr, args->body.len)) return bad(call, "", "arguments are not UTF-8");
  if (args->body.len == 4 && memcmp(args->body.ptr, "null", 4) == 0) return call->at = call->end = NULL, true;
  return take(call, '[') || not_json(call);
}

bool facet_args_end(facet_call *call) {
  if (call->end == NULL) return true; // an empty payload
  skip_space(call);
  if (call->at < call->end && *call->at == ',') return bad(call, "", "too many arguments");
  if (call->at < call->end && *call->at != ']' && call->first) return bad(call, "", "too many arguments");
  if (!take(call, ']')) return not_json(call);
  skip_space(call);
  return call->at == call->end || not_json(call);
}

bool facet_arg_given(facet_call *call) {
  if (at_end(call)) return false;
  const uint8_t *at = call->at;
  bool first = call->first;
  if (first || take(call, ',')) {
    skip_space(call);
    if (call->end - call->at >= 4 && memcmp(call->at, "null", 4) == 0) {
      call->at += 4;
      call->first = false;
      return false;
    }
  }
  call->at = at;
  return true;
}

static bool hex4(facet_call *call, uint32_t *out) {
  if (call->end - call->at < 4) return false;
  *out = 0;
  for (int i = 0; i < 4; i++) {
    uint8_t c = *call->at++, lower = c | 0x20;
    if (c >= '0' && c <= '9') *out = *out << 4 | (uint32_t)(c - '0');
    else if (lower >= 'a' && lower <= 'f') *out = *out << 4 | (uint32_t)(lower - 'a' + 10);
    else return false;
  }
  return true;
}

// What follows a backslash, as UTF-8.
static bool unescape(facet_call *call, facet_string_t *out) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (call->at == call->end) return false;
  uint8_t c = *call->at++;
  for (size_t i = 0; i < sizeof from - 1; i++)
    if (c == from[i]) return out->ptr[out->len++] = (uint8_t)to[i], true;
  uint32_t point, low;
  if (c != 'u' || !hex4(call, &point)) return false;
  if (point >= 0xd800 && point <= 0xdfff) { // two halves, in the right order
    if (point >= 0xdc00 || call->end - call->at < 6 || call->at[0] != '\\' || call->at[1] != 'u') return false;
    call->at += 2;
    if (!hex4(call, &low) || low < 0xdc00 || low > 0xdfff) return false;
    point = 0x10000 + ((point & 0x3ff) << 10 | (low & 0x3ff));
  }
  int more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
  out->ptr[out->len++] = (uint8_t)(lead[more] | point >> 6 * more);
  while (more-- > 0) out->ptr[out->len++] = (uint8_t)(0x80 | (point >> 6 * more & 0x3f));
  return true;
}

bool facet_arg_text(facet_call *call, const char *name, size_t least, size_t most, facet_string_t *out) {
  if (!next_argument(call, name)) return false;
  if (!take(call, '"')) return bad(call, name, " must be a string");
  size_t longest = 0; // an escape is never shorter than what it stands for
  for (const uint8_t *p = call->at; p < call->end && *p != '"'; p++, longest++)
    if (*p == '\\' && p + 1 < call->end) p++, longest++;
  *out = (facet_string_t){own(call, longest + 1)->bytes, 0};
  while (call->at < call->end && *call->at != '"') {
    uint8_t c = *call->at++;
    if (c < 0x20) return not_json(call);
    if (c != '\\') out->ptr[out->len++] = c;
    else if (!unescape(call, out)) return not_json(call);
  }
  if (!take(call, '"')) return not_json(call);
  size_t characters = 0;
  for (size_t i = 0; i < out->len; i++) characters += (out->ptr[i] & 0xc0) != 0x80;
  if (characters < least) return bad(call, name, characters == 0 ? " is empty" : " is too short");
  return characters <= most || bad(call, name, " is too long");
}

bool facet_arg_int(facet_call *call, const char *name, int64_t least, int64_t most, int64_t *out) {
  if (!next_argument(call, name)) return false;
  bool quoted = take(call, '"');
  bool negative = call->at < call->end && *call->at == '-';
  if (negative) call->at++;
  const uint8_t *digits = call->at;
  int64_t value = 0; // built up downwards: the least integer has no positive
  bool fits = true;
  for (; call->at < call->end && *call->at >= '0' && *call->at <= '9'; call->at++) {
    int64_t digit = *call->at - '0';
    fits = fits && value >= (INT64_MIN + digit) / 10; // rounds towards zero, so that this is exact
    if (fits) value = value * 10 - digit;
  }
  bool leading_zero = call->at - digits > 1 && *digits == '0';
  bool whole = call->at > digits && !leading_zero;
  if (quoted) whole = call->at < call->end && *call->at == '"' && (call->at++, whole);
  else if (call->at < call->end && (*call->at == '.' || (*call->at | 0x20) == 'e')) whole = false;
  if (!whole) return bad(call, name, " must be an integer");
  if (!negative && (value == INT64_MIN || !fits)) return bad(call, name, " is too large");
  if (!fits) return bad(call, name, " is too small");
  *out = negative ? value : -value;
  if (*out < least) return bad(call, name, " is too small");
  return *out <= most || bad(call, name, " is too large");
}

// ---- SQL -----------------------------------------------------------------------------------------------------------

facet_value facet_null(void) { return (facet_value){.tag = FACETD_RUNTIME_SQL_VALUE_NULL}; }
facet_value facet_int(int64_t value) { return (facet_value){FACETD_RUNTIME_SQL_VALUE_INTEGER, {.integer = value}}; }
facet_value facet_text(facet_string_t text) { return (facet_value){FACETD_RUNTIME_SQL_VALUE_TEXT, {.text = text}}; }
facet_value facet_blob(facet_list_u8_t bytes) { return (facet_value){FACETD_RUNTIME_SQL_VALUE_BLOB, {.blob = bytes}}; }

const facet_rows *facet_query_values(facet_call *call, uint32_t most, const char *text, facet_value *values, size_t count) {
  facet_string_t statement = facet_literal(text);
  facetd_runtime_sql_list_value_t params = {values, count};
  facetd_runtime_types_call_error_t error;
  facet_owned *result = own(call, 0);
  if (!facetd_runtime_sql_query(&statement, &params, most, &result->rows, &error)) return facet_fail_with(call, &error), NULL;
  result->has_rows = true;
  return &result->rows;
}

static const facet_value *value_at(const facet_rows *rows, size_t row, size_t column, uint8_t tag) {
  if (row >= rows->rows.len || column >= rows->rows.ptr[row].len) return NULL;
  const facet_value *value = &rows->rows.ptr[row].ptr[column];
  return value->tag == tag ? value : NULL;
}

int64_t facet_int_at(const facet_rows *rows, size_t row, size_t column) {
  const facet_value *value = value_at(rows, row, column, FACETD_RUNTIME_SQL_VALUE_INTEGER);
  return value == NULL ? 0 : value->val.integer;
}

facet_string_t facet_text_at(const facet_rows *rows, size_t row, size_t column) {
  const facet_value *value = value_at(rows, row, column, FACETD_RUNTIME_SQL_VALUE_TEXT);
  return value == NULL ? (facet_string_t){0} : value->val.text;
}

// ---- The export ----------------------------------------------------------------------------------------------------

static bool dispatch(facet_call *call, facetd_runtime_types_payload_t *args) {
  for (const facet_method *method = facet_methods; method->name != NULL; method++)
    if (facet_equal(call->method, method->name)) return open_arguments(call, args) && method->run(call);
  facet_json message = {0};
  facet_json_raw(&message, "no method `");
  facet_json_bytes(&message, call->method.ptr, call->method.len);
  facet_json_raw(&message, "`; there are: ");
  for (const facet_method *method = facet_methods; method->name != NULL; method++) {
    if (method != facet_methods) facet_json_raw(&message, ", ");
    facet_json_raw(&message, method->name);
  }
  facet_string_t code = facet_literal("no-such-method");
  return fail_owned(call, join(&code, 1), (facet_string_t){message.ptr, message.len});
}

bool exports_facetd_runtime_blocking_handler_call(facet_string_t *method, exports_facetd_runtime_blocking_handler_payload_t *args,
                                                  exports_facetd_runtime_blocking_handler_list_own_stub_t *stubs, facet_string_t *badge,
                                                  exports_facetd_runtime_blocking_handler_answer_t *answer,
                                                  exports_facetd_runtime_blocking_handler_failure_t *failure) {
  facet_call call = {.method = *method, .badge = *badge, .stubs = {(facetd_runtime_types_own_stub_t *)stubs->ptr, stubs->len}};
  bool answered = dispatch(&call, args);
  if (answered) {
    if (call.value.body.len == 0) facet_answer(&call, &(facet_json){0});
    answer->value = call.value;
    answer->stubs = call.answer_stubs;
    facetd_runtime_types_failure_free(&call.failure);
  } else {
    if (call.failure.code.len == 0) facet_fail(&call, "error", "the method failed and did not say why");
    *failure = call.failure;
    facet_list_u8_free(&call.value.body);
  }
  for (size_t i = 0; i < call.stubs.len; i++) facetd_runtime_types_stub_drop_own(call.stubs.ptr[i]);
  facetd_runtime_types_list_own_stub_free(&call.stubs);
  free_owned(&call);
  facet_string_free(method);
  facet_list_u8_free(&args->body);
  facet_string_free(badge);
  return answered;
}
