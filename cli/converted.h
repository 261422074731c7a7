// A model folder is read slowly: every weight of it is looked at before the first token. So are files whose ternary weights
// are found among floats, or whose numbers are widened. They are converted once, to a TM2 file in the cache folder, and
// later starts open that.
#ifndef TMAC_CLI_CONVERTED_H
#define TMAC_CLI_CONVERTED_H

#include "convert/convert.h"

// Opens a model: a file that can be used as it is, everything else by way of the cache. The file in the cache goes by the
// model's path, the names, sizes and times of its files and the options that say how they are read; it counts towards
// the cache's size and is dropped like packed weights. cache: its folder; NULL: none. program: whose word about it goes
// to standard error. Where nothing can be written, or little room is left, the model itself is opened.
tmac_status tmac_converted_open(const char *model, const tmac_open_options *options,
                                const char *cache, const char *program, tmac_source *source);

#endif
