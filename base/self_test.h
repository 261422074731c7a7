// Proofs that an instruction set works: each function executes a few instructions of every feature of its set on the
// given bytes and compares them with plain C. Private to base/; only base/isa.c calls them, in a child process, because
// an instruction that the host does not have (or that its hypervisor traps) kills the process.
//
// Each is compiled with the flags of its own set (Makefile) and returns false where the compiler had no such flags.
#ifndef TMAC_BASE_SELF_TEST_H
#define TMAC_BASE_SELF_TEST_H

#include <stdbool.h>
#include <stdint.h>

// Inputs live in volatile memory: the compiler can neither fold the instructions under test into constants nor
// vectorize the reference with the very instructions that are to be judged.
typedef struct tmac_self_test_bytes {
    volatile uint8_t a[64], b[64], c[64];
} tmac_self_test_bytes;

bool tmac_self_test_ssse3(const tmac_self_test_bytes *in);
bool tmac_self_test_sse41(const tmac_self_test_bytes *in);
bool tmac_self_test_avx2(const tmac_self_test_bytes *in);
bool tmac_self_test_avxvnni(const tmac_self_test_bytes *in);
bool tmac_self_test_avx512bw(const tmac_self_test_bytes *in);
bool tmac_self_test_avx512vnni(const tmac_self_test_bytes *in);
bool tmac_self_test_avx512vbmi(const tmac_self_test_bytes *in);
bool tmac_self_test_avx512gfni(const tmac_self_test_bytes *in);
bool tmac_self_test_amx(const tmac_self_test_bytes *in);
bool tmac_self_test_neon(const tmac_self_test_bytes *in);
bool tmac_self_test_dotprod(const tmac_self_test_bytes *in);
bool tmac_self_test_i8mm(const tmac_self_test_bytes *in);

#endif
