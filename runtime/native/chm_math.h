/* exp, log, tanh, …: the sequences of compiler/ir/numerics.py, operation by operation.
 *
 * Each float operation rounds to binary32 by itself (compile with -ffp-contract=off and without fast-math); a test
 * compares these functions with the Python ones bit for bit. The comments there say why each step is as it is.
 */
#ifndef CHM_MATH_H
#define CHM_MATH_H

#include <float.h>
#include <stdint.h>

_Static_assert(FLT_EVAL_METHOD == 0, "float operations must not be computed in a wider format");
#if defined(__FAST_MATH__)
#error "the numeric contract does not allow fast-math"
#endif

#define CHM_INFINITY_BITS 0x7F800000u
#define CHM_NAN_BITS 0x7FC00000u
#define CHM_MAGNITUDE 0x7FFFFFFFu
#define CHM_SIGN 0x80000000u
#define CHM_EXP_MIN (-0x1.5d589ep+6f)
#define CHM_EXP_MAX 0x1.62e42ep+6f

static inline uint32_t chm_bits(float x) {
  union { float f; uint32_t u; } pun = {.f = x};
  return pun.u;
}
static inline float chm_from_bits(uint32_t bits) {
  union { uint32_t u; float f; } pun = {.u = bits};
  return pun.f;
}
static inline float chm_max(float a, float b) { return a > b ? a : b; }
static inline float chm_min(float a, float b) { return a < b ? a : b; }
static inline float chm_negate(float x) { return chm_from_bits(chm_bits(x) ^ CHM_SIGN); }
static inline float chm_absolute(float x) { return chm_from_bits(chm_bits(x) & CHM_MAGNITUDE); }
static inline int chm_is_nan(float x) { return (chm_bits(x) & CHM_MAGNITUDE) > CHM_INFINITY_BITS; }
static inline float chm_keep_nan(float x, float result) { return chm_is_nan(x) ? chm_from_bits(CHM_NAN_BITS) : result; }
static inline float chm_with_sign_of(float magnitude, float x) {
  return chm_from_bits(chm_bits(magnitude) | (chm_bits(x) & CHM_SIGN));
}
/* |x| < 2^22 */
static inline float chm_round_even(float x) { return (x + 12582912.0f) - 12582912.0f; }
/* Arithmetic shift of two's complement bits. */
static inline int32_t chm_isar(uint32_t bits, int count) { return (int32_t)bits >> count; }

static inline float chm_horner(float x, const float *coefficients, int count) {
  float result = coefficients[count - 1];
  for (int k = count - 2; k >= 0; --k) result = result * x + coefficients[k];
  return result;
}
#define CHM_POLYNOMIAL(x, table) chm_horner(x, table, (int)(sizeof table / sizeof table[0]))

static inline float chm_exp(float x) {
  static const float c[] = {0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558bp-5f, 0x1.12398ep-7f, 0x1.6a4d6p-10f};
  float y = chm_min(chm_max(x, CHM_EXP_MIN), CHM_EXP_MAX);
  float n = chm_round_even(y * 0x1.715476p+0f);
  float r = (y - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
  float p = CHM_POLYNOMIAL(r, c);
  p = (r * r * p + r) + 1.0f;
  float result = chm_from_bits(chm_bits(p) + ((uint32_t)(int32_t)n << 23));
  result = x < CHM_EXP_MIN ? 0.0f : result;
  result = x > CHM_EXP_MAX ? chm_from_bits(CHM_INFINITY_BITS) : result;
  return chm_keep_nan(x, result);
}

static inline float chm_log(float x) {
  static const float c[] = {0x1.555548p-2f, -0x1.000006p-2f, 0x1.99a476p-3f, -0x1.555c44p-3f, 0x1.233ba2p-3f,
                            -0x1.fc28cap-4f, 0x1.e6c00ap-4f, -0x1.de01d8p-4f, 0x1.147334p-4f};
  int tiny = x < 0x1p-126f;
  float y = tiny ? x * 8388608.0f : x;
  uint32_t offset = chm_bits(y) - 0x3F3504F3u;
  float exponent = (float)(chm_isar(offset, 23) + (tiny ? -23 : 0));
  float f = chm_from_bits((offset & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
  float square = f * f;
  float tail = square * f * CHM_POLYNOMIAL(f, c);
  tail = tail + exponent * 0x1.7f7d1cp-20f;
  tail = tail - square * 0.5f;
  float result = exponent * 0x1.62e4p-1f + (f + tail);
  result = chm_bits(x) == CHM_INFINITY_BITS ? x : result;
  result = (chm_bits(x) & CHM_MAGNITUDE) == 0 ? chm_from_bits(CHM_INFINITY_BITS | CHM_SIGN) : result;
  result = x < 0.0f ? chm_from_bits(CHM_NAN_BITS) : result;
  return chm_keep_nan(x, result);
}

/* x > -1 */
static inline float chm_log1p(float x) {
  float u = 1.0f + x;
  float correction = (x - (u - 1.0f)) / u;
  float result = chm_log(u) + correction;
  result = chm_bits(x) == CHM_INFINITY_BITS ? x : result;
  return chm_keep_nan(x, result);
}

static inline float chm_sigmoid(float x) { return chm_keep_nan(x, 1.0f / (1.0f + chm_exp(chm_negate(x)))); }

static inline float chm_silu(float x) {
  float y = chm_max(x, -100.0f);
  return chm_keep_nan(x, y * chm_sigmoid(y));
}

static inline float chm_softplus(float x) {
  float result = chm_log1p(chm_exp(chm_min(x, 20.0f)));
  return chm_keep_nan(x, x > 20.0f ? x : result);
}

static inline float chm_logsigmoid(float x) { return chm_keep_nan(x, chm_negate(chm_softplus(chm_negate(x)))); }

static inline float chm_tanh(float x) {
  static const float c[] = {-0x1.555534p-2f, 0x1.11075ep-3f, -0x1.b842c4p-5f, 0x1.524c4p-6f, -0x1.767a14p-8f};
  float magnitude = chm_absolute(x);
  float bounded = chm_min(magnitude, 10.0f);
  float e = chm_exp(bounded + bounded);
  float large = 1.0f - 2.0f / (e + 1.0f);
  float z = magnitude * magnitude;
  float small = magnitude + magnitude * z * CHM_POLYNOMIAL(z, c);
  return chm_keep_nan(x, chm_with_sign_of(magnitude < 0.625f ? small : large, x));
}

static inline float chm_erf(float x) {
  static const float near[] = {0x1.06eba8p-3f, -0x1.81274p-2f, 0x1.ce2d5p-4f, -0x1.b7fe9p-6f,
                               0x1.542e1p-8f, -0x1.a50b0ep-11f, 0x1.4c344ep-14f};
  static const float far[] = {0x1.20eb9cp+0f, 0x1.455726p-1f, 0x1.b0a90cp-4f, -0x1.79aa48p-6f,
                              0x1.9dcbe2p-9f, -0x1.101dcap-13f, -0x1.fa8fb8p-16f, 0x1.f0bbc2p-19f};
  float magnitude = chm_absolute(x);
  float bounded = chm_min(magnitude, 4.0f);
  float large = 1.0f - chm_exp(chm_negate(bounded * CHM_POLYNOMIAL(bounded, far)));
  float z = bounded * bounded;
  float small = magnitude + magnitude * CHM_POLYNOMIAL(z, near);
  return chm_keep_nan(x, chm_with_sign_of(magnitude < 1.0f ? small : large, x));
}

static inline float chm_gelu_erf(float x) {
  float y = chm_max(x, -100.0f);
  return chm_keep_nan(x, y * 0.5f * (1.0f + chm_erf(y * 0x1.6a09e6p-1f)));
}

/* Sine and cosine of 2 pi * phase / 2^32. */
static inline void chm_sin_cos_phase(uint32_t phase, float *sine_out, float *cosine_out) {
  static const float s[] = {-0x1.555556p-3f, 0x1.111176p-7f, -0x1.a05bb2p-13f, 0x1.7cd428p-19f};
  static const float c[] = {0x1.55554ap-5f, -0x1.6c0c1ap-10f, 0x1.99e0ecp-16f};
  uint32_t quadrant = (phase + 0x20000000u) >> 30;
  float t = (float)(int32_t)(phase - (quadrant << 30)) * 0x1.921fb6p-30f;
  float z = t * t;
  float sine = t + t * z * CHM_POLYNOMIAL(z, s);
  float cosine = (1.0f - z * 0.5f) + z * z * CHM_POLYNOMIAL(z, c);
  *sine_out = chm_from_bits(chm_bits(quadrant & 1 ? cosine : sine) ^ (quadrant & 2) << 30);
  *cosine_out = chm_from_bits(chm_bits(quadrant & 1 ? sine : cosine) ^ ((quadrant + 1) & 2) << 30);
}

/* Sum in the one order of all targets: 8 lanes, then a tree. */
static inline float chm_lanes8_sum(const float *x, uint64_t count) {
  float lanes[8] = {0};
  for (uint64_t start = 0; start < count; start += 8)
    for (uint64_t lane = 0; lane < 8; ++lane) lanes[lane] = lanes[lane] + (start + lane < count ? x[start + lane] : 0.0f);
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

#endif
