// Databases that are looked up together: the user's, the system's, and those of a fleet.
#include "db/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "db/stream.h"

tmac_status tmac_db_add_layer(tmac_db *db, const char *path, bool optional)
{
    struct stat facts;
    tmac_db *layer;
    if (stat(path, &facts) != 0)
        return optional ? tmac_ok() : tmac_fail(TMAC_NOT_FOUND, "%s: no such file", path);
    if (db->layer_count == TMAC_DB_LAYERS)
        return tmac_fail(TMAC_USAGE, "%s: %d databases at most are looked up together", path,
                         TMAC_DB_LAYERS + 1);
    if (tmac_stream_begins(path)) {
        // The label is the user's database: its keys judge the seals of the file.
        tmac_db_traffic traffic;
        TMAC_TRY(tmac_store_memory(db->path, &layer));
        tmac_status status = tmac_db_import(layer, path, false, &traffic);
        if (status.code != TMAC_OK) {
            tmac_db_close(layer);
            return status;
        }
    } else {
        TMAC_TRY(tmac_db_open(path, TMAC_DB_READ, &layer));
    }
    snprintf(layer->source, sizeof layer->source, "%s", path);
    db->layers[db->layer_count++] = layer;
    return tmac_ok();
}

void tmac_layer_label(const tmac_db *db, uint32_t i, char label[TMAC_LAYER_LABEL])
{
    const bool system = db->layer_count > 0 && db->layers[0]->system;
    if (i == 0 || (i == 1 && system))
        snprintf(label, TMAC_LAYER_LABEL, "%s", i ? "system" : "own");
    else
        snprintf(label, TMAC_LAYER_LABEL, "fleet%u", i - system);
}

tmac_status tmac_db_open_layers(const char *path, const char *fleet, tmac_db **db)
{
    const char *system = getenv("TMAC_SYSTEM_DB");
    TMAC_TRY(tmac_db_open(path, TMAC_DB_READ, db));
    tmac_status status =
        tmac_db_add_layer(*db, system && *system ? system : "/usr/share/tmac/tune.db", true);
    if (status.code == TMAC_OK && (*db)->layer_count == 1) (*db)->layers[0]->system = true;
    char *list = fleet ? strdup(fleet) : NULL, *rest = list;
    if (fleet && !list) status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a list of files");
    for (char *file; status.code == TMAC_OK && (file = strsep(&rest, ":"));)
        if (*file) status = tmac_db_add_layer(*db, file, false);
    free(list);
    if (status.code != TMAC_OK) {
        tmac_db_close(*db);
        *db = NULL;
    }
    return status;
}
