/* base/avx2.h - how our own vector code asks the compiler for AVX2.  Internal to base. */
#pragma once

#if defined(__x86_64__)

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE AVX2 __attribute__((always_inline)) static inline
/* What is indexed has to be known, or it will not be in registers. */
#define UNROLL _Pragma("GCC unroll 8")

#endif
