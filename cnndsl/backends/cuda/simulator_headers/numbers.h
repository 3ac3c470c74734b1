// Numbers of 16 bits.
#pragma once

namespace simulator {

struct Bfloat16 {
    static unsigned short narrow(float value) {
        unsigned bits = __float_as_uint(value);
        if ((bits & 0x7FFFFFFF) > 0x7F800000) return 0x7FFF;
        return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    }
    static float widen(unsigned short bits) { return __uint_as_float(unsigned(bits) << 16); }
};

struct Half {
    static unsigned short narrow(float value) {
        unsigned bits = __float_as_uint(value), sign = bits >> 16 & 0x8000;
        bits &= 0x7FFFFFFF;
        if (bits > 0x7F800000) return 0x7FFF;
        if (bits >= 0x477FF000) return sign | 0x7C00;  // from 65520 on: infinity
        if (bits < 0x38800000)  // below 2^-14 a half's step is that of a float from 1/2 on
            return sign | (__float_as_uint(__uint_as_float(bits) + 0.5f) - 0x3F000000);
        return sign | (bits - 0x38000000 + 0xFFF + (bits >> 13 & 1)) >> 13;
    }
    static float widen(unsigned short half) {
        unsigned sign = unsigned(half & 0x8000) << 16, bits = half & 0x7FFF;
        float value = bits < 0x400    ? bits * 0x1p-24f
                      : bits < 0x7C00 ? __uint_as_float((bits << 13) + 0x38000000)
                                      : __uint_as_float((bits << 13) + 0x70000000);
        return __uint_as_float(__float_as_uint(value) | sign);
    }
};

// A number that is kept in 16 bits and computed in a float, rounded to nearest even.
template <class Format>
struct Narrow {
    unsigned short bits;
    Narrow() = default;
    explicit Narrow(float value) : bits(Format::narrow(value)) {}
    operator float() const { return Format::widen(bits); }
    // The sum, difference, product and quotient of two are such numbers, as in CUDA's headers.
    friend Narrow operator+(Narrow a, Narrow b) { return Narrow(float(a) + float(b)); }
    friend Narrow operator-(Narrow a, Narrow b) { return Narrow(float(a) - float(b)); }
    friend Narrow operator*(Narrow a, Narrow b) { return Narrow(float(a) * float(b)); }
    friend Narrow operator/(Narrow a, Narrow b) { return Narrow(float(a) / float(b)); }
};

template <class Format>
struct alignas(4) Pair {
    Narrow<Format> x, y;
};

}  // namespace simulator

using __nv_bfloat16 = simulator::Narrow<simulator::Bfloat16>;
using __nv_bfloat162 = simulator::Pair<simulator::Bfloat16>;
using __half = simulator::Narrow<simulator::Half>;
using __half2 = simulator::Pair<simulator::Half>;

// CUDA's functions for a format; it names both with 16 and 162, or with nothing and 2.
#define CNNDSL_NARROW(type, pair, one, two, float_to_two, two_to_float, ones_to_two, make)      \
    inline type __float2##one(float value) { return type(value); }                              \
    inline type __float2##one##_rn(float value) { return type(value); }                         \
    inline float __##one##2float(type value) { return value; }                                  \
    inline pair make(type x, type y) { return {x, y}; }                                         \
    inline pair ones_to_two(type x, type y) { return {x, y}; }                                  \
    inline pair __##one##2##two(type value) { return {value, value}; }                          \
    inline pair __float2##two##_rn(float value) { return {type(value), type(value)}; }          \
    inline pair __floats2##two##_rn(float x, float y) { return {type(x), type(y)}; }            \
    inline pair float_to_two(float2 value) { return {type(value.x), type(value.y)}; }           \
    inline float2 two_to_float(pair value) { return {float(value.x), float(value.y)}; }         \
    inline type __low2##one(pair value) { return value.x; }                                     \
    inline type __high2##one(pair value) { return value.y; }                                    \
    inline float __low2float(pair value) { return value.x; }                                    \
    inline float __high2float(pair value) { return value.y; }                                   \
    inline unsigned short __##one##_as_ushort(type value) { return value.bits; }                \
    inline type __ushort_as_##one(unsigned short bits) {                                        \
        type value;                                                                             \
        value.bits = bits;                                                                      \
        return value;                                                                           \
    }
CNNDSL_NARROW(__nv_bfloat16, __nv_bfloat162, bfloat16, bfloat162, __float22bfloat162_rn,
              __bfloat1622float2, __halves2bfloat162, make_bfloat162)
CNNDSL_NARROW(__half, __half2, half, half2, __float22half2_rn, __half22float2, __halves2half2,
              make_half2)
#undef CNNDSL_NARROW
