// The roofline of a report: kernels as points under what memory and arithmetic allow.
#ifndef TMAC_CLI_DB_ROOFLINE_H
#define TMAC_CLI_DB_ROOFLINE_H

#include "base/file.h"
#include "db/db.h"

typedef struct db_point {
    double intensity; // weights multiplied for every byte of packed weights that a pass reads
    double rate;      // weights multiplied a nanosecond
    bool wins;        // runs in the plan
    const char *kernel;
    uint32_t tokens;
} db_point;

// Draws one chart as an inline picture, with both axes logarithmic. bandwidth: bytes a nanosecond, 0 where unknown.
void db_roofline(tmac_output *file, const db_point *points, size_t count, double bandwidth);

#endif
