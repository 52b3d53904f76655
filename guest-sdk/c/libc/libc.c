// All of the C library that a facet gets: an allocator and five functions on memory. Compiled with -fno-builtin, so that
// the loops below are not themselves turned into calls of the functions that they implement.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count) {
  for (size_t i = 0; i < count; i++) ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
  return to;
}

void *memmove(void *to, const void *from, size_t count) {
  if (to < from) return memcpy(to, from, count);
  while (count-- > 0) ((uint8_t *)to)[count] = ((const uint8_t *)from)[count];
  return to;
}

void *memset(void *to, int byte, size_t count) {
  for (size_t i = 0; i < count; i++) ((uint8_t *)to)[i] = (uint8_t)byte;
  return to;
}

int memcmp(const void *a, const void *b, size_t count) {
  const uint8_t *x = a, *y = b;
  for (size_t i = 0; i < count; i++)
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  return 0;
}

size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length] != 0) length++;
  return length;
}

void abort(void) { __builtin_trap(); }

// The allocator: blocks come in sizes with four steps between powers of two, at most a quarter larger than asked for. A
// freed block waits in the list of its size. Blocks are never split or joined: a facet asks for the same sizes again and
// again, and its memory is gone when it is evicted.

#define PAGE 65536u
#define LARGEST (1u << 30)

typedef struct block {
  uint32_t size_class;
  uint32_t unused; // keeps what follows aligned to 8 bytes
  struct block *next; // in a list of free blocks; the caller's bytes begin here
} block;
#define HEADER offsetof(block, next)

extern uint8_t __heap_base; // set by the linker
static uintptr_t heap_top, heap_end;
static block *free_blocks[32 * 4];

// The class of blocks with at least `size` bytes; afterwards `size` is what such a block has. A multiple of 8.
static uint32_t size_class(size_t *size) {
  uint32_t last = (uint32_t)(*size < 16 ? 15 : (*size + 7) / 8 * 8 - 1);
  uint32_t bits = 31 - (uint32_t)__builtin_clz(last);
  uint32_t step = 1u << (bits - 2);
  *size = (last / step + 1) * step;
  return bits * 4 + (last / step & 3);
}

static block *fresh_block(size_t size) {
  if (heap_top == 0) heap_top = ((uintptr_t)&__heap_base + 7) / 8 * 8, heap_end = __builtin_wasm_memory_size(0) * PAGE;
  if (heap_end - heap_top < size) {
    size_t missing = size - (heap_end - heap_top);
    size_t before = __builtin_wasm_memory_grow(0, (missing + PAGE - 1) / PAGE);
    if (before == SIZE_MAX) return NULL;
    heap_end += (missing + PAGE - 1) / PAGE * PAGE;
  }
  block *fresh = (block *)heap_top;
  heap_top += size;
  return fresh;
}

void *malloc(size_t size) {
  if (size > LARGEST) return NULL;
  size += HEADER;
  uint32_t class = size_class(&size);
  block *found = free_blocks[class];
  if (found != NULL) free_blocks[class] = found->next;
  else if ((found = fresh_block(size)) == NULL) return NULL;
  found->size_class = class;
  return &found->next;
}

void free(void *pointer) {
  if (pointer == NULL) return;
  block *freed = (block *)((uint8_t *)pointer - HEADER);
  freed->next = free_blocks[freed->size_class];
  free_blocks[freed->size_class] = freed;
}

void *realloc(void *pointer, size_t size) {
  if (pointer == NULL) return malloc(size);
  if (size > LARGEST) return NULL;
  uint32_t class = ((block *)((uint8_t *)pointer - HEADER))->size_class;
  size_t wanted = size + HEADER;
  if (size_class(&wanted) == class) return pointer;
  void *moved = malloc(size);
  if (moved == NULL) return NULL;
  size_t held = ((class & 3) + 5) * (1u << (class / 4 - 2)) - HEADER;
  memcpy(moved, pointer, held < size ? held : size);
  free(pointer);
  return moved;
}
