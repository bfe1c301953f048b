/* Helpers of generated drivers (model.c): kernels that threads share, where the time goes, and loop convergence in the
 * one summation order that every target uses. */
#ifndef CHM_DRIVER_H
#define CHM_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "chm_model.h"

void *memcpy(void *target, const void *source, size_t size);

#if CHM_HAS_THREADS
/* Compute the units of a kernel with the threads of the call: part takes the arguments as an array of pointers. */
#define CHM_SHARE(part, n, units, work, ...)                                                            \
  do {                                                                                                  \
    const void *const arguments_[] = {__VA_ARGS__};                                                     \
    _Static_assert(sizeof arguments_ <= CHM_MOST_ARGUMENTS * sizeof *arguments_, "too many arguments"); \
    chm_share(call->pool, part, arguments_, sizeof arguments_ / sizeof *arguments_, n, units, work);    \
  } while (0)
/* The same of a kernel that follows others: chm_follow. */
#define CHM_FOLLOW(back, part, n, units, work, ...)                                                         \
  do {                                                                                                      \
    const void *const arguments_[] = {__VA_ARGS__};                                                         \
    _Static_assert(sizeof arguments_ <= CHM_MOST_ARGUMENTS * sizeof *arguments_, "too many arguments");     \
    chm_follow(call->pool, back, part, arguments_, sizeof arguments_ / sizeof *arguments_, n, units, work); \
  } while (0)
/* What follows needs results of kernels that are shared, or overwrites what they read. */
#define CHM_JOIN() chm_join(call->pool)
#else /* kernels run where they are called: compilers see through the array and leave it out */
#define CHM_SHARE(part, n, units, work, ...)        \
  do {                                              \
    const void *const arguments_[] = {__VA_ARGS__}; \
    part(arguments_, n, 0, units);                  \
  } while (0)
#define CHM_FOLLOW(back, part, n, units, work, ...) CHM_SHARE(part, n, units, work, __VA_ARGS__)
#define CHM_JOIN() ((void)0)
#endif
/* A graph is written once, as name_kernels, and compiled twice: measured is 0 or 1, so that steps cost nothing in name. */
#define CHM_KERNELS static inline __attribute__((always_inline)) void
#if CHM_HAS_CLOCK
/* What follows belongs to another step. */
#define CHM_STEP(step)                                       \
  do {                                                       \
    if (measured) {                                          \
      CHM_JOIN();                                            \
      chm_profile_step(call->profile, step);                 \
    }                                                        \
  } while (0)
#define CHM_GRAPH(name)                                                                       \
  static void name(chm_call *call) { name##_kernels(call, 0); }                               \
  __attribute__((cold)) static void name##_measured(chm_call *call) { name##_kernels(call, 1); }
/* Its line in the descriptor; of an entry of tensors with numbers and descriptions of inputs and results. */
#define CHM_ENTRY(name, role, tokens) {#name, role, tokens, name, name##_measured, 0, 0, 0, 0}
#define CHM_CALL_ENTRY(name, tokens, ...) {#name, CHM_ROLE_CALL, tokens, name, name##_measured, __VA_ARGS__}
#else
#define CHM_STEP(step) ((void)measured)
#define CHM_GRAPH(name) \
  static void name(chm_call *call) { name##_kernels(call, 0); }
#define CHM_ENTRY(name, role, tokens) {#name, role, tokens, name, 0, 0, 0, 0, 0}
#define CHM_CALL_ENTRY(name, tokens, ...) {#name, CHM_ROLE_CALL, tokens, name, 0, __VA_ARGS__}
#endif
/* A number, and a result, as such an argument, and back. */
#define CHM_PASS(number) ((const void *)(intptr_t)(number))
#define CHM_SCALAR(argument) ((int32_t)(intptr_t)(argument))
#define CHM_RESULT(argument) ((void *)(uintptr_t)(argument))
/* Where a token's bytes of it begin. */
#define CHM_TOKEN(argument, token, bytes) ((void *)((uint8_t *)CHM_RESULT(argument) + (size_t)(token) * (bytes)))

/* The state that a path begins with, in its slot; slots are so many bytes apart. */
static inline void chm_branch(const chm_path *path, uint8_t *slots, size_t apart, const void *committed, size_t bytes) {
  if (path->source == path->slot) return;
  memcpy(slots + (size_t)path->slot * apart,
         path->source < 0 ? committed : slots + (size_t)path->source * apart, bytes);
}

/* The rows of a cache [blocks, rows] at the positions of a tree, to a place [blocks, most] of their own, and back. */
static inline void chm_keep_rows(const chm_call *call, void *kept, const void *cache, int32_t blocks, int32_t rows,
                                 size_t row_bytes, int32_t most) {
  for (int32_t block = 0; block < blocks; ++block)
    for (int32_t i = 0; i < call->span; ++i)
      memcpy((uint8_t *)kept + ((size_t)block * (size_t)most + (size_t)i) * row_bytes,
             (const uint8_t *)cache + ((size_t)block * (size_t)rows + (size_t)((call->position + i) % rows)) * row_bytes,
             row_bytes);
}
static inline void chm_return_rows(const chm_call *call, const void *kept, void *cache, int32_t blocks, int32_t rows,
                                   size_t row_bytes, int32_t most) {
  for (int32_t block = 0; block < blocks; ++block)
    for (int32_t i = 0; i < call->span; ++i)
      memcpy((uint8_t *)cache + ((size_t)block * (size_t)rows + (size_t)((call->position + i) % rows)) * row_bytes,
             (const uint8_t *)kept + ((size_t)block * (size_t)most + (size_t)i) * row_bytes, row_bytes);
}

/* Rows of the nodes of a path and of those above it, from [nodes] to a cache [rows]. */
static inline void chm_put_path(const chm_call *call, const chm_path *path, const void *nodes, void *cache, int32_t rows,
                                size_t row_bytes) {
  int32_t position = call->position + path->depth + path->count - 1;
  for (int32_t node = path->begin + path->count - 1; node >= 0; node = call->parents[node], --position)
    memcpy((uint8_t *)cache + (size_t)(position % rows) * row_bytes, (const uint8_t *)nodes + (size_t)node * row_bytes,
           row_bytes);
}

/* Sum in 8 lanes, then 4, 2, 1: lanes8_sum of docs/numerics.md. Compiled with -ffp-contract=off. */
static inline float chm_lanes8(const float lanes[8]) {
  const float a0 = lanes[0] + lanes[4], a1 = lanes[1] + lanes[5];
  const float a2 = lanes[2] + lanes[6], a3 = lanes[3] + lanes[7];
  const float b0 = a0 + a2, b1 = a1 + a3;
  return b0 + b1;
}

/* Whether every one of n rows has |now - before| <= threshold * |now|, both [n, width]. */
static inline int chm_converged(const float *now, const float *before, int32_t n, int32_t width, float threshold) {
  for (int32_t row = 0; row < n; ++row) {
    const float *x = now + (size_t)row * (size_t)width, *y = before + (size_t)row * (size_t)width;
    float moved[8] = {0}, size[8] = {0};
    for (int32_t i = 0; i < width; ++i) {
      const float difference = x[i] - y[i];
      moved[i & 7] = moved[i & 7] + difference * difference;
      size[i & 7] = size[i & 7] + x[i] * x[i];
    }
    const float left = __builtin_sqrtf(chm_lanes8(moved)), right = threshold * __builtin_sqrtf(chm_lanes8(size));
    if (!(left <= right)) return 0;
  }
  return 1;
}

#endif
