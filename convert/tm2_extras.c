// The part of a TM2's extension that only some architectures have. A file with any of it is of extension version 2, so
// that a reader which does not know it refuses the file instead of computing something else.
//
//   blk.N.attn_{q,k,v}.bias          f32 [rows, 1], neutral row order
//   blk.N.attn_{q,k}_norm            f32 [head_dim, 1], neutral order within a head
//   blk.N.PART.lrc_u, .lrc_v         f32 [rows, rank], [rank, columns]
//   rope_divisors                    f32 [rope_dims / 2, 1], and the entry rope_magnitude
//   entry head_dim                   where heads * head_dim is not dim
#include <stdio.h>

#include "convert/neutral.h"
#include "convert/tm2.h"
#include "runtime/extras.h"

bool tmac_tm2_needs_version_2(const tmac_source *source)
{
    return tmac_source_has_extras(source) || source->heads * source->head_dim != source->dim;
}

static void list(tmac_tm2_extra *extra, uint32_t layer, const char *part, const char *suffix,
                 uint32_t rows, uint32_t columns, const float **place)
{
    snprintf(extra->name, sizeof extra->name, "blk.%u.%s%s", layer, part, suffix);
    extra->rows = rows;
    extra->columns = columns;
    extra->place = place;
    extra->rank = NULL;
}

uint32_t tmac_tm2_list_extras(const tmac_source *source, uint32_t layer,
                              tmac_tm2_extra extras[TMAC_TM2_EXTRAS])
{
    tmac_source_extras *from = &source->layers[layer].extras;
    uint32_t count = 0;
    for (int p = 0; p < TMAC_LAYER_MATRICES; p++) {
        tmac_part_of_layer part = (tmac_part_of_layer)p;
        const char *name = tmac_layer_part_name(part);
        tmac_low_rank *low = &from->low[p];
        uint32_t rows, columns;
        tmac_layer_part_size(source, part, &rows, &columns);
        if (part <= TMAC_LAYER_VALUE)
            list(&extras[count++], layer, name, ".bias", rows, 1, &from->bias[p]);
        list(&extras[count], layer, name, ".lrc_u", rows, low->rank, &low->up);
        extras[count++].rank = &low->rank;
        list(&extras[count], layer, name, ".lrc_v", low->rank, columns, &low->down);
        extras[count++].rank = &low->rank;
    }
    list(&extras[count++], layer, "attn_q_norm", "", source->head_dim, 1, &from->query_norm);
    list(&extras[count++], layer, "attn_k_norm", "", source->head_dim, 1, &from->key_norm);
    return count;
}

static tmac_status take(tmac_source *source, const tmac_tm2_tensor *tensor,
                        const tmac_tm2_extra *extra)
{
    bool up = extra->rank && extra->columns == 0; // its rank is not known yet: lrc_u comes first
    if (up) *extra->rank = tensor->columns;
    uint32_t rows = extra->rank && !up && extra->rows == 0 ? *extra->rank : extra->rows;
    uint32_t columns = up ? tensor->columns : extra->columns;
    if (tensor->kind != TMAC_TM2_F32 || tensor->rows != rows || tensor->columns != columns)
        return tmac_fail(TMAC_BAD_FILE, "tensor %s is of the wrong shape", tensor->name);
    if (tensor->bytes / 4 > UINT32_MAX)
        return tmac_fail(TMAC_BAD_FILE, "tensor %s is too large", tensor->name);
    return tmac_source_vector(source, TMAC_F32, source->map.data + tensor->offset,
                              (uint32_t)(tensor->bytes / 4), extra->place);
}

static tmac_status take_layer(tmac_source *source, const tmac_tm2_index *index, uint32_t layer)
{
    tmac_tm2_extra extras[TMAC_TM2_EXTRAS];
    uint32_t count = tmac_tm2_list_extras(source, layer, extras);
    for (uint32_t i = 0; i < count; i++) {
        const tmac_tm2_tensor *tensor = tmac_tm2_find(index, extras[i].name);
        if (tensor) TMAC_TRY(take(source, tensor, &extras[i]));
    }
    return tmac_ok(); // that both halves of a correction are there is for tmac_source_check
}

tmac_status tmac_tm2_read_extras(tmac_source *source, const tmac_tm2_index *index)
{
    if (index->version < 2) return tmac_ok();
    const tmac_tm2_tensor *divisors = tmac_tm2_find(index, "rope_divisors");
    TMAC_TRY(tmac_tm2_float(index, "rope_magnitude", &source->rope_magnitude));
    if (divisors) {
        if (divisors->kind != TMAC_TM2_F32 || divisors->rows != source->rope_dims / 2 ||
            divisors->columns != 1)
            return tmac_fail(TMAC_BAD_FILE, "tensor rope_divisors is of the wrong shape");
        TMAC_TRY(tmac_source_vector(source, TMAC_F32, source->map.data + divisors->offset,
                                    divisors->rows, &source->rope_divisors));
    }
    for (uint32_t l = 0; l < source->layer_count; l++)
        TMAC_TRY(take_layer(source, index, l));
    return tmac_ok();
}

tmac_status tmac_tm2_read_head_dim(tmac_source *source, const tmac_tm2_index *index)
{
    int64_t head_dim;
    if (index->version < 2) return tmac_ok();
    TMAC_TRY(tmac_tm2_integer(index, "head_dim", &head_dim));
    if (head_dim <= 0 || head_dim > INT32_MAX)
        return tmac_fail(TMAC_BAD_FILE, "head_dim is %lld", (long long)head_dim);
    source->head_dim = source->rope_dims = (uint32_t)head_dim;
    return tmac_source_check_dimensions(source);
}
