/* Products with packed trits on the tile registers (AMX-INT8) of Intel's servers from Sapphire Rapids on: an instruction
 * adds the products of 16 tokens and 16 rows over 64 columns. Results are those of the other kernels, bit for bit. */
#ifndef CHM_AMXINT8_H
#define CHM_AMXINT8_H

#include <stdint.h>

#define CHM_AMXINT8_COLUMNS 64 /* of a tile, and of a block of activations */
#define CHM_AMXINT8_MOST 8192  /* columns of a matrix: the codes of 16 tokens lie on the stack */
#define CHM_AMXINT8_LEAST 3    /* from so many tokens on, tiles are faster */

/* A matrix of trits in the layout t2.r8 with fp16 scales in panel.r8 (docs/packing.md). */
typedef struct chm_amxint8_matrix {
  int32_t rows, columns; /* columns: a multiple of CHM_AMXINT8_COLUMNS, at most CHM_AMXINT8_MOST */
  int32_t group;         /* columns that share a weight scale: 64, 128, a multiple of 256, or all */
  int32_t block;         /* columns that share an activation scale: 64, or all */
} chm_amxint8_matrix;

/* result[count][rows] = (codes[count][columns], scales[count][blocks]) times the panels begin..end-1 of the matrix. */
void chm_amxint8_product(const chm_amxint8_matrix *matrix, const int8_t *codes, const float *scales,
                         const uint8_t *weights, const uint16_t *weight_scales, float *result, int32_t count,
                         int32_t begin, int32_t end);

#endif
