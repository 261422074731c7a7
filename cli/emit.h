// A tuned program for a device that should carry nothing else: no database, no generator, no kernels that lose.
#ifndef TMAC_CLI_DB_EMIT_H
#define TMAC_CLI_DB_EMIT_H

#include "base/host.h"
#include "runtime/plan.h"

// Writes tmac_plan.c (the plan, and a registry of its kernels alone) and tmac_plan.mk (how to link a static tmac-run with
// them) into a folder, which is made when it does not exist. model: its name, for people.
tmac_status tmac_emit_plan(const tmac_plan *plan, const char *model, const char *folder);

#endif
