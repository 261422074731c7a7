// The names of heads, as a user writes them.
#include <string.h>

#include "runtime/tmac.h"

static const char *const HEADS[TMAC_HEAD_KINDS] = {"stored", "q8", "q6", "q4", "screened"};

const char *tmac_head_name(tmac_head_kind kind)
{
    return HEADS[kind];
}

tmac_status tmac_head_parse(const char *name, tmac_head_kind *kind)
{
    for (int i = 0; i < TMAC_HEAD_KINDS; i++)
        if (strcmp(name, HEADS[i]) == 0) {
            *kind = (tmac_head_kind)i;
            return tmac_ok();
        }
    return tmac_fail(TMAC_USAGE, "unknown head '%.40s': expected stored, q8, q6, q4 or screened",
                     name);
}
