/* crc32c (Castagnoli): the checksum that the store returns for what it holds.
 *
 * With the processor's crc instruction three streams run interleaved, since one instruction takes three cycles
 * but can start every cycle; without it, slicing by eight. Call crc32c_prepare() once; a state starts as
 * CRC32C_START and is read with crc32c_value(). */
#ifndef CRC32C_H
#define CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#define CRC32C_TARGET __attribute__((target("sse4.2")))
#define CRC32C_WORD(state, word) ((uint32_t)_mm_crc32_u64((state), (word)))
#define CRC32C_BYTE(state, byte) _mm_crc32_u8((state), (byte))
#define CRC32C_PRESENT() __builtin_cpu_supports("sse4.2")
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define CRC32C_TARGET
#define CRC32C_WORD(state, word) __crc32cd((state), (word))
#define CRC32C_BYTE(state, byte) __crc32cb((state), (byte))
#define CRC32C_PRESENT() 1
#endif

#define CRC32C_START 0xFFFFFFFFu
#define CRC32C_POLYNOMIAL 0x82F63B78u /* reflected */
#define CRC32C_LANE 2048              /* bytes of each interleaved stream: three lie in the first-level cache */

static uint32_t crc32c_slices[8][256];
static uint32_t crc32c_shifts[4][256]; /* what CRC32C_LANE zero bytes make of each byte of a state */

static inline uint32_t crc32c_value(uint32_t state) { return state ^ 0xFFFFFFFFu; }

static inline uint32_t crc32c_software(uint32_t state, const unsigned char *bytes, size_t length)
{
    for (; length >= 8; bytes += 8, length -= 8) {
        uint32_t low = state ^ ((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                                (uint32_t)bytes[3] << 24);
        state = crc32c_slices[7][low & 255] ^ crc32c_slices[6][low >> 8 & 255] ^ crc32c_slices[5][low >> 16 & 255] ^
                crc32c_slices[4][low >> 24] ^ crc32c_slices[3][bytes[4]] ^ crc32c_slices[2][bytes[5]] ^
                crc32c_slices[1][bytes[6]] ^ crc32c_slices[0][bytes[7]];
    }
    for (; length > 0; bytes++, length--)
        state = state >> 8 ^ crc32c_slices[0][(state ^ *bytes) & 255];
    return state;
}

#ifdef CRC32C_TARGET
static inline uint32_t crc32c_shift(uint32_t state)
{
    return crc32c_shifts[0][state & 255] ^ crc32c_shifts[1][state >> 8 & 255] ^ crc32c_shifts[2][state >> 16 & 255] ^
           crc32c_shifts[3][state >> 24];
}

static inline uint64_t crc32c_load(const unsigned char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

CRC32C_TARGET static inline uint32_t crc32c_hardware(uint32_t state, const unsigned char *bytes, size_t length)
{
    for (; length >= 3 * CRC32C_LANE; bytes += 3 * CRC32C_LANE, length -= 3 * CRC32C_LANE) {
        uint32_t second = 0, third = 0;
        for (size_t at = 0; at < CRC32C_LANE; at += 8) {
            state = CRC32C_WORD(state, crc32c_load(bytes + at));
            second = CRC32C_WORD(second, crc32c_load(bytes + CRC32C_LANE + at));
            third = CRC32C_WORD(third, crc32c_load(bytes + 2 * CRC32C_LANE + at));
        }
        state = crc32c_shift(crc32c_shift(state) ^ second) ^ third;
    }
    for (; length >= 8; bytes += 8, length -= 8)
        state = CRC32C_WORD(state, crc32c_load(bytes));
    for (; length > 0; bytes++, length--)
        state = CRC32C_BYTE(state, *bytes);
    return state;
}
#endif

static uint32_t (*crc32c_update)(uint32_t state, const unsigned char *bytes, size_t length) = crc32c_software;

static inline void crc32c_fill_slices(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t state = byte;
        for (int bit = 0; bit < 8; bit++)
            state = state >> 1 ^ (state & 1 ? CRC32C_POLYNOMIAL : 0);
        crc32c_slices[0][byte] = state;
    }
    for (int slice = 1; slice < 8; slice++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = crc32c_slices[slice - 1][byte];
            crc32c_slices[slice][byte] = before >> 8 ^ crc32c_slices[0][before & 255];
        }
}

static inline void crc32c_fill_shifts(void)
{
    static const unsigned char zeros[CRC32C_LANE];
    uint32_t of_bit[32];
    for (int bit = 0; bit < 32; bit++)
        of_bit[bit] = crc32c_software(UINT32_C(1) << bit, zeros, sizeof zeros);
    for (int position = 0; position < 4; position++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t sum = 0; /* shifting is linear: the sum of what each bit becomes */
            for (int bit = 0; bit < 8; bit++)
                if (byte >> bit & 1)
                    sum ^= of_bit[8 * position + bit];
            crc32c_shifts[position][byte] = sum;
        }
}

static inline void crc32c_prepare(void)
{
    crc32c_fill_slices();
    crc32c_fill_shifts();
#ifdef CRC32C_TARGET
    if (CRC32C_PRESENT())
        crc32c_update = crc32c_hardware;
#endif
}

#endif
