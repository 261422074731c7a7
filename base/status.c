#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

tmac_status tmac_ok(void)
{
    tmac_status status;
    status.code = TMAC_OK;
    status.message[0] = '\0';
    return status;
}

// Replaces control characters and marks a cut with "...". `wanted` is what vsnprintf would have written in all.
static void tidy(char *message, int wanted)
{
    for (char *c = message; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    if (wanted >= TMAC_MESSAGE_BYTES) memcpy(message + TMAC_MESSAGE_BYTES - 4, "...", 4);
}

tmac_status tmac_fail(tmac_code code, const char *format, ...)
{
    tmac_status status;
    status.code = code;
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(status.message, sizeof status.message, format, arguments);
    va_end(arguments);
    tidy(status.message, wanted);
    return status;
}

tmac_status tmac_prefix(tmac_status status, const char *format, ...)
{
    char prefix[TMAC_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    return tmac_fail(status.code, "%s: %s", prefix, status.message);
}

int tmac_exit_status(tmac_code code)
{
    if (code == TMAC_OK) return 0;
    return code == TMAC_USAGE ? 2 : 1;
}
