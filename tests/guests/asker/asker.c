// A facet in blocking code that asks the network, for itself and for its child.
//
//   get(URL)          answers the body of the response, as text
//   child-get(URL)    has its child `kid` do that, through this facet, and waits for it
//   child-start(URL)  the same without waiting: its answer is nobody's
//
// What the child asks for goes on with a header of this facet's own.

#include "facetd.h"

#define PIECE_BYTES 65536
#define LITERAL(text) ((facet_string_t){(uint8_t *)(text), sizeof(text) - 1})

static bool host(facet_call *call, bool ok, facetd_runtime_types_call_error_t *error) {
  return ok || facet_fail_with(call, error);
}

static bool get(facet_call *call) {
  facet_string_t url;
  if (!facet_arg_text(call, "url", 1, 10000, &url) || !facet_args_end(call)) return false;
  facetd_runtime_types_call_error_t error;
  facet_list_u8_t nothing = {NULL, 0};
  facetd_runtime_http_types_request_t request = {
    .method = LITERAL("GET"), .uri = url, .body = facetd_runtime_http_types_static_body_of_bytes(&nothing)};
  facetd_runtime_http_types_response_t response;
  if (!host(call, facetd_runtime_blocking_egress_fetch(&request, &response, &error), &error)) return false;
  facetd_runtime_http_types_borrow_body_t body = facetd_runtime_http_types_borrow_body(response.body);
  facet_json text = {0}, out = {0};
  bool read;
  for (;;) {
    facet_option_list_u8_t piece;
    read = host(call, facetd_runtime_blocking_bodies_read(body, PIECE_BYTES, &piece, &error), &error);
    if (!read || !piece.is_some) break;
    facet_json_bytes(&text, piece.val.ptr, piece.val.len);
  }
  facetd_runtime_http_types_body_drop_own(response.body);
  if (!read) return false;
  facet_json_text(&out, (facet_string_t){text.ptr, text.len});
  return facet_answer(call, &out);
}

static bool child(facet_call *call, bool wait) {
  facet_string_t url, class_name = LITERAL("asker"), name = LITERAL("kid"), grant = LITERAL("egress"), method = LITERAL("get");
  if (!facet_arg_text(call, "url", 1, 10000, &url) || !facet_args_end(call)) return false;
  facetd_runtime_types_call_error_t error;
  facetd_runtime_classes_own_class_t class;
  if (!host(call, facetd_runtime_classes_named(&class_name, &class, &error), &error)) return false;
  facetd_runtime_facets_own_startup_t startup =
    facetd_runtime_facets_constructor_startup(facetd_runtime_types_borrow_class(class));
  facetd_runtime_facets_borrow_startup_t lent = facetd_runtime_facets_borrow_startup(startup);
  facet_string_t via = LITERAL("{\"via\":\"parent\"}");
  facetd_runtime_types_payload_t argument = {FACETD_RUNTIME_TYPES_FORMAT_JSON, {via.ptr, via.len}};
  if (!host(call, facetd_runtime_facets_method_startup_grant(lent, &grant, &argument, &error), &error)) return false;
  facetd_runtime_types_own_stub_t kid;
  if (!host(call, facetd_runtime_facets_get(&name, lent, &kid, &error), &error)) return false;
  facet_json args = {0};
  facet_json_raw(&args, "[");
  facet_json_text(&args, url);
  facet_json_raw(&args, "]");
  facetd_runtime_types_payload_t sent = {FACETD_RUNTIME_TYPES_FORMAT_JSON, {args.ptr, args.len}};
  facetd_runtime_blocking_calls_list_own_stub_t none = {NULL, 0};
  facetd_runtime_types_borrow_stub_t to = facetd_runtime_types_borrow_stub(kid);
  if (!wait) {
    facetd_runtime_blocking_calls_own_pending_t pending;
    if (!host(call, facetd_runtime_blocking_calls_start(to, &method, &sent, &none, NULL, &pending, &error), &error)) return false;
    facetd_runtime_blocking_calls_pending_drop_own(pending);
    return facet_answer_int(call, 0);
  }
  facetd_runtime_types_answer_t answer;
  if (!host(call, facetd_runtime_blocking_calls_call(to, &method, &sent, &none, NULL, &answer, &error), &error)) return false;
  facet_json out = {0};
  facet_json_bytes(&out, answer.value.body.ptr, answer.value.body.len);
  return facet_answer(call, &out);
}

static bool child_get(facet_call *call) { return child(call, true); }
static bool child_start(facet_call *call) { return child(call, false); }

const facet_method facet_methods[] = {{"get", get}, {"child-get", child_get}, {"child-start", child_start}, {0}};

// Room for the child's headers and one more.
#define HEADERS_MAX 100

bool exports_facetd_runtime_blocking_outbound_handle(facet_string_t *child, exports_facetd_runtime_blocking_outbound_request_t *request,
                                                     exports_facetd_runtime_blocking_outbound_response_t *response,
                                                     exports_facetd_runtime_blocking_outbound_failure_t *failure) {
  facet_call call = {0};
  facetd_runtime_types_call_error_t error;
  facetd_runtime_http_types_header_t headers[HEADERS_MAX + 1];
  size_t count = request->headers.len < HEADERS_MAX ? request->headers.len : HEADERS_MAX;
  for (size_t i = 0; i < count; i++) headers[i] = request->headers.ptr[i];
  facet_string_t name = LITERAL("x-asked-by");
  headers[count] = (facetd_runtime_http_types_header_t){name, {child->ptr, child->len}};
  facetd_runtime_http_types_request_t changed = *request;
  changed.headers.ptr = headers;
  changed.headers.len = count + 1;
  if (host(&call, facetd_runtime_blocking_egress_fetch(&changed, response, &error), &error)) return true;
  *failure = call.failure;
  return false;
}

// The rest of the world `gateway-blocking-facet`.

bool exports_facetd_runtime_blocking_start_start(exports_facetd_runtime_blocking_start_failure_t *failure) {
  (void)failure;
  return true;
}

bool exports_facetd_runtime_blocking_alarm_alarm(exports_facetd_runtime_blocking_alarm_info_t *info,
                                                 exports_facetd_runtime_blocking_alarm_failure_t *failure) {
  (void)info, (void)failure;
  return true;
}

bool exports_facetd_runtime_blocking_http_handle(exports_facetd_runtime_blocking_http_request_t *request,
                                                 exports_facetd_runtime_blocking_http_response_t *response,
                                                 exports_facetd_runtime_blocking_http_failure_t *failure) {
  facet_call call = {0};
  (void)response;
  exports_facetd_runtime_blocking_http_request_free(request);
  facet_fail(&call, "no-http", "this facet asks, and is not asked");
  *failure = call.failure;
  return false;
}
