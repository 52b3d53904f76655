// A blocking facet that does what it is told: run("put a 1; sleep 5; get a") carries out the steps and answers what the
// last `get` found, text or null. A step that the host refuses fails the call with the error's kind.
//
//   put KEY VALUE, get KEY           keys of this facet
//   spin MS                          burns CPU and does not wait
//   begin                            begins a transaction and forgets it; the end of the turn rolls it back
//   sleep MS, sync                   end the turn
//   within MS                        the calls that follow have so much time
//   call NS OBJECT METHOD ARG        calls METHOD(ARG) of an object and waits, which ends the turn
//   start NS OBJECT METHOD ARG       the same without waiting: it leaves when the turn ends
//   hold N METHOD ARG                starts N calls to the stub that came along, and drops them when all have been started
//   fill N                           takes N handles and never drops them
//   child-call NAME METHOD ARG       like `call`, of a child of this class, which gets a stub of `bell b` along
//   child-start NAME METHOD ARG      like `start`
//   alarm MS                         sets the alarm; its handler carries out what key `alarm` holds
//   trap
//
// A child cannot address objects: its `call` and `start` go to the stub that came along, whatever NS and OBJECT are.
// A word that holds spaces is written with `_` in their place, and `;` with `,`.

#include "facetd.h"

typedef struct steps { facet_call *call; const uint8_t *at, *end; facet_json found; uint32_t within; } steps;

static facet_string_t word(steps *s) {
  while (s->at < s->end && *s->at == ' ') s->at++;
  const uint8_t *from = s->at;
  while (s->at < s->end && *s->at != ' ' && *s->at != ';') s->at++;
  return (facet_string_t){(uint8_t *)from, (size_t)(s->at - from)};
}

static bool host(steps *s, bool ok, facetd_runtime_types_call_error_t *error) {
  return ok || facet_fail_with(s->call, error);
}

// The word with what `_` and `,` stand for.
static facet_string_t spelled(facet_string_t arg) {
  facet_string_t text = {facet_alloc(arg.len + 1), arg.len};
  for (size_t i = 0; i < arg.len; i++)
    text.ptr[i] = arg.ptr[i] == '_' ? ' ' : arg.ptr[i] == ',' ? ';' : arg.ptr[i];
  return text;
}

static uint32_t number(steps *s) {
  uint32_t value = 0;
  facet_string_t digits = word(s);
  for (size_t i = 0; i < digits.len; i++) value = value * 10 + (digits.ptr[i] - '0');
  return value;
}

// `["ARG"]`.
static facetd_runtime_types_payload_t arguments(facet_string_t arg) {
  facet_string_t text = spelled(arg);
  facet_json out = {0};
  facet_json_raw(&out, "[");
  facet_json_text(&out, text);
  facet_json_raw(&out, "]");
  return (facetd_runtime_types_payload_t){FACETD_RUNTIME_TYPES_FORMAT_JSON, {out.ptr, out.len}};
}

static bool send(steps *s, facetd_runtime_types_own_stub_t to, facetd_runtime_types_own_stub_t *along, bool wait) {
  facetd_runtime_types_call_error_t error;
  facetd_runtime_types_borrow_stub_t stub = facetd_runtime_types_borrow_stub(to);
  facetd_runtime_blocking_calls_list_own_stub_t stubs = {along, along != NULL};
  facet_string_t method = word(s);
  facetd_runtime_types_payload_t args = arguments(word(s));
  uint32_t *within = s->within > 0 ? &s->within : NULL;
  if (wait) {
    facetd_runtime_types_answer_t answer;
    return host(s, facetd_runtime_blocking_calls_call(stub, &method, &args, &stubs, within, &answer, &error), &error);
  }
  facetd_runtime_blocking_calls_own_pending_t pending;
  if (!host(s, facetd_runtime_blocking_calls_start(stub, &method, &args, &stubs, within, &pending, &error), &error)) return false;
  facetd_runtime_blocking_calls_pending_drop_own(pending);
  return true;
}

static bool find(steps *s, facet_string_t namespace, facet_string_t name, facetd_runtime_types_own_stub_t *to) {
  facetd_runtime_types_call_error_t error;
  return host(s, facetd_runtime_objects_by_name(&namespace, &name, to, &error), &error);
}

static bool object(steps *s, bool wait) {
  facet_string_t namespace = word(s), name = word(s);
  facetd_runtime_types_own_stub_t to;
  if (s->call->stubs.len > 0) to = s->call->stubs.ptr[0];
  else if (!find(s, namespace, name, &to)) return false;
  return send(s, to, NULL, wait);
}

// A call that was started and dropped does not count any more, so these are kept.
static bool hold(steps *s) {
  enum { MOST = 100 };
  uint32_t times = number(s), held = 0;
  facet_string_t method = word(s), arg = word(s);
  facetd_runtime_blocking_calls_own_pending_t pending[MOST];
  facetd_runtime_types_call_error_t error;
  facetd_runtime_blocking_calls_list_own_stub_t none = {NULL, 0};
  if (times > MOST || s->call->stubs.len == 0) return facet_fail(s->call, "cannot-hold", "see steps.c");
  facetd_runtime_types_borrow_stub_t stub = facetd_runtime_types_borrow_stub(s->call->stubs.ptr[0]);
  bool started = true;
  for (; started && held < times; held += started) {
    facetd_runtime_types_payload_t args = arguments(arg);
    started = host(s, facetd_runtime_blocking_calls_start(stub, &method, &args, &none, NULL, &pending[held], &error), &error);
  }
  while (held > 0) facetd_runtime_blocking_calls_pending_drop_own(pending[--held]);
  return started;
}

static bool fill(steps *s) {
  facet_string_t digest;
  facetd_runtime_types_call_error_t error;
  facetd_runtime_types_own_class_t never_dropped;
  facetd_runtime_context_class_digest(&digest);
  for (uint32_t times = number(s); times > 0; times--)
    if (!host(s, facetd_runtime_classes_by_digest(&digest, &never_dropped, &error), &error)) return false;
  return true;
}

static bool child(steps *s, bool wait) {
  facet_string_t name = word(s), digest;
  facetd_runtime_types_call_error_t error;
  facetd_runtime_types_own_class_t own;
  facetd_runtime_types_own_stub_t to, bell;
  facetd_runtime_context_class_digest(&digest);
  if (!host(s, facetd_runtime_classes_by_digest(&digest, &own, &error), &error)) return false;
  facetd_runtime_facets_own_startup_t startup = facetd_runtime_facets_constructor_startup(facetd_runtime_types_borrow_class(own));
  return host(s, facetd_runtime_facets_get(&name, facetd_runtime_facets_borrow_startup(startup), &to, &error), &error)
         && find(s, facet_literal("bell"), facet_literal("b"), &bell) && send(s, to, &bell, wait);
}

static bool put(steps *s) {
  facet_string_t key = word(s), value = word(s);
  facet_list_u8_t bytes = {value.ptr, value.len};
  facetd_runtime_types_call_error_t error;
  return host(s, facetd_runtime_kv_put(&key, &bytes, &error), &error);
}

static bool get(steps *s) {
  facet_string_t key = word(s);
  facet_option_list_u8_t value;
  facetd_runtime_types_call_error_t error;
  if (!host(s, facetd_runtime_kv_get(&key, &value, &error), &error)) return false;
  s->found.len = 0;
  if (value.is_some) facet_json_text(&s->found, (facet_string_t){value.val.ptr, value.val.len});
  else facet_json_raw(&s->found, "null");
  return true;
}

static bool begin(steps *s) {
  facetd_runtime_storage_own_transaction_t never_dropped;
  facetd_runtime_types_call_error_t error;
  return host(s, facetd_runtime_storage_begin(&never_dropped, &error), &error);
}

static bool spin(steps *s) {
  uint64_t end = facetd_runtime_clock_monotonic_ns() + number(s) * 1000000ull;
  while (facetd_runtime_clock_monotonic_ns() < end)
    for (volatile int i = 0; i < 1000; i++) {}
  return true;
}

static bool sync(steps *s) {
  facetd_runtime_types_call_error_t error;
  return host(s, facetd_runtime_blocking_durability_sync(&error), &error);
}

static bool alarm(steps *s) {
  facetd_runtime_types_call_error_t error;
  return host(s, facetd_runtime_alarms_set(facetd_runtime_clock_now_ms() + number(s), &error), &error);
}

static bool step(steps *s) {
  facet_string_t what = word(s);
  if (facet_equal(what, "put")) return put(s);
  if (facet_equal(what, "get")) return get(s);
  if (facet_equal(what, "begin")) return begin(s);
  if (facet_equal(what, "spin")) return spin(s);
  if (facet_equal(what, "sleep")) return facetd_runtime_blocking_timers_sleep(number(s)), true;
  if (facet_equal(what, "within")) return s->within = number(s), true;
  if (facet_equal(what, "sync")) return sync(s);
  if (facet_equal(what, "call")) return object(s, true);
  if (facet_equal(what, "start")) return object(s, false);
  if (facet_equal(what, "fill")) return fill(s);
  if (facet_equal(what, "hold")) return hold(s);
  if (facet_equal(what, "child-call")) return child(s, true);
  if (facet_equal(what, "child-start")) return child(s, false);
  if (facet_equal(what, "alarm")) return alarm(s);
  if (facet_equal(what, "trap")) __builtin_trap();
  return facet_fail(s->call, "no-such-step", "see steps.c");
}

static bool carry_out(steps *s) {
  while (s->at < s->end) {
    if (!step(s)) return false;
    word(s); // up to the `;`
    if (s->at < s->end) s->at++;
  }
  return true;
}

static bool run(facet_call *call) {
  facet_string_t text;
  if (!facet_arg_text(call, "steps", 1, 10000, &text) || !facet_args_end(call)) return false;
  steps s = {call, text.ptr, text.ptr + text.len, {0}, 0};
  return carry_out(&s) && facet_answer(call, &s.found);
}

const facet_method facet_methods[] = {{"run", run}, {0}};

// The rest of the world `full-blocking-facet`.

bool exports_facetd_runtime_blocking_alarm_alarm(exports_facetd_runtime_blocking_alarm_info_t *info,
                                                 exports_facetd_runtime_blocking_alarm_failure_t *failure) {
  facet_call call = {0};
  facet_string_t key = facet_literal("alarm");
  facet_option_list_u8_t value;
  facetd_runtime_types_call_error_t error;
  (void)info;
  bool done = facetd_runtime_kv_get(&key, &value, &error) || facet_fail_with(&call, &error);
  if (done && value.is_some) {
    facet_string_t text = spelled((facet_string_t){value.val.ptr, value.val.len});
    steps s = {&call, text.ptr, text.ptr + text.len, {0}};
    done = carry_out(&s);
  }
  if (!done) *failure = call.failure;
  return done;
}

bool exports_facetd_runtime_blocking_start_start(exports_facetd_runtime_blocking_start_failure_t *failure) {
  (void)failure;
  return true;
}

bool exports_facetd_runtime_blocking_http_handle(exports_facetd_runtime_blocking_http_request_t *request,
                                                 exports_facetd_runtime_blocking_http_response_t *response,
                                                 exports_facetd_runtime_blocking_http_failure_t *failure) {
  facet_call call = {0};
  (void)response;
  exports_facetd_runtime_blocking_http_request_free(request);
  facet_fail(&call, "no-http", "this facet carries out steps");
  *failure = call.failure;
  return false;
}
