/* See chm_amx.h. One instruction, matint, adds an outer product of 32 x 32 lanes to a 32 x 32 matrix of int32, Z:
 *
 * - a lane of X stands for two output rows: it holds a + b * 2**14 for the trits a and b, so that a lane of Z becomes
 *   A + B * 2**14. |A| and |B| are at most 64 * 127 < 2**13 over a block of 64, which is taken apart again exactly;
 * - lanes are not unpacked: matint looks 4-bit indices up in a table, and a pair of 2-bit codes is such an index. The
 *   32 indices of one column of 64 rows are 16 bytes, which NEON only has to rearrange;
 * - a lane of Y is the activation of one token at the same column; lanes of missing tokens are switched off.
 *
 * While the coprocessor works on a block, NEON scales the sums of the block before and rearranges the weights of the
 * next: the float operations are those of the NEON kernels, in the same order.
 */
#include "chm_amx.h"

#include <arm_neon.h>
#include <stddef.h>
#include <string.h>

#define TILE 64       /* output rows of a pass */
#define STEP 16       /* columns whose weights are one vector per 4 rows */
#define STEP_INDICES (STEP * 16)
#define BLOCK_STEPS (CHM_AMX_BLOCK / STEP)
#define FIELD 14      /* bits of the lower of two sums in a lane */

/* ---- instructions: 0x00201000 | operation << 5 | number of the register with the operand ---- */

enum { LDX = 0, LDY = 1, STZ = 5, MAC16 = 14, SWITCH = 17, MATINT = 20 };

/* The assembler sees the register as "x12"; with a 0 before it that is a hexadecimal number, made decimal again. */
#define AMX(operation, operand) \
  __asm__ volatile(".word 0x00201000 + (%0 << 5) + 0%1 - ((0%1 >> 4) * 6)" \
                   : : "i"(operation), "r"((uint64_t)(operand)) : "memory")
/* Three instructions that do nothing come first wherever Apple's own code switches the coprocessor on or off. */
#define AMX_SWITCH(off) \
  __asm__ volatile("nop\n\tnop\n\tnop\n\t.word 0x00201000 + (%0 << 5) + %1" : : "i"(SWITCH), "i"(off) : "memory")

#define PAIR (1ull << 62) /* load or store two registers: 128 bytes, aligned to 128 */
#define REGISTER(index) ((uint64_t)(index) << 56)
/* mac16 into all of Z as int32, its three inputs left out: zero. */
#define ZERO (1ull << 62 | 7ull << 27)
/* matint: X and Y signed, 16 bits each, Z 32 bits, X looked up with 4-bit indices in register X0. */
#define MULTIPLY (1ull << 63 | 1ull << 53 | 1ull << 48 | 3ull << 42 | 1ull << 26)
#define FIRST_LANES_OF_Y(count) (1ull << 25 | 2ull << 38 | (uint64_t)(count) << 32)

#define INDICES_FIRST 4 /* X4 to X7 hold the indices of 16 columns, Y0 to Y7 their activations */

typedef struct scratch {
  int16_t activations[CHM_AMX_GROUP][CHM_AMX_COLUMNS]; /* of a slab of whole groups, by column */
  uint8_t indices[BLOCK_STEPS * STEP_INDICES];
  int32_t z[2][CHM_AMX_COLUMNS][2][16]; /* the sums of two blocks, as the coprocessor stores them */
  float partial[CHM_AMX_COLUMNS][TILE]; /* of the blocks of a group */
  float sums[CHM_AMX_COLUMNS][TILE];
  float weight_scales[TILE];
} scratch;

static int32_t divide_up(int32_t a, int32_t b) { return (a + b - 1) / b; }

/* ---- weights ---- */

/* Even fields (of 2 bits) of a, and those of b behind each; odd ones the same. */
static inline uint8x16_t even_fields(uint8x16_t a, uint8x16_t b) {
  return vbslq_u8(vdupq_n_u8(0x33), a, vshlq_n_u8(b, 2));
}
static inline uint8x16_t odd_fields(uint8x16_t a, uint8x16_t b) {
  return vbslq_u8(vdupq_n_u8(0x33), vshrq_n_u8(a, 2), b);
}

/* The codes of 64 rows and 16 columns as 16 bytes of indices per column.
 *
 * fours: 16 vectors of 4 rows each, byte 4 * r + c with columns c, 4 + c, 8 + c, 12 + c of row r. Byte j of a column's
 * indices becomes the codes of rows j, 16 + j, 32 + j, 48 + j: lane 2 * j of X stands for rows j and 16 + j, lane
 * 2 * j + 1 for rows 32 + j and 48 + j. */
static void rearrange(const uint8_t *const fours[16], size_t offset, uint8_t *indices) {
  uint8x16_t rows[4][4]; /* [16 rows][c] */
  for (int set = 0; set < 4; ++set) {
    uint8x16_t v[4];
    for (int i = 0; i < 4; ++i) v[i] = vld1q_u8(fours[4 * set + i] + offset);
    const uint8x16_t even0 = vuzp1q_u8(v[0], v[1]), even1 = vuzp1q_u8(v[2], v[3]);
    const uint8x16_t odd0 = vuzp2q_u8(v[0], v[1]), odd1 = vuzp2q_u8(v[2], v[3]);
    rows[set][0] = vuzp1q_u8(even0, even1);
    rows[set][1] = vuzp1q_u8(odd0, odd1);
    rows[set][2] = vuzp2q_u8(even0, even1);
    rows[set][3] = vuzp2q_u8(odd0, odd1);
  }
  for (int c = 0; c < 4; ++c) {
    const uint8x16_t even01 = even_fields(rows[0][c], rows[1][c]), even23 = even_fields(rows[2][c], rows[3][c]);
    const uint8x16_t odd01 = odd_fields(rows[0][c], rows[1][c]), odd23 = odd_fields(rows[2][c], rows[3][c]);
    vst1q_u8(indices + 16 * c, vsliq_n_u8(even01, even23, 4));
    vst1q_u8(indices + 16 * (4 + c), vsliq_n_u8(odd01, odd23, 4));
    vst1q_u8(indices + 16 * (8 + c), vsriq_n_u8(even23, even01, 4));
    vst1q_u8(indices + 16 * (12 + c), vsriq_n_u8(odd23, odd01, 4));
  }
}

/* What an index stands for: codes 0, 1, 2 are the trits -1, 0, 1, and code 3 does not occur. */
static void load_table(void) {
  _Alignas(64) int16_t table[32] = {0};
  for (int high = 0; high < 3; ++high)
    for (int low = 0; low < 3; ++low) table[4 * high + low] = (int16_t)((low - 1) + (high - 1) * (1 << FIELD));
  AMX(LDX, (uintptr_t)table);
}

/* ---- activations ---- */

/* Columns first..first+columns-1 of codes[count][width], transposed; zeros up to whole steps and missing tokens. */
static void transpose(scratch *s, const int8_t *codes, int32_t width, int32_t first, int32_t columns, int32_t count) {
  const int32_t padded = divide_up(columns, STEP) * STEP;
  memset(s->activations, 0, (size_t)padded * sizeof s->activations[0]);
  for (int32_t t = 0; t < count; ++t) {
    const int8_t *row = codes + (size_t)t * (size_t)width + first;
    for (int32_t k = 0; k < columns; ++k) s->activations[k][t] = row[k];
  }
}

/* ---- a block: integers ---- */

/* Put the sums of columns first..first+columns-1 of the slab into z, with their weights at offset in every four. */
static void multiply(scratch *s, const uint8_t *const fours[16], size_t offset, size_t step_bytes, int32_t first,
                     int32_t columns, int32_t count, int32_t z[][2][16]) {
  const int32_t steps = divide_up(columns, STEP);
  for (int32_t i = 0; i < steps; ++i) rearrange(fours, offset + (size_t)i * step_bytes, s->indices + i * STEP_INDICES);
  AMX(MAC16, ZERO);
  for (int32_t i = 0; i < steps; ++i) {
    const uintptr_t x = (uintptr_t)(s->indices + i * STEP_INDICES), y = (uintptr_t)s->activations[first + i * STEP];
    AMX(LDX, PAIR | REGISTER(INDICES_FIRST) | x);
    AMX(LDX, PAIR | REGISTER(INDICES_FIRST + 2) | (x + 128));
    for (unsigned r = 0; r < 8; r += 2) AMX(LDY, PAIR | REGISTER(r) | (y + 64 * r));
    const uint64_t operand = MULTIPLY | FIRST_LANES_OF_Y(count);
    for (unsigned k = 0; k < STEP; ++k)
      AMX(MATINT, operand | (uint64_t)(64 * INDICES_FIRST + 16 * k) << 10 | 2 * CHM_AMX_COLUMNS * k);
  }
  for (int32_t t = 0; t < count; ++t) AMX(STZ, PAIR | REGISTER(2 * t) | (uintptr_t)z[t]);
}

/* ---- a block: floats ---- */

/* One of four vectors of 4 rows: the sums of a block become part of the sums of its group, and those of the row. */
static inline void scale(float *partial, float *sums, const float *weight_scales, int32x4_t integers,
                         float32x4_t factor, int first, int last) {
  float32x4_t value = vmulq_f32(factor, vcvtq_f32_s32(integers));
  if (!first) value = vaddq_f32(vld1q_f32(partial), value);
  if (last)
    vst1q_f32(sums, vaddq_f32(vld1q_f32(sums), vmulq_f32(vld1q_f32(weight_scales), value)));
  else
    vst1q_f32(partial, value);
}

/* first, last: of its group. factors: the activation scale of the block, of every token. */
static void finish(scratch *s, int32_t z[][2][16], const float *factors, size_t stride, int32_t count, int first,
                   int last) {
  for (int32_t t = 0; t < count; ++t) {
    const float32x4_t factor = vdupq_n_f32(factors[(size_t)t * stride]);
    for (int i = 0; i < 8; ++i) {
      const int32x4_t both = vld1q_s32(&z[t][i / 4][4 * (i % 4)]);
      const int32x4_t low = vshrq_n_s32(vshlq_n_s32(both, 32 - FIELD), 32 - FIELD);
      const int32x4_t high = vrshrq_n_s32(both, FIELD); /* rounding takes the lower sum away */
      const int row = 32 * (i / 4) + 4 * (i % 4);
      scale(&s->partial[t][row], &s->sums[t][row], &s->weight_scales[row], low, factor, first, last);
      scale(&s->partial[t][row + 16], &s->sums[t][row + 16], &s->weight_scales[row + 16], high, factor, first, last);
    }
  }
}

/* ---- a tile ---- */

typedef struct tile {
  const uint8_t *fours[16]; /* where the weights of 4 rows begin */
  const uint16_t *scales[16];
  int32_t row, rows;
} tile;

static size_t panel_bytes(const chm_amx_matrix *m) {
  return (size_t)divide_up(m->columns, 64) * 64 / STEP * 4 * (size_t)m->panel_rows;
}

/* fp16 scales of a panel. */
static size_t panel_scales(const chm_amx_matrix *m) {
  return (size_t)divide_up(m->columns, m->group) * (size_t)m->panel_rows;
}

static tile find_tile(const chm_amx_matrix *m, const uint8_t *weights, const uint16_t *weight_scales, int32_t panel) {
  const int32_t panels = divide_up(m->rows, m->panel_rows);
  tile found = {.row = panel * m->panel_rows, .rows = m->rows - panel * m->panel_rows};
  if (found.rows > TILE) found.rows = TILE;
  for (int32_t i = 0; i < 16; ++i) {
    int32_t p = panel + 4 * i / m->panel_rows;
    if (p >= panels) p = panel; /* rows that do not exist: any weights will do */
    const size_t inside = (size_t)(4 * i % m->panel_rows);
    found.fours[i] = weights + (size_t)p * panel_bytes(m) + 4 * inside;
    found.scales[i] = weight_scales + (size_t)p * panel_scales(m) + inside;
  }
  return found;
}

static void load_weight_scales(scratch *s, const chm_amx_matrix *m, const tile *tile, int32_t group) {
  for (int i = 0; i < 16; ++i) {
    const uint16x4_t halves = vld1_u16(tile->scales[i] + (size_t)group * (size_t)m->panel_rows);
    vst1q_f32(&s->weight_scales[4 * i], vcvt_f32_f16(vreinterpret_f16_u16(halves)));
  }
}

/* Columns first..first+columns-1 of a tile: whole groups from column first on, whose activations are in s. */
static void run_tile(scratch *s, const chm_amx_matrix *m, const tile *tile, const float *scales, float *result,
                     int32_t count, int32_t first, int32_t columns) {
  const size_t blocks = (size_t)divide_up(m->columns, m->block), step_bytes = 4 * (size_t)m->panel_rows;
  const size_t row_bytes = (size_t)tile->rows * sizeof(float);
  for (int32_t t = 0; t < count; ++t) {
    if (first)
      memcpy(s->sums[t], result + (size_t)t * (size_t)m->rows + tile->row, row_bytes);
    else
      memset(s->sums[t], 0, sizeof s->sums[t]);
  }
  const float *factors = scales + first / m->block;
  int32_t before = -1; /* the block whose sums are not scaled yet */
  for (int32_t start = 0, index = 0;; start += m->block, ++index) {
    if (start < columns) {
      const int32_t extent = columns - start < m->block ? columns - start : m->block;
      multiply(s, tile->fours, (size_t)((first + start) / STEP) * step_bytes, step_bytes, start, extent, count,
               s->z[index & 1]);
    }
    if (before >= 0) {
      const int32_t begins = before * m->block % m->group == 0;
      const int32_t ends = (before + 1) * m->block % m->group == 0 || (before + 1) * m->block >= columns;
      if (begins) load_weight_scales(s, m, tile, (first + before * m->block) / m->group);
      finish(s, s->z[before & 1], factors + before, blocks, count, begins, ends);
    }
    if (start >= columns) break;
    before = index;
  }
  for (int32_t t = 0; t < count; ++t)
    memcpy(result + (size_t)t * (size_t)m->rows + tile->row, s->sums[t], row_bytes);
}

void chm_amx_product(const chm_amx_matrix *matrix, const int8_t *codes, const float *scales, const uint8_t *weights,
                     const uint16_t *weight_scales, float *result, int32_t count, int32_t begin, int32_t end) {
  _Alignas(128) scratch s;
  const chm_amx_matrix *m = matrix;
  const int32_t panels = TILE / m->panel_rows, from = divide_up(begin, panels) * panels;
  const int32_t slab = CHM_AMX_GROUP / m->group * m->group;
  const size_t blocks = (size_t)divide_up(m->columns, m->block);
  if (from >= end) return;
  AMX_SWITCH(0);
  load_table();
  for (int32_t token = 0; token < count; token += CHM_AMX_COLUMNS) {
    const int32_t tokens = count - token < CHM_AMX_COLUMNS ? count - token : CHM_AMX_COLUMNS;
    for (int32_t first = 0; first < m->columns; first += slab) {
      const int32_t columns = m->columns - first < slab ? m->columns - first : slab;
      transpose(&s, codes + (size_t)token * (size_t)m->columns, m->columns, first, columns, tokens);
      for (int32_t panel = from; panel < end; panel += panels) {
        const tile tile = find_tile(m, weights, weight_scales, panel);
        run_tile(&s, m, &tile, scales + (size_t)token * blocks, result + (size_t)token * (size_t)m->rows, tokens, first,
                 columns);
      }
    }
  }
  AMX_SWITCH(1);
}

void chm_amx_grouped(const chm_amx_matrix *matrix, const int8_t *codes, const float *scales, const uint8_t *weights,
                     const uint16_t *weight_scales, const int32_t *offsets, float *result, int32_t experts, int32_t n,
                     int32_t begin, int32_t end, chm_grouped_kernel *few) {
  const chm_amx_matrix *m = matrix;
  const size_t panels = (size_t)divide_up(m->rows, m->panel_rows), blocks = (size_t)divide_up(m->columns, m->block);
  int32_t some[CHM_AMX_EXPERTS + 1];
  for (int32_t e = 0; e < experts;) {
    const int32_t row = offsets[e], count = offsets[e + 1] - row;
    if (count >= CHM_AMX_LEAST) {
      chm_amx_product(m, codes + (size_t)row * (size_t)m->columns, scales + (size_t)row * blocks,
                      weights + (size_t)e * panels * panel_bytes(m),
                      weight_scales + (size_t)e * panels * panel_scales(m), result + (size_t)row * (size_t)m->rows,
                      count, begin, end);
      ++e;
      continue;
    }
    int32_t last = e; /* one after a run of experts with few rows */
    while (last < experts && offsets[last + 1] - offsets[last] < CHM_AMX_LEAST) ++last;
    for (int32_t i = 0; i <= experts; ++i) some[i] = offsets[i < e ? e : i > last ? last : i];
    if (some[experts] > some[0]) few(codes, scales, weights, weight_scales, some, result, n, begin, end);
    e = last;
  }
}
