/* What a processor can do beyond the instruction set that a library was built for, one bit per feature. */
#ifndef CHM_CPU_H
#define CHM_CPU_H

#include <stdint.h>

/* AArch64 */
#define CHM_CPU_DOTPROD (UINT64_C(1) << 0) /* sdot, udot */
#define CHM_CPU_AMX (UINT64_C(1) << 1)     /* Apple's matrix coprocessor (runtime/apple/chm_amx.h) */
/* x86-64; the registers are only counted where the operating system saves them */
#define CHM_CPU_AVXVNNI (UINT64_C(1) << 16)    /* vpdpbusd in its AVX form */
#define CHM_CPU_AVX512VNNI (UINT64_C(1) << 17) /* the same with AVX-512 F, BW, VL */
#define CHM_CPU_AMXINT8 (UINT64_C(1) << 18)    /* tiles of bytes, with that and VBMI; processes ask for them */
/* WebAssembly with relaxed SIMD */
#define CHM_CPU_DOT4 (UINT64_C(1) << 32) /* sums of four byte products in one instruction of the processor */

/* Kernels of a library for one kind of processor. */
typedef struct chm_kernel_set {
  const char *name;
  uint64_t needs; /* features, all of which it uses */
} chm_kernel_set;

/* Features of the processor that runs this. */
uint64_t chm_cpu_features(void);

/* Choose the library's best kernels for this processor, or those that the environment variable CHIMERA_CPU names. Done
 * once; an earlier choice stays. */
int32_t chm_cpu_prepare(void);

#endif
