// For people with an SQL prompt: one connection that sees a database and its layers, and cannot change them.
#ifndef TMAC_DB_READER_H
#define TMAC_DB_READER_H

#include <sqlite3.h>

#include "db/db.h"

// The user's database is `main`; each layer is attached under its label (`system`, `fleet1`, ...). Where there are layers,
// the names record, host, variant, problem, run, trial and winner mean all of them together: what several hold is one
// row, and numbers that mean something in one file alone are left out. `layer` lists them: name, path.
//
// TMAC_UNSUPPORTED with more layers than SQLite attaches (ten). The caller closes it with sqlite3_close.
tmac_status tmac_db_reader(const tmac_db *db, sqlite3 **reader);

#endif
