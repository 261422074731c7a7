// Runs every registered test in a process of its own and prints "ok - suite::name" or "not ok - suite::name".
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/plain/criterion/criterion.h"

static plain_test *first;
static bool failed; // in the process of a test

void plain_register(plain_test *test)
{
    test->next = first;
    first = test;
}

void plain_check(bool holds, bool fatal, const char *file, int line, const char *text,
                 const char *message, ...)
{
    if (holds) return;
    failed = true;
    printf("# %s:%d: %s: ", file, line, text);
    va_list arguments;
    va_start(arguments, message);
    vprintf(message, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
    if (fatal) _exit(1);
}

static void run(const plain_test *test)
{
    for (const plain_test *suite = first; suite; suite = suite->next)
        if (!suite->run && strcmp(suite->suite, test->suite) == 0 && suite->init) suite->init();
    test->run();
    fflush(stdout);
    _exit(failed);
}

int main(void)
{
    int failures = 0;
    for (const plain_test *test = first; test; test = test->next) {
        if (!test->run) continue;
        const pid_t pid = fork();
        if (pid == 0) run(test);
        int status = 1;
        const bool good = pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
        printf("%s - %s::%s\n", good ? "ok" : "not ok", test->suite, test->name);
        fflush(stdout);
        failures += !good;
    }
    return failures == 0 ? 0 : 1;
}
