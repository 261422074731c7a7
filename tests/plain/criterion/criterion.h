// As much of Criterion as the tests of tests/unit need that also run where Criterion itself cannot: under an emulator of
// another processor, which it would have to start again for each test. tests/plain/main.c runs them, each in a fork.
#ifndef TMAC_TESTS_PLAIN_CRITERION_H
#define TMAC_TESTS_PLAIN_CRITERION_H

#include <stdbool.h>
#include <string.h>

typedef struct plain_test plain_test;
struct plain_test {
    const char *suite, *name;
    void (*run)(void); // NULL: the entry describes the suite
    void (*init)(void);
    plain_test *next;
};

void plain_register(plain_test *test);

// Reports a check that failed, with the test's own message; a fatal one ends the test.
void plain_check(bool holds, bool fatal, const char *file, int line, const char *text,
                 const char *message, ...);

#define Test(suite_, name_, ...)                                                                   \
    static void suite_##_##name_(void);                                                            \
    __attribute__((constructor)) static void suite_##_##name_##_register(void)                     \
    {                                                                                              \
        static plain_test test = {.suite = #suite_, .name = #name_, .run = suite_##_##name_};      \
        plain_register(&test);                                                                     \
    }                                                                                              \
    static void suite_##_##name_(void)

#define TestSuite(suite_, ...)                                                                     \
    __attribute__((constructor)) static void suite_##_register(void)                               \
    {                                                                                              \
        static plain_test test = {.suite = #suite_, __VA_ARGS__};                                  \
        plain_register(&test);                                                                     \
    }

#define PLAIN(fatal, condition, text, ...)                                                         \
    plain_check(condition, fatal, __FILE__, __LINE__, text, "" __VA_ARGS__)

#define cr_assert(condition, ...) PLAIN(true, (condition), #condition, __VA_ARGS__)
#define cr_assert_eq(a, b, ...)   PLAIN(true, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...)  PLAIN(true, (a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_not(a, ...)     PLAIN(true, !(a), "not " #a, __VA_ARGS__)
#define cr_assert_float_eq(a, b, epsilon, ...)                                                     \
    PLAIN(true, (a) - (b) <= (epsilon) && (b) - (a) <= (epsilon), #a " is about " #b, __VA_ARGS__)
#define cr_assert_not_null(a, ...) PLAIN(true, (a) != NULL, #a " is not NULL", __VA_ARGS__)
#define cr_assert_null(a, ...)     PLAIN(true, (a) == NULL, #a " is NULL", __VA_ARGS__)
#define cr_expect(condition, ...)  PLAIN(false, (condition), #condition, __VA_ARGS__)
#define cr_expect_eq(a, b, ...)    PLAIN(false, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...)   PLAIN(false, (a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_expect_lt(a, b, ...)    PLAIN(false, (a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_expect_gt(a, b, ...)    PLAIN(false, (a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...)   PLAIN(false, (a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_expect_not_null(a, ...) PLAIN(false, (a) != NULL, #a " is not NULL", __VA_ARGS__)
#define cr_expect_null(a, ...)     PLAIN(false, (a) == NULL, #a " is NULL", __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...)                                                                \
    PLAIN(false, strcmp(a, b) == 0, #a " is the text " #b, __VA_ARGS__)
#define cr_expect_str_neq(a, b, ...)                                                               \
    PLAIN(false, strcmp(a, b) != 0, #a " is not the text " #b, __VA_ARGS__)

#endif
