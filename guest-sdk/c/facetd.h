// Write facets for facetd in C. A facet is a table of methods:
//
//   #include "facetd.h"
//
//   static bool greet(facet_call *call) {
//     facet_string_t name;
//     if (!facet_arg_text(call, "name", 1, 100, &name) || !facet_args_end(call)) return false;
//     facet_json out = {0};
//     facet_json_text(&out, name);
//     return facet_answer(call, &out);
//   }
//
//   const facet_method facet_methods[] = {{"greet", greet}, {0}};
//
// A method takes its arguments, does its work and answers, or fails: `return facet_fail(call, code, message)`. The caller
// then sees a `call-error` of kind `failed` with that code; what was written stays written. Everything that a helper
// hands out is freed when the method has returned. Where memory runs out, helpers trap: the facet is lost, its turn
// undone, and it starts anew with the next call.
//
// facet.h beside this holds the whole contract, generated: what has no helper here is called directly.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "facet.h"

// ---- Methods -----------------------------------------------------------------------------------------------------

typedef struct facet_call {
  facet_string_t method;
  facet_string_t badge;                                // "" for calls from outside
  facetd_runtime_types_list_own_stub_t stubs;          // dropped at the end; `dup` one to keep it
  facetd_runtime_types_list_own_stub_t answer_stubs;   // set it to hand out stubs; `ptr` from malloc
  // The rest is the helpers' business.
  const uint8_t *at, *end;
  bool first;
  struct facet_owned *owned;
  facetd_runtime_types_payload_t value;
  facetd_runtime_types_failure_t failure;
} facet_call;

typedef struct facet_method {
  const char *name;
  bool (*run)(facet_call *call); // true: answered; false: failed
} facet_method;

// Defined by the facet; the last one is {0}.
extern const facet_method facet_methods[];

// ---- Arguments: a JSON array, taken one by one from the left. False: the call has failed with `bad-arguments` ---

// A text of `least` to `most` characters. Valid UTF-8, without a 0 at the end, and possibly with one inside.
bool facet_arg_text(facet_call *call, const char *name, size_t least, size_t most, facet_string_t *out);
// An integer, given as a number or, as large ones are, as a decimal string.
bool facet_arg_int(facet_call *call, const char *name, int64_t least, int64_t most, int64_t *out);
// Is there another argument? For optional ones. A null counts as none, and is passed over.
bool facet_arg_given(facet_call *call);
// There must be no more arguments.
bool facet_args_end(facet_call *call);

// ---- Answers -----------------------------------------------------------------------------------------------------

// JSON being written. Begin with `facet_json out = {0}` and end with `facet_answer`.
typedef struct facet_json { uint8_t *ptr; size_t len, capacity; } facet_json;

void facet_json_raw(facet_json *json, const char *text);           // as it stands: brackets, commas, keys
void facet_json_text(facet_json *json, facet_string_t text);       // quoted and escaped
void facet_json_int(facet_json *json, int64_t value);              // quoted beyond 2^53, as the contract says
void facet_json_bytes(facet_json *json, const void *from, size_t count); // any bytes, as they stand

bool facet_answer(facet_call *call, facet_json *json);              // always true; nothing written is null
bool facet_answer_int(facet_call *call, int64_t value);             // always true
bool facet_fail(facet_call *call, const char *code, const char *message); // always false
// Passes on an error of the host, its kind as the code, and frees it. Always false.
bool facet_fail_with(facet_call *call, facetd_runtime_types_call_error_t *error);

// ---- SQL ---------------------------------------------------------------------------------------------------------

typedef facetd_runtime_sql_value_t facet_value;
typedef facetd_runtime_sql_rows_t facet_rows;

facet_value facet_null(void);
facet_value facet_int(int64_t value);
facet_value facet_text(facet_string_t text);
facet_value facet_blob(facet_list_u8_t bytes);

// Runs `text` with the values that follow it bound to its parameters; answers at most `most` rows of it. NULL: SQLite
// refused, and the call has failed with code `storage`. To tell why, call facetd_runtime_sql_query itself.
#define facet_query(call, most, text, ...)                                       \
  facet_query_values(call, most, text, (facet_value[]){{0}, ##__VA_ARGS__} + 1, \
                     sizeof((facet_value[]){{0}, ##__VA_ARGS__}) / sizeof(facet_value) - 1)
const facet_rows *facet_query_values(facet_call *call, uint32_t most, const char *text, facet_value *values, size_t count);

// What is there; 0, "" if it is of another type or outside the result.
int64_t facet_int_at(const facet_rows *rows, size_t row, size_t column);
facet_string_t facet_text_at(const facet_rows *rows, size_t row, size_t column);

// ---- Small things ------------------------------------------------------------------------------------------------

facet_string_t facet_literal(const char *text);           // borrows `text`
bool facet_equal(facet_string_t a, const char *b);
bool facet_utf8(const uint8_t *bytes, size_t count);      // the host traps a facet that passes other bytes as a string
void *facet_alloc(size_t size);                           // malloc that never answers NULL
