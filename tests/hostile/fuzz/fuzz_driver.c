/* A fuzzer for machines without libFuzzer: guided by the blocks that gcc's -fsanitize-coverage=trace-pc reports.
 *
 * fuzz_TARGET [-executions N] [-seconds S] [-seed N] [-most BYTES] [-out FOLDER] FILE|FOLDER...
 *     mutates the files and what was found from them, and prints executions, blocks that ran, and the number of inputs kept
 * fuzz_TARGET -replay FILE|FOLDER...   each file once
 *
 * The target runs in a child of its own; when that ends before its time or stands still, the input is in the memory they
 * share, and is written to FOLDER. Equal seeds and files give equal runs, as far as executions are counted, not seconds.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAP_BITS 16u
#define MAP_SIZE (1u << MAP_BITS)
#define MOST_BYTES ((size_t)1 << 20)
#define STILL_SECONDS 20 /* of the processor, for one input */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed);
extern __attribute__((weak)) bool fuzz_has_workers;
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
void __sanitizer_cov_trace_pc(void);
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "exitcode=99:quarantine_size_mb=8:malloc_context_size=8:allocator_may_return_null=0"; }

/* ---- what the child tells ---- */

typedef struct shared {
  atomic_ullong executions;
  uint32_t blocks, kept;
  int32_t done;
  size_t size;
  uint8_t data[MOST_BYTES];
} shared;
static shared *told;

/* ---- blocks: gcc calls __sanitizer_cov_trace_pc at the start of each ---- */

#define ENOUGH (1u << 14) /* calls, after which a block tells nothing new */

static uint8_t hits[MAP_SIZE], seen[MAP_SIZE]; /* of this execution; of all, a bit for each magnitude */
static uint32_t totals[MAP_SIZE], touched[MAP_SIZE], n_touched;
static _Thread_local bool counts; /* the thread that executes: what others run depends on when they come to it */

/* Overwrite the call, so that a block that ran often costs nothing more: most of the time would go into these calls.
 * Nobody else may be in it meanwhile. */
static void retire(uint8_t *behind) {
#if defined(__x86_64__)
  static const uint8_t nothing[5] = {0x0f, 0x1f, 0x44, 0, 0};
  uint8_t *call = behind - 5;
  int32_t distance;
  memcpy(&distance, call + 1, 4);
  if (*call != 0xe8 || behind + distance != (uint8_t *)(uintptr_t)&__sanitizer_cov_trace_pc) return;
  uint8_t *page = (uint8_t *)((uintptr_t)call & ~(uintptr_t)4095);
  if (!mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC)) memcpy(call, nothing, sizeof nothing);
#else
  (void)behind;
#endif
}

void __sanitizer_cov_trace_pc(void) {
  if (!counts) return;
  uint8_t *behind = __builtin_return_address(0);
  uint32_t place = (uint32_t)(behind - (uint8_t *)(uintptr_t)&LLVMFuzzerTestOneInput);
  uint32_t block = place * 0x9E3779B1u >> (32 - MAP_BITS);
  uint8_t before = hits[block];
  if (!before) touched[n_touched++] = block;
  hits[block] = (uint8_t)(before + (before < 255));
  if (++totals[block] >= ENOUGH && !(&fuzz_has_workers && fuzz_has_workers)) retire(behind);
}

static uint8_t magnitude(uint8_t count) {
  return count < 4 ? (uint8_t)(1u << (count - 1)) : count < 8 ? 8 : count < 16 ? 16 : count < 32 ? 32 : count < 128 ? 64 : 128;
}

/* Whether a block ran that never ran before, or never as often. */
static bool is_new(void) {
  bool found = false;
  for (uint32_t i = 0; i < n_touched; ++i) {
    uint32_t block = touched[i];
    uint8_t bit = magnitude(hits[block]);
    if (seen[block] & bit) continue;
    if (!seen[block]) ++told->blocks;
    seen[block] |= bit;
    found = true;
  }
  return found;
}

static bool execute(const uint8_t *data, size_t size) {
  told->size = size;
  memcpy(told->data, data, size);
  for (uint32_t i = 0; i < n_touched; ++i) hits[touched[i]] = 0;
  n_touched = 0;
  LLVMFuzzerTestOneInput(data, size);
  atomic_fetch_add_explicit(&told->executions, 1, memory_order_relaxed);
  return is_new();
}

/* ---- inputs ---- */

typedef struct input {
  uint8_t *data;
  size_t size;
} input;
static input *inputs;
static uint32_t n_inputs, room;

static void *memory(void *block, size_t bytes) {
  block = realloc(block, bytes ? bytes : 1);
  if (!block) exit(3);
  return block;
}

static void keep(const uint8_t *data, size_t size) {
  if (n_inputs == room) inputs = memory(inputs, (room = 2 * room + 64) * sizeof *inputs);
  inputs[n_inputs] = (input){memory(NULL, size), size};
  memcpy(inputs[n_inputs++].data, data, size);
  told->kept = n_inputs;
}

static void read_file(const char *path) {
  FILE *file = fopen(path, "rb");
  static uint8_t data[MOST_BYTES];
  if (!file) {
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    exit(2);
  }
  size_t size = fread(data, 1, sizeof data, file);
  fclose(file);
  keep(data, size);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static void read_path(const char *path) {
  struct dirent **names;
  int count = scandir(path, &names, NULL, by_name);
  if (count < 0) read_file(path);
  for (int i = 0; i < count; ++i) {
    char whole[4096];
    if (names[i]->d_name[0] != '.' && snprintf(whole, sizeof whole, "%s/%s", path, names[i]->d_name) < (int)sizeof whole) read_path(whole);
    free(names[i]);
  }
  if (count >= 0) free(names);
}

/* ---- mutations ---- */

static uint64_t random_state;
static uint32_t below(size_t limit) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (uint32_t)((random_state >> 16) % limit);
}

static size_t insert(uint8_t *data, size_t size, size_t most, size_t at, const uint8_t *from, size_t bytes) {
  if (bytes > most - size) bytes = most - size;
  memmove(data + at + bytes, data + at, size - at);
  if (from) memcpy(data + at, from, bytes);
  else memset(data + at, (int)below(256), bytes);
  return size + bytes;
}

static void change_number(uint8_t *data, size_t size) {
  static const int64_t some[] = {0, 1, -1, 2, 16, 32, 64, 100, 127, -128, 128, 255, 256, 4096, 32767, 65535, 65536, INT32_MAX, INT32_MIN};
  size_t unit = (size_t)1 << below(4), at = below(size);
  uint64_t value = 0;
  if (at + unit > size) return;
  memcpy(&value, data + at, unit);
  if (below(2)) value = (uint64_t)some[below(sizeof some / sizeof *some)];
  else value += below(70) - 35;
  memcpy(data + at, &value, unit);
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most) {
  for (uint32_t rounds = 1u << below(4); rounds; --rounds) {
    size_t at = below(size + 1), bytes = 1 + below(1u << below(7)), from = below(size + 1);
    if (bytes > size - at && size - at) bytes = size - at;
    uint32_t kind = size ? below(9) : 5;
    if (at == size && kind != 5) continue;
    switch (kind) {
      case 0: data[at] ^= (uint8_t)(1u << below(8)); break;
      case 1: data[at] = (uint8_t)below(256); break;
      case 2: change_number(data, size); break;
      case 3: data[at] = (uint8_t)("0123456789{}[]\",:\\ -.eabcdef_\n"[below(30)]); break;
      case 4:
        memmove(data + at, data + at + bytes, size - at - bytes);
        size -= bytes;
        break;
      case 5: size = insert(data, size, most, at, NULL, bytes); break;
      case 6:
        if (from + bytes <= size) memmove(data + at, data + from, bytes);
        break;
      case 7: { /* a part of the input again, elsewhere */
        uint8_t part[128];
        if (from + bytes > size || bytes > sizeof part) break;
        memcpy(part, data + from, bytes);
        size = insert(data, size, most, at, part, bytes);
        break;
      }
      default: { /* of another one */
        const input *other = &inputs[below(n_inputs)];
        if (!other->size) break;
        size_t start = below(other->size), length = bytes < other->size - start ? bytes : other->size - start;
        if (below(2)) size = insert(data, size, most, at, other->data + start, length);
        else if (length <= size - at) memcpy(data + at, other->data + start, length);
      }
    }
  }
  return size;
}

static size_t mutate(uint8_t *data, size_t size, size_t most) {
  if (!LLVMFuzzerCustomMutator) return LLVMFuzzerMutate(data, size, most);
  return LLVMFuzzerCustomMutator(data, size, most, below(UINT32_MAX));
}

/* ---- the run ---- */

typedef struct options {
  uint64_t executions, seconds, seed, most;
  const char *out;
  bool replay;
} options;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The child. */
static void fuzz(const options *o) {
  static uint8_t data[MOST_BYTES];
  double end = now() + (double)o->seconds;
  uint32_t given = n_inputs;
  counts = true;
  for (uint32_t i = 0; i < given; ++i) execute(inputs[i].data, inputs[i].size);
  random_state = (o->seed + 1) * 0x9E3779B97F4A7C15u;
  for (uint64_t i = given; !o->replay && (!o->executions || i < o->executions); ++i) {
    if (o->seconds && i % 64 == 0 && now() >= end) break;
    uint32_t chosen = below(n_inputs), other = below(n_inputs); /* the newer of two, half the time */
    if (below(2) && other > chosen) chosen = other;
    size_t size = inputs[chosen].size;
    memcpy(data, inputs[chosen].data, size);
    size = mutate(data, size, size > o->most ? size : o->most);
    if (execute(data, size)) keep(data, size);
  }
}

static void write_finding(const options *o, const char *why) {
  uint64_t hash = 0xCBF29CE484222325u;
  char path[4096];
  for (size_t i = 0; i < told->size; ++i) hash = (hash ^ told->data[i]) * 0x100000001B3u;
  snprintf(path, sizeof path, "%s/%s-%016llx", o->out, program_invocation_short_name, (unsigned long long)hash);
  FILE *file = fopen(path, "wb");
  bool written = file && fwrite(told->data, 1, told->size, file) == told->size;
  if (file && fclose(file)) written = false;
  printf("finding: %s, after %llu executions: %s\n", why, (unsigned long long)told->executions, written ? path : "it cannot be written");
}

/* Seconds of the processor that the child has used. */
static double used(pid_t child) {
  clockid_t clock;
  struct timespec time;
  if (clock_getcpuclockid(child, &clock) || clock_gettime(clock, &time)) return 0;
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int watch(const options *o, pid_t child) {
  uint64_t before = UINT64_MAX;
  double since = 0;
  int status;
  while (waitpid(child, &status, WNOHANG) == 0) {
    uint64_t executions = told->executions;
    double time = used(child);
    if (executions != before) since = time;
    before = executions;
    if (time - since > STILL_SECONDS) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      write_finding(o, "it stands still");
      return 1;
    }
    nanosleep(&(struct timespec){0, 20000000}, NULL);
  }
  if (WIFEXITED(status) && !WEXITSTATUS(status) && told->done) return 0;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 3) return 3; /* of memory() */
  if (told->done) printf("finding: memory is not given back\n");
  else write_finding(o, "it ended");
  return 1;
}

int main(int count, char **words) {
  options o = {.seed = 1, .most = 8192, .out = "."};
  told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (told == MAP_FAILED) return 3;
  for (int i = 1; i < count; ++i) {
    const char *word = words[i], *value = i + 1 < count ? words[i + 1] : "";
    uint64_t *number = !strcmp(word, "-executions") ? &o.executions
                       : !strcmp(word, "-seconds")  ? &o.seconds
                       : !strcmp(word, "-seed")     ? &o.seed
                       : !strcmp(word, "-most")     ? &o.most
                                                    : NULL;
    if (number) *number = strtoull(value, NULL, 10);
    if (!strcmp(word, "-out")) o.out = value;
    if (!strcmp(word, "-replay")) o.replay = true;
    else if (number || !strcmp(word, "-out")) ++i;
    else read_path(word);
  }
  if (!n_inputs || (!o.executions && !o.seconds && !o.replay) || o.most > MOST_BYTES) {
    fprintf(stderr, "no inputs, no end, or inputs over %zu bytes\n", MOST_BYTES);
    return 2;
  }
  double begun = now();
  pid_t child = fork();
  if (child < 0) return 3;
  if (!child) {
    fuzz(&o);
    told->done = 1;
    exit(0); /* with a look for leaks */
  }
  int result = watch(&o, child);
  printf("executions %llu blocks %u kept %u seconds %.1f\n", (unsigned long long)told->executions, told->blocks, told->kept, now() - begun);
  return result;
}
