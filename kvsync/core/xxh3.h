/* XXH3_64bits_withSeed of xxHash (Yann Collet, BSD 2-Clause), whose secret and constants these are. */
#ifndef KVSYNC_XXH3_H
#define KVSYNC_XXH3_H

#include "core.h"

static const uint8_t SECRET[192] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

#define P32_1 0x9E3779B1U
#define P32_2 0x85EBCA77U
#define P32_3 0xC2B2AE3DU
#define P64_1 0x9E3779B185EBCA87ULL
#define P64_2 0xC2B2AE3D27D4EB4FULL
#define P64_3 0x165667B19E3779F9ULL
#define P64_4 0x85EBCA77C2B2AE63ULL
#define P64_5 0x27D4EB2F165667C5ULL
#define STRIPE 64
#define STRIPES_PER_BLOCK 16

static inline uint64_t read64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline uint32_t read32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t rotl(uint64_t v, int n) { return (v << n) | (v >> (64 - n)); }

static inline uint64_t avalanche(uint64_t h)
{
    h ^= h >> 37;
    h *= 0x165667919E3779F9ULL;
    return h ^ (h >> 32);
}

static inline uint64_t mix16(const uint8_t *in, const uint8_t *secret, uint64_t seed)
{
    return fold(read64(in) ^ (read64(secret) + seed), read64(in + 8) ^ (read64(secret + 8) - seed));
}

static inline uint64_t hash_4_to_8(const uint8_t *in, size_t len, uint64_t seed)
{
    seed ^= (uint64_t)__builtin_bswap32((uint32_t)seed) << 32;
    uint64_t flip = (read64(SECRET + 8) ^ read64(SECRET + 16)) - seed;
    uint64_t h = (read32(in + len - 4) + ((uint64_t)read32(in) << 32)) ^ flip;
    h ^= rotl(h, 49) ^ rotl(h, 24);
    h *= 0x9FB21C651E98DF25ULL;
    h ^= (h >> 35) + len;
    h *= 0x9FB21C651E98DF25ULL;
    return h ^ (h >> 28);
}

static inline uint64_t hash_9_to_16(const uint8_t *in, size_t len, uint64_t seed)
{
    uint64_t low = read64(in) ^ ((read64(SECRET + 24) ^ read64(SECRET + 32)) + seed);
    uint64_t high = read64(in + len - 8) ^ ((read64(SECRET + 40) ^ read64(SECRET + 48)) - seed);
    return avalanche(len + __builtin_bswap64(low) + high + fold(low, high));
}

static inline uint64_t hash_17_to_128(const uint8_t *in, size_t len, uint64_t seed)
{
    uint64_t acc = len * P64_1;
    for (int i = (int)(len - 1) / 32; i >= 0; i--) {
        acc += mix16(in + 16 * i, SECRET + 32 * i, seed);
        acc += mix16(in + len - 16 * (i + 1), SECRET + 32 * i + 16, seed);
    }
    return avalanche(acc);
}

static inline uint64_t hash_129_to_240(const uint8_t *in, size_t len, uint64_t seed)
{
    uint64_t acc = len * P64_1;
    int rounds = (int)(len / 16), i = 0;
    for (; i < 8; i++)
        acc += mix16(in + 16 * i, SECRET + 16 * i, seed);
    acc = avalanche(acc);
    for (; i < rounds; i++)
        acc += mix16(in + 16 * i, SECRET + 16 * (i - 8) + 3, seed);
    return avalanche(acc + mix16(in + len - 16, SECRET + 136 - 17, seed));
}

static inline void accumulate(uint64_t *acc, const uint8_t *in, const uint8_t *secret)
{
    for (int i = 0; i < 8; i++) {
        uint64_t value = read64(in + 8 * i), key = value ^ read64(secret + 8 * i);
        acc[i ^ 1] += value;
        acc[i] += (uint64_t)(uint32_t)key * (key >> 32);
    }
}

static inline uint64_t hash_long(const uint8_t *in, size_t len, uint64_t seed)
{
    uint64_t acc[8] = {P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1};
    uint8_t secret[192];
    for (int i = 0; i < 192; i += 16) {
        uint64_t low = read64(SECRET + i) + seed, high = read64(SECRET + i + 8) - seed;
        memcpy(secret + i, &low, 8);
        memcpy(secret + i + 8, &high, 8);
    }
    size_t stripes = (len - 1) / STRIPE;
    for (size_t n = 0; n < stripes; n++) {
        accumulate(acc, in + n * STRIPE, secret + 8 * (n % STRIPES_PER_BLOCK));
        if (n % STRIPES_PER_BLOCK == STRIPES_PER_BLOCK - 1)
            for (int i = 0; i < 8; i++)
                acc[i] = (acc[i] ^ (acc[i] >> 47) ^ read64(secret + 128 + 8 * i)) * P32_1;
    }
    accumulate(acc, in + len - STRIPE, secret + 192 - STRIPE - 7);
    uint64_t h = len * P64_1;
    for (int i = 0; i < 4; i++)
        h += fold(acc[2 * i] ^ read64(secret + 11 + 16 * i), acc[2 * i + 1] ^ read64(secret + 19 + 16 * i));
    return avalanche(h);
}

/* Hash whole token ids: `len` is a multiple of 4, and not 0. */
static inline uint64_t hash_block(const uint8_t *in, size_t len, uint64_t seed)
{
    if (len <= 8) return hash_4_to_8(in, len, seed);
    if (len <= 16) return hash_9_to_16(in, len, seed);
    if (len <= 128) return hash_17_to_128(in, len, seed);
    if (len <= 240) return hash_129_to_240(in, len, seed);
    return hash_long(in, len, seed);
}

#endif
