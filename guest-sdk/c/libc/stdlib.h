// The part of <stdlib.h> that the SDK and the generated bindings use. See libc.c.
#pragma once
#include <stddef.h>

void *malloc(size_t size);
void *realloc(void *pointer, size_t size);
void free(void *pointer);
_Noreturn void abort(void);
