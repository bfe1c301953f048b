/* See chm_amxint8.h. Two panels of 8 rows are brought from 2 bits into signed bytes, 256 columns at a time, which is the
 * form that a tile wants: 4 columns of each of 16 rows in a line. Tokens pass by them, 16 at a time.
 *
 * Everything waits long for what was begun last, and little for what was begun before: so while tiles multiply some
 * columns, the next ones are unpacked, and the sums of the ones before are scaled. Integers are exact in any order; floats
 * are added in the order of docs/numerics.md: blocks, then groups. */
#include "chm_amxint8.h"

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define WITH_TILES __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,f16c,amx-tile,amx-int8")))
#define UNROLLED __attribute__((always_inline)) inline

enum {
  PANEL = 8,                   /* rows of a panel */
  ROWS = 16,                   /* of a tile of sums: those of two panels */
  TOKENS = 16,                 /* of a tile */
  BLOCK = CHM_AMXINT8_COLUMNS, /* columns of a tile */
  LINE = 64,                   /* bytes of a line of a tile */
  SUMS = 4,                    /* blocks of a batch, each with a tile of sums */
  BATCH = SUMS * BLOCK,        /* columns that are multiplied at a time */
  PARTS = 4,                   /* most times 16 tokens that pass by unpacked weights */
  AHEAD = 2048,                /* bytes of weights that are asked for before they are needed */
  FEW = 64,                    /* panels for which codes are read where they are */
};

typedef struct scratch {
  int8_t codes[CHM_AMXINT8_MOST / BLOCK][TOKENS][LINE]; /* tiles: where they are, tokens would share few lines of a cache */
  uint8_t weights[2][SUMS][16][LINE];                   /* tiles of signed bytes: of this batch, and of the next one */
  int32_t sums[2][SUMS][TOKENS][ROWS];                  /* of this batch, and of the one before */
  float partial[PARTS][TOKENS][ROWS];                   /* of groups that go on */
  float result[PARTS][TOKENS][ROWS];
} scratch;

/* Two panels, which may be the same, and the activations. */
typedef struct work {
  const chm_amxint8_matrix *m;
  const float *scales;
  const uint8_t *panels[2];
  const uint16_t *panel_scales[2];
  int32_t tiles, parts, tokens; /* tiles of a row, parts of the tokens, tokens of a part */
  const int8_t *codes;
  size_t next_tile, next_token, next_part; /* bytes between those of codes */
} work;

/* A batch whose sums are not scaled yet: `sums` tiles of part `part` from tile `tile` of a row on. */
typedef struct pending {
  int32_t tile, part, sums, place;
} pending;

static int32_t divide_up(int32_t a, int32_t b) { return (a + b - 1) / b; }
static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
static bool one_block(const chm_amxint8_matrix *m) { return m->block >= m->columns; }

/* ---- weights ---- */

/* Signed bytes of some tiles from tile `first` on. A byte has the codes t + 1 of columns c, 4 + c, 8 + c, 12 + c. */
WITH_TILES static UNROLLED void unpack(uint8_t weights[SUMS][16][LINE], const work *w, int32_t first, int32_t tiles) {
  /* entries for the 6 bits of three codes; of the third one, which is shifted here for the fourth as well */
  const __m512i plane0 = _mm512_set1_epi32(0x020100ff);
  const __m512i plane1 = _mm512_set4_epi32(0x02020202, 0x01010101, 0, -1);
  const __m512i plane2 = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_inserti128_si256(_mm256_set1_epi8(-1), _mm_setzero_si128(), 1)),
                                            _mm256_inserti128_si256(_mm256_set1_epi8(1), _mm_set1_epi8(2), 1), 1);
  const uint8_t *a = w->panels[0] + (size_t)first * (BLOCK * PANEL / 4);
  const uint8_t *b = w->panels[1] + (size_t)first * (BLOCK * PANEL / 4);
  for (int32_t tile = 0; tile < tiles; ++tile) {
    for (int32_t line = 2 * tile; line < 2 * tile + 2; ++line) {
      _mm_prefetch((const char *)(a + line * LINE + AHEAD), _MM_HINT_T0);
      _mm_prefetch((const char *)(b + line * LINE + AHEAD), _MM_HINT_T0);
    }
    for (int32_t step = 0; step < 4; ++step) {
      const size_t place = (size_t)(4 * tile + step) * 4 * PANEL;
      const __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)(a + place));
      const __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(b + place));
      const __m512i codes = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
      uint8_t(*lines)[LINE] = &weights[tile][4 * step];
      _mm512_store_si512(lines[0], _mm512_permutexvar_epi8(codes, plane0));
      _mm512_store_si512(lines[1], _mm512_permutexvar_epi8(codes, plane1));
      _mm512_store_si512(lines[2], _mm512_permutexvar_epi8(codes, plane2));
      _mm512_store_si512(lines[3], _mm512_permutexvar_epi8(_mm512_srli_epi16(codes, 2), plane2));
    }
  }
}

/* ---- integers ---- */

/* The products of a batch; `goes_on`: are added to what the tiles have. */
WITH_TILES static UNROLLED void multiply(const work *w, const int8_t *codes, uint8_t weights[SUMS][16][LINE], int32_t tiles,
                                         bool goes_on) {
  const size_t tile = w->next_tile, token = w->next_token;
  if (!goes_on) _tile_zero(0), _tile_zero(1), _tile_zero(2), _tile_zero(3);
  _tile_loadd(4, codes, token), _tile_loadd(5, weights[0], LINE), _tile_dpbssd(0, 4, 5);
  if (tiles > 1) _tile_loadd(6, codes + tile, token), _tile_loadd(7, weights[1], LINE), _tile_dpbssd(1, 6, 7);
  if (tiles > 2) _tile_loadd(4, codes + 2 * tile, token), _tile_loadd(5, weights[2], LINE), _tile_dpbssd(2, 4, 5);
  if (tiles > 3) _tile_loadd(6, codes + 3 * tile, token), _tile_loadd(7, weights[3], LINE), _tile_dpbssd(3, 6, 7);
}

WITH_TILES static UNROLLED void store(int32_t sums[SUMS][TOKENS][ROWS], int32_t tiles) {
  _tile_stored(0, sums[0], LINE);
  if (tiles > 1) _tile_stored(1, sums[1], LINE);
  if (tiles > 2) _tile_stored(2, sums[2], LINE);
  if (tiles > 3) _tile_stored(3, sums[3], LINE);
}

/* ---- floats ---- */

WITH_TILES static UNROLLED __m512 weight_scales(const work *w, int32_t group) {
  const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(w->panel_scales[0] + group * PANEL));
  const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(w->panel_scales[1] + group * PANEL));
  return _mm512_cvtph_ps(_mm256_set_m128i(high, low));
}

WITH_TILES static UNROLLED __m512 sum_of(const scratch *s, const pending *now, int32_t tile, int32_t token) {
  return _mm512_cvtepi32_ps(_mm512_load_si512(s->sums[now->place][tile][token]));
}

/* Scale the sums of a batch, which are of whole groups of `each` blocks, the last of a row maybe shorter. */
WITH_TILES static UNROLLED void scale(scratch *s, const work *w, const pending *now, int32_t sums, int32_t each) {
  __m512 scales[SUMS];
  for (int32_t i = 0; i < divide_up(sums, each); ++i) scales[i] = weight_scales(w, now->tile / each + i);
  for (int32_t t = 0; t < w->tokens; ++t) {
    const float *factors = w->scales + (size_t)(now->part * TOKENS + t) * (size_t)w->tiles + now->tile;
    float *result = s->result[now->part][t];
    __m512 total = _mm512_load_ps(result), value = total;
    for (int32_t i = 0; i < sums; ++i) {
      const __m512 scaled = _mm512_mul_ps(_mm512_set1_ps(factors[i]), sum_of(s, now, i, t));
      value = i % each ? _mm512_add_ps(value, scaled) : scaled;
      if (i % each == each - 1 || i == sums - 1) total = _mm512_add_ps(total, _mm512_mul_ps(scales[i / each], value));
    }
    _mm512_store_ps(result, total);
  }
}

/* Of a part of a group, which is several batches. */
WITH_TILES static UNROLLED void scale_part(scratch *s, const work *w, const pending *now, int32_t sums) {
  const int32_t group = least(w->m->group / BLOCK, w->tiles), last = now->tile + sums;
  const bool begins = now->tile % group == 0, ends = last % group == 0 || last == w->tiles;
  const __m512 scales = weight_scales(w, now->tile / group);
  for (int32_t t = 0; t < w->tokens; ++t) {
    const float *factors = w->scales + (size_t)(now->part * TOKENS + t) * (size_t)w->tiles + now->tile;
    float *partial = s->partial[now->part][t], *result = s->result[now->part][t];
    __m512 value = _mm512_load_ps(partial);
    for (int32_t i = 0; i < sums; ++i) {
      const __m512 scaled = _mm512_mul_ps(_mm512_set1_ps(factors[i]), sum_of(s, now, i, t));
      value = begins && !i ? scaled : _mm512_add_ps(value, scaled);
    }
    if (ends)
      _mm512_store_ps(result, _mm512_add_ps(_mm512_load_ps(result), _mm512_mul_ps(scales, value)));
    else
      _mm512_store_ps(partial, value);
  }
}

WITH_TILES static void finish(scratch *s, const work *w, const pending *now) {
  const int32_t each = w->m->group / BLOCK, all = now->sums == SUMS;
  if (!now->sums) return;
  if (each > SUMS) return all ? scale_part(s, w, now, SUMS) : scale_part(s, w, now, now->sums);
  if (all && each == SUMS) return scale(s, w, now, SUMS, SUMS);
  if (all && each == 2) return scale(s, w, now, SUMS, 2);
  scale(s, w, now, now->sums, each);
}

/* The sums of whole rows, which have one scale, from those of SUMS tiles. */
WITH_TILES static void finish_rows(scratch *s, const work *w) {
  const __m512 scales = weight_scales(w, 0);
  store(s->sums[0], SUMS);
  for (int32_t t = 0; t < w->tokens; ++t) {
    __m512i sum = _mm512_load_si512(s->sums[0][0][t]);
    for (int32_t i = 1; i < SUMS; ++i) sum = _mm512_add_epi32(sum, _mm512_load_si512(s->sums[0][i][t]));
    const __m512 scaled = _mm512_mul_ps(_mm512_set1_ps(w->scales[t]), _mm512_cvtepi32_ps(sum));
    float *result = s->result[0][t];
    _mm512_store_ps(result, _mm512_add_ps(_mm512_load_ps(result), _mm512_mul_ps(scales, scaled)));
  }
}

/* ---- two panels ---- */

/* Results of `rows` rows, for all parts. */
WITH_TILES static void run(scratch *s, const work *w, float *result, int32_t rows) {
  const bool whole = one_block(w->m);
  pending before = {0};
  memset(s->result, 0, (size_t)w->parts * sizeof *s->result);
  unpack(s->weights[0], w, 0, least(w->tiles, SUMS));
  for (int32_t tile = 0, side = 0; tile < w->tiles; tile += SUMS, side ^= 1) {
    const int32_t tiles = least(w->tiles - tile, SUMS), next = least(w->tiles - tile - tiles, SUMS);
    for (int32_t part = 0; part < w->parts; ++part) {
      const int8_t *codes = w->codes + (size_t)part * w->next_part + (size_t)tile * w->next_tile;
      if (tiles == SUMS)
        multiply(w, codes, s->weights[side], SUMS, whole && tile);
      else
        multiply(w, codes, s->weights[side], tiles, whole && tile);
      if (part == 0 && next == SUMS)
        unpack(s->weights[side ^ 1], w, tile + tiles, SUMS);
      else if (part == 0)
        unpack(s->weights[side ^ 1], w, tile + tiles, next);
      if (whole) continue;
      const pending now = {tile, part, tiles, before.place ^ 1};
      store(s->sums[now.place], tiles);
      finish(s, w, &before);
      before = now;
    }
  }
  if (whole)
    finish_rows(s, w);
  else
    finish(s, w, &before);
  const __mmask16 kept = (__mmask16)((1u << rows) - 1);
  for (int32_t part = 0; part < w->parts; ++part)
    for (int32_t t = 0; t < w->tokens; ++t) {
      float *target = result + (size_t)(part * TOKENS + t) * (size_t)w->m->rows;
      _mm512_mask_storeu_ps(target, kept, _mm512_load_ps(s->result[part][t]));
    }
}

/* ---- all panels ---- */

/* Eight tiles: 0 to 3 of sums, then codes and weights in turns. */
WITH_TILES static void configure(int32_t tokens) {
  _Alignas(LINE) struct {
    uint8_t palette, start, reserved[14];
    uint16_t line_bytes[16];
    uint8_t lines[16];
  } shape = {.palette = 1};
  for (int i = 0; i < 8; ++i) {
    shape.line_bytes[i] = LINE;
    shape.lines[i] = (uint8_t)(i == 5 || i == 7 ? 16 : tokens);
  }
  _tile_loadconfig(&shape);
}

/* Say where codes are, which for many panels are copied: tokens are often a power of two apart, and share few lines of a
 * cache there. */
static void find_codes(scratch *s, work *w, const int8_t *codes, int32_t panels) {
  const size_t columns = (size_t)w->m->columns;
  w->codes = codes, w->next_tile = BLOCK, w->next_token = columns, w->next_part = TOKENS * columns;
  if (panels <= FEW) return;
  for (int32_t token = 0; token < w->parts * w->tokens; ++token)
    for (int32_t tile = 0; tile < w->tiles; ++tile)
      memcpy(s->codes[token / TOKENS * w->tiles + tile][token % TOKENS],
             codes + (size_t)token * columns + (size_t)tile * BLOCK, LINE);
  w->codes = s->codes[0][0], w->next_tile = TOKENS * LINE, w->next_token = LINE;
  w->next_part = (size_t)w->tiles * w->next_tile;
}

static void all_panels(scratch *s, work *w, const uint8_t *weights, const uint16_t *weight_scales, float *result,
                       int32_t begin, int32_t end) {
  const chm_amxint8_matrix *m = w->m;
  const size_t panel_bytes = (size_t)m->columns * PANEL / 4;
  const size_t panel_scales = (size_t)divide_up(m->columns, m->group) * PANEL;
  configure(w->tokens);
  for (int32_t panel = begin; panel < end; panel += 2) {
    const int32_t row = panel * PANEL;
    for (int i = 0; i < 2; ++i) {
      const size_t number = (size_t)(i && panel + 1 < end ? panel + 1 : panel);
      w->panels[i] = weights + number * panel_bytes;
      w->panel_scales[i] = weight_scales + number * panel_scales;
    }
    run(s, w, result + row, least(m->rows, least(panel + 2, end) * PANEL) - row);
  }
}

WITH_TILES static void release(void) { _tile_release(); }

void chm_amxint8_product(const chm_amxint8_matrix *matrix, const int8_t *codes, const float *scales,
                         const uint8_t *weights, const uint16_t *weight_scales, float *result, int32_t count,
                         int32_t begin, int32_t end) {
  _Alignas(LINE) scratch s;
  const int32_t tiles = matrix->columns / BLOCK, blocks = divide_up(matrix->columns, matrix->block);
  const int32_t most = one_block(matrix) ? 1 : least(PARTS, CHM_AMXINT8_MOST / matrix->columns);
  for (int32_t done = 0, now; done < count; done += now) {
    const int32_t left = count - done, tokens = least(left, TOKENS), parts = least(left / tokens, most);
    work w = {.m = matrix, .tiles = tiles, .parts = parts, .tokens = tokens};
    w.scales = scales + (size_t)done * (size_t)blocks;
    find_codes(&s, &w, codes + (size_t)done * (size_t)matrix->columns, end - begin);
    all_panels(&s, &w, weights, weight_scales, result + (size_t)done * (size_t)matrix->rows, begin, end);
    now = parts * tokens;
  }
  release();
}
