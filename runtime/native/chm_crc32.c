/* CRC-32 with the reflected polynomial 0xEDB88320 (as in zlib), eight bytes a step. */
#include "chm_internal.h"

CHM_COLD_BEGIN

void chm_crc32_prepare(chm_crc32_tables *tables) {
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
    tables->of[0][byte] = crc;
  }
  for (uint32_t byte = 0; byte < 256; ++byte)
    for (int k = 1; k < 8; ++k) {
      uint32_t before = tables->of[k - 1][byte];
      tables->of[k][byte] = before >> 8 ^ tables->of[0][before & 255];
    }
}

uint32_t chm_crc32(const chm_crc32_tables *tables, const uint8_t *data, uint64_t bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (; bytes >= 8; bytes -= 8, data += 8) {
    uint32_t low, high;
    memcpy(&low, data, 4);
    memcpy(&high, data + 4, 4);
    low ^= crc;
    crc = tables->of[7][low & 255] ^ tables->of[6][low >> 8 & 255] ^ tables->of[5][low >> 16 & 255] ^
          tables->of[4][low >> 24] ^ tables->of[3][high & 255] ^ tables->of[2][high >> 8 & 255] ^
          tables->of[1][high >> 16 & 255] ^ tables->of[0][high >> 24];
  }
  for (; bytes; --bytes, ++data) crc = crc >> 8 ^ tables->of[0][(crc ^ *data) & 255];
  return ~crc;
}

CHM_COLD_END
