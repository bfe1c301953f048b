/* Asks the processor for its features and chooses among the kernel sets of the library. */
#include "chm_cpu.h"

#include "chm_internal.h"

#if !defined(__wasm__)
#include <stdlib.h>
#endif

#if defined(__aarch64__) && defined(__linux__)

#include <sys/auxv.h>

uint64_t chm_cpu_features(void) {
  return getauxval(16 /* AT_HWCAP */) >> 20 & 1 ? CHM_CPU_DOTPROD : 0; /* HWCAP_ASIMDDP */
}

#elif defined(__aarch64__) && defined(__APPLE__)

#include <sys/sysctl.h>

static uint64_t ask(const char *name, uint64_t feature) {
  int32_t value = 0;
  size_t size = sizeof value;
  return !sysctlbyname(name, &value, &size, NULL, 0) && value ? feature : 0;
}

/* Processors whose matrix coprocessor is known; later ones have SME in its place. Apple names the families, not AMX. */
static uint64_t ask_amx(void) {
  static const uint32_t families[] = {
      0x1b588bb3, /* A14, M1 */
      0xda33d83d, /* A15, M2 */
      0x8765edea, /* A16 */
      0x2876f5b5, /* A17 Pro */
      0xfa33415e, /* M3 */
      0x5f4dea93, /* M3 Pro */
      0x72015832, /* M3 Max */
  };
  uint32_t family = 0;
  size_t size = sizeof family;
  if (sysctlbyname("hw.cpufamily", &family, &size, NULL, 0)) return 0;
  for (size_t i = 0; i < sizeof families / sizeof *families; ++i)
    if (family == families[i]) return CHM_CPU_AMX;
  return 0;
}

uint64_t chm_cpu_features(void) {
  return ask("hw.optional.arm.FEAT_DotProd", CHM_CPU_DOTPROD) | ask_amx();
}

#elif defined(__x86_64__)

#include <cpuid.h>

uint64_t chm_cpu_features(void) {
  uint32_t a, b, c, d, low, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0; /* OSXSAVE */
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 0x6) != 0x6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0; /* XMM and YMM are saved */
  uint32_t subleaves = a, tables = c >> 1 & 1 /* VBMI */, tiles = d >> 24 & 3 /* AMX-TILE, AMX-INT8 */;
  uint64_t features = 0;
  const uint32_t wide = 1u << 16 | 1u << 30 | 1u << 31; /* AVX-512 F, BW, VL */
  if ((low & 0xE6) == 0xE6 && (b & wide) == wide && (c >> 11 & 1)) features |= CHM_CPU_AVX512VNNI;
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1)) features |= CHM_CPU_AVXVNNI;
  if (features & CHM_CPU_AVX512VNNI && tables && tiles == 3 && (low >> 17 & 3) == 3) features |= CHM_CPU_AMXINT8;
  return features;
}

#elif defined(CHM_WASM_RELAXED)

#include <wasm_simd128.h>

/* Where the processor has no such instruction, x86 engines add up pairs of products in saturating 16-bit numbers. That
 * shows where one factor leaves 0..127: 255 times 127 is too much for them, and x86 processors that have the instruction
 * multiply it as it is, Arm's as -1. What computes neither is not trusted with it: in baseline code of V8 11, the engine
 * of Node 20, the sum so far may be lost. */
__attribute__((target("relaxed-simd"))) uint64_t chm_cpu_features(void) {
  volatile int8_t factors[] = {127, -1};
  volatile int32_t before = 1 << 20;
  v128_t a = wasm_i8x16_splat(factors[0]), b = wasm_i8x16_splat(factors[1]);
  v128_t sums = wasm_i32x4_relaxed_dot_i8x16_i7x16_add(a, b, wasm_i32x4_splat(before));
  int32_t products = wasm_i32x4_extract_lane(sums, 3) - before;
  return products == 4 * 127 * 255 || products == -4 * 127 ? CHM_CPU_DOT4 : 0;
}

#else

uint64_t chm_cpu_features(void) { return 0; }

#endif

#if defined(__x86_64__) && defined(__linux__)

/* Linux saves a process's tiles once it has asked for them: threads that use them need larger signal stacks from then on. */
static bool granted(uint64_t needs) {
  int64_t result = 158 /* arch_prctl */;
  if (!(needs & CHM_CPU_AMXINT8)) return true;
  __asm__ volatile("syscall" : "+a"(result) : "D"(0x1023 /* ARCH_REQ_XCOMP_PERM */), "S"(18 /* tiles */) : "rcx", "r11", "memory");
  return !result;
}

#else

static bool granted(uint64_t needs) { return !(needs & CHM_CPU_AMXINT8); }

#endif

static int32_t chosen; /* 1 once kernels were chosen */

static bool same(const char *a, const char *b) {
  while (*a && *a == *b) ++a, ++b;
  return *a == *b;
}

int32_t chm_cpu_select(const char *name) {
  uint64_t features = chm_cpu_features();
  for (int32_t i = chm_model.n_kernel_sets - 1; i >= 0; --i) {
    const chm_kernel_set *set = &chm_model.kernel_sets[i];
    if (name && !same(name, set->name)) continue;
    if ((set->needs & features) != set->needs || !granted(set->needs)) {
      if (name) return chm_fail(CHM_ERROR_ARGUMENT, "this processor cannot run the kernels %s", name);
      continue;
    }
    if (chm_model.kernel_set) __atomic_store_n(chm_model.kernel_set, i, __ATOMIC_RELAXED);
    __atomic_store_n(&chosen, 1, __ATOMIC_RELEASE);
    return CHM_OK;
  }
  if (name) return chm_fail(CHM_ERROR_ARGUMENT, "the library has no kernels %s", name);
  if (!chm_model.n_kernel_sets) return CHM_OK;
  return chm_fail(CHM_ERROR_ARGUMENT, "this processor cannot run the kernels %s", chm_model.kernel_sets[0].name);
}

const char *chm_cpu_selected(void) {
  if (!chm_model.n_kernel_sets) return "";
  return chm_model.kernel_sets[chm_model.kernel_set ? __atomic_load_n(chm_model.kernel_set, __ATOMIC_RELAXED) : 0].name;
}

const char *chm_cpu_kernels(int32_t index) {
  return index >= 0 && index < chm_model.n_kernel_sets ? chm_model.kernel_sets[index].name : NULL;
}

int32_t chm_cpu_prepare(void) {
  if (__atomic_load_n(&chosen, __ATOMIC_ACQUIRE)) return CHM_OK;
  const char *name = NULL;
#if !defined(__wasm__)
  name = getenv("CHIMERA_CPU");
  if (name && !*name) name = NULL;
#endif
  return chm_cpu_select(name);
}
