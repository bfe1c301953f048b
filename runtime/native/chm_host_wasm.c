/* Memory of a wasm module: blocks from the end of the linear memory, which only grows; released ones are used again. */
#include "chm_internal.h"

extern unsigned char __heap_base;

#define CHM_PAGE 65536u
#define CHM_MAX_FREE 64 /* releases are few (a session, a prompt); a block that finds no place here is not used again */

typedef struct chm_range {
  uintptr_t start, end;
} chm_range;

static chm_range free_ranges[CHM_MAX_FREE]; /* sorted, not touching */
static uint32_t n_free;
static uintptr_t heap_end; /* everything above is unused; 0 before the first call */
static uintptr_t touched;  /* everything above was never given, and is zeros */

static uintptr_t round_up(uintptr_t value) { return (value + 63) & ~(uintptr_t)63; }

static uintptr_t top(void) {
  if (!heap_end) heap_end = round_up((uintptr_t)&__heap_base);
  return heap_end;
}

static bool grow_to(uint64_t end) {
  uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * CHM_PAGE;
  if (end <= have) return true;
  if (end > UINT32_MAX) return false;
  uint64_t pages = (end - have + CHM_PAGE - 1) / CHM_PAGE;
  return __builtin_wasm_memory_grow(0, (size_t)pages) != SIZE_MAX;
}

static void drop_range(uint32_t index) {
  for (--n_free; index < n_free; ++index) free_ranges[index] = free_ranges[index + 1];
}

/* A place of so many bytes, or 0. */
static uintptr_t place_for(size_t size) {
  for (uint32_t i = 0; i < n_free; ++i)
    if (free_ranges[i].end - free_ranges[i].start >= size) {
      uintptr_t start = free_ranges[i].start;
      free_ranges[i].start += size;
      if (free_ranges[i].start == free_ranges[i].end) drop_range(i);
      return start;
    }
  uintptr_t start = top();
  if (!grow_to((uint64_t)start + size)) return 0;
  heap_end = start + size;
  return start;
}

void *chm_memory_allocate(size_t bytes) {
  if (!bytes || bytes > SIZE_MAX / 2) return NULL;
  size_t size = round_up(bytes);
  uintptr_t start = place_for(size), end = start + size;
  if (!start) return NULL;
  if (start < touched) memset((void *)start, 0, (end < touched ? end : touched) - start);
  if (end > touched) touched = end;
  return (void *)start;
}

void chm_memory_release(void *block, size_t bytes) {
  if (!block || !bytes) return;
  uintptr_t start = (uintptr_t)block, end = start + round_up(bytes);
  uint32_t i = 0;
  while (i < n_free && free_ranges[i].end < start) ++i;
  bool joins_before = i < n_free && free_ranges[i].end == start;
  uint32_t next = joins_before ? i + 1 : i;
  bool joins_after = next < n_free && free_ranges[next].start == end;
  if (joins_before && joins_after) {
    free_ranges[i].end = free_ranges[next].end;
    drop_range(next);
  } else if (joins_before) {
    free_ranges[i].end = end;
  } else if (joins_after) {
    free_ranges[next].start = start;
  } else {
    if (n_free == CHM_MAX_FREE) return;
    for (uint32_t k = n_free++; k > i; --k) free_ranges[k] = free_ranges[k - 1];
    free_ranges[i] = (chm_range){start, end};
  }
  if (n_free && free_ranges[n_free - 1].end == heap_end) heap_end = free_ranges[--n_free].start;
}

int32_t chm_memory_reserve(size_t bytes) {
  if (bytes > SIZE_MAX / 2 || !grow_to((uint64_t)top() + bytes))
    return chm_fail(CHM_ERROR_MEMORY, "the memory cannot grow by %u bytes", (uint64_t)bytes);
  return CHM_OK;
}

static void *host_allocate(void *user, size_t bytes) {
  (void)user;
  return chm_memory_allocate(bytes);
}

static void host_release(void *user, void *block, size_t bytes) {
  (void)user;
  chm_memory_release(block, bytes);
}

const chm_allocator chm_default_allocator = {host_allocate, host_release, NULL};
