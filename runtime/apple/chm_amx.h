/* Products with packed trits on the matrix coprocessor (AMX) of Apple's processors from M1 and A14 to M3 and A17.
 *
 * Apple documents neither the coprocessor nor its instructions; docs/apple.md says what is used of it, where that is
 * described, and how it is tested. Results are those of the NEON kernels, bit for bit.
 */
#ifndef CHM_AMX_H
#define CHM_AMX_H

#include <stdint.h>

#define CHM_AMX_COLUMNS 16    /* columns of activations that a pass over the weights serves */
#define CHM_AMX_BLOCK 64      /* largest block: sums of so many products fit 14 bits */
#define CHM_AMX_GROUP 1024    /* largest group of weights with one scale */
#define CHM_AMX_LEAST 4       /* from so many columns on, the coprocessor is used; a guess, not measured */
#define CHM_AMX_EXPERTS 256   /* most experts of a grouped product */

/* A matrix of trits in the layout t2.r<panel_rows> with fp16 scales in panel.r<panel_rows> (docs/numerics.md). */
typedef struct chm_amx_matrix {
  int32_t rows, columns;
  int32_t group;      /* columns that share a weight scale: a multiple of block, <= CHM_AMX_GROUP */
  int32_t block;      /* columns that share an activation scale: a multiple of 16, <= CHM_AMX_BLOCK */
  int32_t panel_rows; /* 4, 8, 16, 32 or 64 */
} chm_amx_matrix;

/* result[count][rows] = (codes[count][columns], scales[count][blocks]) times the matrix, for those tiles of 64 rows
 * whose first panel is one of begin..end-1. So however a range of panels is cut into parts, each tile is computed once,
 * by the part that has its first panel. */
void chm_amx_product(const chm_amx_matrix *matrix, const int8_t *codes, const float *scales, const uint8_t *weights,
                     const uint16_t *weight_scales, float *result, int32_t count, int32_t begin, int32_t end);

/* A generated kernel of grouped_ternary_matmul. */
typedef void chm_grouped_kernel(const void *codes, const void *scales, const void *weights, const void *weight_scales,
                                const void *offsets, void *result, int32_t n, int32_t begin, int32_t end);

/* Rows offsets[e]..offsets[e+1]-1 times matrix e, of experts <= CHM_AMX_EXPERTS matrices that follow each other.
 * Experts with fewer than CHM_AMX_LEAST rows are left to another kernel. */
void chm_amx_grouped(const chm_amx_matrix *matrix, const int8_t *codes, const float *scales, const uint8_t *weights,
                     const uint16_t *weight_scales, const int32_t *offsets, float *result, int32_t experts, int32_t n,
                     int32_t begin, int32_t end, chm_grouped_kernel *few);

#endif
