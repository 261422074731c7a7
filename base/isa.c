// Instruction sets: names, what they contain, and which of them this host really executes.
//
// A set is verified in three steps, each of which has failed alone somewhere: CPUID names its features; XCR0 says that
// the operating system saves its registers (on Arm the auxiliary vector says both); and a child process executes its
// instructions and gets the right answers (hypervisors advertise what they trap or emulate wrongly). The child answers
// through a pipe and not by its exit status, so that a program which ignores SIGCHLD or reaps children by itself is
// served too. This process installs no signal handlers.
#include "base/isa.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fcntl.h>

#include "base/cpuid.h"
#include "base/random.h"
#include "base/self_test.h"

enum { SELF_TEST_SECONDS = 5 };

// CPUID leaf 1 ECX; leaf 7 EBX, ECX and EDX; leaf 7.1 EAX.
enum { SSE3 = 1 << 0, SSSE3 = 1 << 9, SSE41 = 1 << 19, SSE42 = 1 << 20, POPCNT = 1 << 23 };
enum { FMA = 1 << 12, OSXSAVE = 1 << 27, AVX = 1 << 28, F16C = 1 << 29 };
enum { AVX2 = 1 << 5, BMI2 = 1 << 8, AVX512F = 1 << 16, AVX512DQ = 1 << 17, AVX512BW = 1 << 30 };
#define AVX512VL (1u << 31)
enum { AVX512VBMI = 1 << 1, GFNI = 1 << 8, AVX512VNNI = 1 << 11 };
enum { AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25 };
enum { AVXVNNI = 1 << 4 };
// XCR0: SSE and AVX state; opmask, upper halves of zmm0-15, zmm16-31; tile configuration and data.
enum { XCR0_YMM = 0x6, XCR0_ZMM = 0xe6, XCR0_TILES = 0x600e6 };

// Sets and what they contain, themselves included: a partial order.
#define BIT(isa)        (1u << TMAC_ISA_##isa)
#define WITH_SSSE3      (BIT(SCALAR) | BIT(SSSE3))
#define WITH_SSE41      (WITH_SSSE3 | BIT(SSE41))
#define WITH_AVX2       (WITH_SSE41 | BIT(AVX2))
#define WITH_AVX512BW   (WITH_AVX2 | BIT(AVX512BW))
#define WITH_AVX512VNNI (WITH_AVX512BW | BIT(AVX512VNNI))
#define WITH_AVX512VBMI (WITH_AVX512VNNI | BIT(AVX512VBMI))

// Arm's auxiliary vector, AT_HWCAP and AT_HWCAP2.
enum { HWCAP_ADVANCED_SIMD = 1 << 1, HWCAP_DOT_PRODUCT = 1 << 20 };
enum { HWCAP2_INT8_MATRIX = 1 << 13 };

// clang-format off
static const struct set {
    const char *name;
    tmac_isa_set contained; // itself included
    uint32_t leaf1_ecx, leaf7_ebx, leaf7_ecx, xcr0; // on top of what the contained sets need
    bool (*self_test)(const tmac_self_test_bytes *in);
    uint32_t leaf7_edx, leaf71_eax; // likewise
    uint32_t hwcap, hwcap2;         // for Arm's sets, likewise
} sets[TMAC_ISA_COUNT] = {
    [TMAC_ISA_SCALAR] = {"scalar", BIT(SCALAR), 0, 0, 0, 0, NULL, 0, 0, 0, 0},
    [TMAC_ISA_SSSE3] = {"ssse3", WITH_SSSE3, SSE3 | SSSE3, 0, 0, 0, tmac_self_test_ssse3, 0, 0, 0, 0},
    [TMAC_ISA_SSE41] = {"sse41", WITH_SSE41, SSE41, 0, 0, 0, tmac_self_test_sse41, 0, 0, 0, 0},
    // -mavx2 lets compilers use SSE4.2 and POPCNT as well.
    [TMAC_ISA_AVX2] = {"avx2", WITH_AVX2,
        SSE42 | POPCNT | FMA | OSXSAVE | AVX | F16C, AVX2 | BMI2, 0, XCR0_YMM, tmac_self_test_avx2, 0, 0, 0, 0},
    [TMAC_ISA_AVXVNNI] = {"avxvnni", WITH_AVX2 | BIT(AVXVNNI),
        OSXSAVE, 0, 0, XCR0_YMM, tmac_self_test_avxvnni, 0, AVXVNNI, 0, 0},
    [TMAC_ISA_AVX512BW] = {"avx512bw", WITH_AVX512BW,
        OSXSAVE, AVX512F | AVX512DQ | AVX512BW | AVX512VL, 0, XCR0_ZMM, tmac_self_test_avx512bw, 0, 0, 0, 0},
    [TMAC_ISA_AVX512VNNI] = {"avx512vnni", WITH_AVX512VNNI,
        OSXSAVE, 0, AVX512VNNI, XCR0_ZMM, tmac_self_test_avx512vnni, 0, 0, 0, 0},
    [TMAC_ISA_AVX512VBMI] = {"avx512vbmi", WITH_AVX512VBMI,
        OSXSAVE, 0, AVX512VBMI, XCR0_ZMM, tmac_self_test_avx512vbmi, 0, 0, 0, 0},
    [TMAC_ISA_AVX512GFNI] = {"avx512gfni", WITH_AVX512VBMI | BIT(AVX512GFNI),
        OSXSAVE, 0, GFNI, XCR0_ZMM, tmac_self_test_avx512gfni, 0, 0, 0, 0},
    [TMAC_ISA_AMX] = {"amx", WITH_AVX512VBMI | BIT(AVX512GFNI) | BIT(AMX),
        OSXSAVE, 0, 0, XCR0_TILES, tmac_self_test_amx, AMX_TILE | AMX_INT8, 0, 0, 0},
    [TMAC_ISA_NEON] = {"neon", BIT(SCALAR) | BIT(NEON),
        0, 0, 0, 0, tmac_self_test_neon, 0, 0, HWCAP_ADVANCED_SIMD, 0},
    [TMAC_ISA_DOTPROD] = {"dotprod", BIT(SCALAR) | BIT(NEON) | BIT(DOTPROD),
        0, 0, 0, 0, tmac_self_test_dotprod, 0, 0, HWCAP_DOT_PRODUCT, 0},
    [TMAC_ISA_I8MM] = {"i8mm", BIT(SCALAR) | BIT(NEON) | BIT(DOTPROD) | BIT(I8MM),
        0, 0, 0, 0, tmac_self_test_i8mm, 0, 0, 0, HWCAP2_INT8_MATRIX},
};
// clang-format on

const char *tmac_isa_name(tmac_isa isa)
{
    return (unsigned)isa < TMAC_ISA_COUNT ? sets[isa].name : "unknown";
}

tmac_status tmac_isa_parse(const char *name, tmac_isa *isa)
{
    char names[256] = "";
    for (int i = 0; i < TMAC_ISA_COUNT; i++) {
        if (strcmp(name, sets[i].name) == 0) {
            *isa = (tmac_isa)i;
            return tmac_ok();
        }
        if (i) strcat(names, ", ");
        strcat(names, sets[i].name);
    }
    return tmac_fail(TMAC_USAGE, "unknown instruction set '%.100s': expected one of %s", name,
                     names);
}

tmac_isa_set tmac_isa_contained(tmac_isa isa)
{
    return (unsigned)isa < TMAC_ISA_COUNT ? sets[isa].contained : BIT(SCALAR);
}

tmac_isa tmac_isa_best(tmac_isa_set set)
{
    for (int i = TMAC_ISA_COUNT - 1; i > 0; i--)
        if (tmac_isa_has(set, (tmac_isa)i)) return (tmac_isa)i;
    return TMAC_ISA_SCALAR;
}

// ---------------------------------------------------------------------------------------------------- verification

// The low half of XCR0.
static uint32_t read_xcr0(void)
{
#if defined(__x86_64__) || defined(__i386__)
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
#else
    return 0;
#endif
}

// What the kernel says of an Arm processor; 0 on others, where the bits mean something else.
static uint32_t hardware_capabilities(unsigned long kind)
{
#if defined(__aarch64__)
    return (uint32_t)getauxval(kind);
#else
    (void)kind;
    return 0;
#endif
}

// The sets of `named` whose parts are all there.
static tmac_isa_set closed(tmac_isa_set named)
{
    tmac_isa_set found = BIT(SCALAR);
    for (int i = 1; i < TMAC_ISA_COUNT; i++) // what a set contains comes before it
        if (named >> i & 1u && (sets[i].contained & ~(1u << i) & ~found) == 0) found |= 1u << i;
    return found;
}

tmac_isa_set tmac_isa_advertised(tmac_cpuid_reader read, uint32_t (*xcr0)(void))
{
    const uint32_t leaf1 = tmac_cpuid_from(read, 1, 0).ecx;
    const tmac_cpuid_leaf leaf7 = tmac_cpuid_from(read, 7, 0); // EAX: its last subleaf
    const uint32_t leaf71 = leaf7.eax >= 1 ? tmac_cpuid_from(read, 7, 1).eax : 0;
    const uint32_t state = leaf1 & OSXSAVE ? xcr0() : 0;
    tmac_isa_set named = 0;
    for (int i = 1; i < TMAC_ISA_COUNT; i++) {
        const struct set *set = &sets[i];
        if (!set->hwcap && !set->hwcap2 && (leaf1 & set->leaf1_ecx) == set->leaf1_ecx &&
            (leaf7.ebx & set->leaf7_ebx) == set->leaf7_ebx &&
            (leaf7.ecx & set->leaf7_ecx) == set->leaf7_ecx &&
            (leaf7.edx & set->leaf7_edx) == set->leaf7_edx &&
            (leaf71 & set->leaf71_eax) == set->leaf71_eax && (state & set->xcr0) == set->xcr0)
            named |= 1u << i;
    }
    return closed(named);
}

// The sets that the auxiliary vector of an Arm processor names.
static tmac_isa_set advertised_to_arm(void)
{
    const uint32_t first = hardware_capabilities(AT_HWCAP);
    const uint32_t second = hardware_capabilities(AT_HWCAP2);
    tmac_isa_set named = 0;
    for (int i = 1; i < TMAC_ISA_COUNT; i++)
        if ((sets[i].hwcap || sets[i].hwcap2) && (first & sets[i].hwcap) == sets[i].hwcap &&
            (second & sets[i].hwcap2) == sets[i].hwcap2)
            named |= 1u << i;
    return closed(named);
}

// Linux gives the tile registers only to processes that asked; threads and children inherit the permission.
static bool permitted(int isa)
{
    if (isa != TMAC_ISA_AMX) return true;
#if defined(__x86_64__) && defined(SYS_arch_prctl)
    enum { REQUEST_XCOMP_PERM = 0x1023, TILE_DATA = 18 }; // of asm/prctl.h, Linux 5.16
    return syscall(SYS_arch_prctl, REQUEST_XCOMP_PERM, TILE_DATA) == 0;
#else
    return false;
#endif
}

// The child: dies quietly whatever happens. Everything it calls is safe after a fork of a program with threads.
__attribute__((noreturn)) static void child(const struct set *set, int answer)
{
    if (!permitted((int)(set - sets))) _exit(1);
    static const int fatal[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGALRM};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        signal(fatal[i], SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    alarm(SELF_TEST_SECONDS);

    tmac_self_test_bytes in;
    tmac_random random = {1};
    for (int i = 0; i < 64; i++) {
        in.a[i] = (uint8_t)tmac_random_next(&random);
        in.b[i] = (uint8_t)tmac_random_next(&random);
        in.c[i] = (uint8_t)tmac_random_next(&random);
    }
    const char yes = 'y';
    if (set->self_test(&in) && write(answer, &yes, 1) == 1) _exit(0);
    _exit(1);
}

static bool executes(const struct set *set)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    const pid_t pid = fork();
    if (pid == 0) child(set, ends[1]);
    close(ends[1]);
    char answer = 0;
    if (pid > 0) {
        struct pollfd wait = {.fd = ends[0], .events = POLLIN};
        int ready;
        do
            ready = poll(&wait, 1, (SELF_TEST_SECONDS + 1) * 1000);
        while (ready < 0 && errno == EINTR);
        if (ready <= 0 || read(ends[0], &answer, 1) != 1) answer = 0;
        if (answer != 'y') kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    close(ends[0]);
    return answer == 'y';
}

static tmac_isa_set verified;
static pthread_once_t verified_once = PTHREAD_ONCE_INIT;

static void verify(void)
{
    const tmac_isa_set advertised =
        tmac_isa_advertised(tmac_cpuid_raw, read_xcr0) | advertised_to_arm();
    verified = BIT(SCALAR);
    for (int i = 1; i < TMAC_ISA_COUNT; i++) {
        const tmac_isa_set below = sets[i].contained & ~(1u << i);
        if (tmac_isa_has(advertised, (tmac_isa)i) && (verified & below) == below && permitted(i) &&
            executes(&sets[i]))
            verified |= 1u << i;
    }
}

tmac_isa_set tmac_isa_verified(void)
{
    pthread_once(&verified_once, verify);
    return verified;
}
