// Formats whose weights lie in streams (llama2.c v1 and v2, TMAC v1, Q4V1, Q8V1, TM2 in BitNet order), built byte by byte
// from one model of numbers that all of them hold; and rounding on request.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "convert/neutral.h"
#include "runtime/half.h"
#include "tests/unit/tiny.h"

enum {
    DIM = 32,
    HIDDEN = 64,
    LAYERS = 2,
    HEADS = 4,
    KV = 2,
    VOCAB = 10,
    CONTEXT = 4,
    HEAD = DIM / HEADS
};

static const uint32_t llama_order[] = {0, 1, 2, 3, 4, 6, 5}; // q, k, v, output, gate, down, up
static const tiny_shape shape = {DIM, HIDDEN, LAYERS, HEADS, KV, VOCAB, CONTEXT};

static void put_fields(tiny_file *file, int32_t vocab)
{
    const int32_t fields[] = {DIM, HIDDEN, LAYERS, HEADS, KV, vocab, CONTEXT};
    tiny_put(file, fields, sizeof fields);
}

static float norm_at(uint32_t i)
{
    return 0.5f + 0.125f * (float)(i % 5);
}

static void put_norms(tiny_file *file, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        tiny_put_f32(file, norm_at(i));
}

static void put_tables(tiny_file *file)
{
    for (int sines = 0; sines < 2; sines++)
        for (uint32_t p = 0; p < CONTEXT; p++)
            for (uint32_t i = 0; i < HEAD / 2; i++) {
                double angle = p * pow(10000.0, -2.0 * i / HEAD);
                tiny_put_f32(file, (float)(sines ? sin(angle) : cos(angle)));
            }
}

// Integer weights of every matrix: -7 .. 7, or -1 .. 1. part 7: the embedding.
static int weight_at(uint32_t layer, uint32_t part, uint32_t index, bool ternary)
{
    uint32_t mixed = ((layer * 8 + part) * 40503u + index) * 2654435761u;
    mixed ^= mixed >> 15;
    return ternary ? (int)(mixed % 3) - 1 : (int)(mixed % 15) - 7;
}

static uint32_t size_of(uint32_t part)
{
    uint32_t rows = VOCAB, columns = DIM;
    if (part < 7) tiny_part_size(&shape, part, &rows, &columns);
    return rows * columns;
}

static tmac_source opened(tiny_file *file, const char *format)
{
    tmac_source source;
    tmac_status status = tiny_open(file, NULL, &source);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    cr_assert_str_eq(source.format, format);
    for (size_t cut = 1; cut < 200; cut += 66) { // truncated: refused, whatever it says
        tmac_source bad;
        tiny_file shorter = *file;
        shorter.bytes -= cut;
        cr_assert_eq(tiny_open(&shorter, NULL, &bad).code, TMAC_BAD_FILE, "%s", format);
    }
    tiny_free(file);
    return source;
}

// Every weight is its integer times `scale`; ternary matrices are recognised as such.
static void check(tmac_source source, bool ternary, float scale, bool norms)
{
    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t part = 0; part < 7; part++) {
            const tmac_matrix *m = tmac_layer_part(&source, l, (tmac_part_of_layer)part);
            cr_assert_eq(m->number == TMAC_TERNARY, ternary, "%s", m->name);
            for (uint32_t r = 0; r < m->rows; r++) {
                int8_t codes[HIDDEN];
                float values[HIDDEN];
                if (ternary)
                    m->read_codes(m, r, 1, codes);
                else
                    m->read_float(m, r, 1, values);
                for (uint32_t c = 0; c < m->columns; c++) {
                    float got = ternary ? (float)codes[c] * m->scales[0] : values[c];
                    int want = weight_at(l, part, r * m->columns + c, ternary);
                    cr_assert_eq(got, (float)want * scale, "%s %u %u: %g", m->name, r, c,
                                 (double)got);
                }
            }
        }
    for (uint32_t r = 0; r < VOCAB; r++) {
        float row[DIM];
        source.embedding.read_float(&source.embedding, r, 1, row);
        for (uint32_t c = 0; c < DIM; c++)
            cr_assert_eq(row[c], (float)weight_at(0, 7, r * DIM + c, ternary) * scale);
    }
    for (uint32_t i = 0; i < DIM && norms; i++)
        cr_assert(source.layers[1].attention_norm[i] == norm_at(DIM + i) &&
                  source.layers[0].ffn_norm[i] == norm_at(i) && source.final_norm[i] == norm_at(i));
    tmac_source_close(&source);
}

// ---------------------------------------------------------------------------------------------------- llama2.c v1, v2

static void put_24ka(tiny_file *file, uint32_t version, uint32_t group)
{
    tiny_put(file, "24ka", 4);
    tiny_put_u32(file, version);
    put_fields(file, VOCAB);
    tiny_put_byte(file, 1);
    if (group) tiny_put_u32(file, group);
    while (file->bytes < 256)
        tiny_put_byte(file, 0);
    put_norms(file, LAYERS * DIM);
    put_norms(file, LAYERS * DIM);
    put_norms(file, DIM);
}

static void put_q80(tiny_file *file, uint32_t layer, uint32_t part, bool ternary)
{
    for (uint32_t i = 0; i < size_of(part); i++)
        tiny_put_byte(file, (uint32_t)weight_at(layer, part, i, ternary));
    for (uint32_t i = 0; i < size_of(part) / 16; i++)
        tiny_put_f32(file, 0.375f);
}

Test(convert_streams, llama2c_v2)
{
    for (int ternary = 0; ternary < 2; ternary++) {
        tiny_file file = {0};
        put_24ka(&file, 2, 16);
        put_q80(&file, 0, 7, ternary);
        for (uint32_t i = 0; i < 7; i++)
            for (uint32_t l = 0; l < LAYERS; l++)
                put_q80(&file, l, llama_order[i], ternary);
        check(opened(&file, "llama2.c v2"), ternary, 0.375f, true);
    }
}

Test(convert_streams, llama2c_v1)
{
    tiny_file file = {0};
    put_24ka(&file, 1, 0);
    for (uint32_t i = 0; i < size_of(7); i++)
        tiny_put_f32(&file, (float)weight_at(0, 7, i, false));
    for (uint32_t i = 0; i < 7; i++)
        for (uint32_t l = 0; l < LAYERS; l++)
            for (uint32_t e = 0; e < size_of(llama_order[i]); e++)
                tiny_put_f32(&file, (float)weight_at(l, llama_order[i], e, false));
    check(opened(&file, "llama2.c v1"), false, 1.0f, true);
}

// --------------------------------------------------------------------------------------------------- TMAC, Q4V1, Q8V1

// The tensor of part `part` of `layers` layers as one stream: 2, 4 or 8 bits.
static void put_stream(tiny_file *file, uint32_t part, uint32_t layers, uint32_t bits, bool flags)
{
    uint32_t n = size_of(part), block = bits == 2 ? 4 : 32;
    if (flags) tiny_put_byte(file, 1);
    for (uint32_t e = 0; e < layers * n; e += block) {
        uint16_t half = tmac_f32_to_f16(0.375f);
        uint32_t low = 0;
        if (bits != 2) tiny_put(file, &half, 2);
        for (uint32_t i = 0; i < block; i++) {
            int w = weight_at((e + i) / n, part, (e + i) % n, bits == 2);
            uint32_t code = bits == 4 ? (uint32_t)(w + 8) : (uint32_t)w & (bits == 2 ? 3u : 255u);
            if (bits == 8) tiny_put_byte(file, code);
            low |= bits == 8 ? 0 : code << (bits * i % 8);
            if (bits != 8 && bits * (i + 1) % 8 == 0) {
                tiny_put_byte(file, low);
                low = 0;
            }
        }
    }
}

static void put_floats(tiny_file *file, uint32_t count, bool flags)
{
    if (flags) tiny_put_byte(file, 0);
    put_norms(file, count);
}

static tiny_file edge(const char *magic, uint32_t bits, bool sized, bool flags)
{
    tiny_file file = {0};
    tiny_put(&file, magic, 4);
    put_fields(&file, VOCAB);
    if (sized) tiny_put_u32(&file, 32);
    put_stream(&file, 7, 1, bits, flags);
    put_floats(&file, LAYERS * DIM, flags);
    for (uint32_t i = 0; i < 4; i++)
        put_stream(&file, llama_order[i], LAYERS, bits, flags);
    put_floats(&file, LAYERS * DIM, flags);
    for (uint32_t i = 4; i < 7; i++)
        put_stream(&file, llama_order[i], LAYERS, bits, flags);
    put_floats(&file, DIM, flags);
    tiny_file tables = {0};
    put_tables(&tables);
    for (size_t half = 0; half < 2; half++) {
        if (flags) tiny_put_byte(&file, 0);
        tiny_put(&file, tables.data + half * tables.bytes / 2, tables.bytes / 2);
    }
    tiny_free(&tables);
    return file;
}

Test(convert_streams, tmac_v1_q4v1_q8v1)
{
    tiny_file file = edge("TMAC", 2, false, false);
    check(opened(&file, "TMAC v1"), true, 1.0f, true);
    file = edge("Q4V1", 4, true, true);
    check(opened(&file, "Q4V1"), false, 0.375f, true);
    for (int sized = 0; sized < 2; sized++)
        for (int flags = 0; flags < 2; flags++) {
            file = edge("Q8V1", 8, sized, flags);
            check(opened(&file, "Q8V1"), false, 0.375f, true);
        }
}

Test(convert_streams, tmac_v1_is_written_as_it_is_read)
{
    tiny_file file = edge("TMAC", 2, false, false);
    tmac_source source = opened(&file, "TMAC v1"), back;
    char path[64];
    tiny_path(path);
    tmac_status status = tmac_tmac1_write(&source, path);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    status = tmac_source_open(path, NULL, &back);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    tiny_assert_same(&source, &back, true);
    tmac_source_close(&source);
    check(back, true, 1.0f, true);
    unlink(path);
}

// ------------------------------------------------------------------------------------------------ TM2 in BitNet order

static void put_rows(tiny_file *file, uint32_t layer, uint32_t part)
{
    uint32_t rows = VOCAB, columns = DIM;
    if (part < 7) tiny_part_size(&shape, part, &rows, &columns);
    tiny_put_byte(file, 1);
    tiny_put_u32(file, rows);
    tiny_put_u32(file, columns);
    for (uint32_t r = 0; r < rows; r++) {
        // Q and K lie in half-split order: the neutral row that belongs here.
        uint32_t row = part < 2 ? tmac_neutral_row(r, HEAD) : r, byte = 0;
        uint16_t half = tmac_f32_to_f16(0.375f);
        tiny_put(file, &half, 2);
        for (uint32_t c = 0; c < columns; c++) {
            byte |= ((uint32_t)weight_at(layer, part, row * columns + c, true) & 3u) << c % 4 * 2;
            if (c % 4 != 3) continue;
            tiny_put_byte(file, byte);
            byte = 0;
        }
    }
}

Test(convert_streams, tm2_in_bitnet_order)
{
    for (int negative = 0; negative < 2; negative++) {
        tiny_file file = {0};
        tiny_put(&file, "TM2", 4);
        put_fields(&file, negative ? -VOCAB : VOCAB);
        put_rows(&file, 0, 7);
        for (uint32_t l = 0; l < LAYERS; l++) {
            put_floats(&file, DIM, true);
            for (uint32_t part = 0; part < 4; part++)
                put_rows(&file, l, part);
            put_floats(&file, DIM, true);
            put_floats(&file, DIM, true);
            for (uint32_t part = 4; part < 7; part++)
                put_rows(&file, l, part);
            put_floats(&file, HIDDEN, true);
        }
        put_floats(&file, DIM, true);
        put_rows(&file, 0, 7);
        tmac_source source = opened(&file, "TM2 in BitNet order");
        cr_assert(source.activation == TMAC_RELU2 && source.rope_theta == 500000.0f);
        cr_assert(!source.tied_head && source.layers[0].ffn_sub_norm[63] == norm_at(63));
        check(source, true, 0.375f, false);
    }
}

// --------------------------------------------------------------------------------------------------------- rounding

static tmac_source loose(void)
{
    tmac_source source;
    tiny_file file = tiny_llama2c(&shape, false, false);
    cr_assert_eq(tiny_open(&file, NULL, &source).code, TMAC_OK);
    tiny_free(&file);
    return source;
}

Test(convert_streams, rounding_follows_its_rules)
{
    for (int kind = TMAC_QUANTIZE_TERNARY; kind <= TMAC_QUANTIZE_Q4; kind++) {
        tmac_source plain = loose(), source = loose();
        tmac_quantize_report report;
        double squared = 0;
        cr_assert_eq(tmac_quantize(&source, (tmac_quantization)kind, &report).code, TMAC_OK);
        for (uint32_t part = 0; part < 7; part++) {
            const tmac_matrix *m = tmac_layer_part(&source, 1, (tmac_part_of_layer)part);
            const tmac_matrix *w = tmac_layer_part(&plain, 1, (tmac_part_of_layer)part);
            double all = 0;
            float row[HIDDEN];
            int8_t codes[HIDDEN];
            for (uint32_t r = 0; r < m->rows; r++) {
                w->read_float(w, r, 1, row);
                for (uint32_t c = 0; c < m->columns; c++)
                    all += fabs((double)row[c]) / (m->rows * m->columns);
            }
            for (uint32_t r = 0; r < m->rows; r++) {
                double mean = 0, sum = 0, n = 0;
                w->read_float(w, r, 1, row);
                m->read_codes(m, r, 1, codes);
                for (uint32_t c = 0; c < m->columns; c++)
                    mean += fabs((double)row[c]) / m->columns;
                double t = kind == TMAC_QUANTIZE_TERNARY ? 0.4 * mean : 0.7 * all;
                for (uint32_t c = 0; c < m->columns; c++) {
                    if (kind == TMAC_QUANTIZE_Q4) {
                        double scale = (double)m->scales[r * (m->columns / 32) + c / 32];
                        cr_assert(fabs((double)row[c] - codes[c] * scale) <= 1.01 * fabs(scale));
                        continue;
                    }
                    if (fabs(fabs((double)row[c]) - t) < 1e-6) continue; // within rounding
                    cr_assert_eq(codes[c], ((double)row[c] > t) - ((double)row[c] < -t));
                    if (codes[c]) sum += fabs((double)row[c]), n += 1;
                }
                if (kind == TMAC_QUANTIZE_TERNARY)
                    cr_assert_float_eq((double)m->scales[r], sum / n, sum / n / 1000);
            }
        }
        for (uint32_t l = 0; l < LAYERS; l++)
            for (uint32_t part = 0; part < 7; part++) {
                const tmac_matrix *m = tmac_layer_part(&source, l, (tmac_part_of_layer)part);
                const tmac_matrix *w = tmac_layer_part(&plain, l, (tmac_part_of_layer)part);
                uint32_t groups = m->columns / m->group;
                for (uint32_t r = 0; r < m->rows; r++) {
                    float row[HIDDEN];
                    int8_t codes[HIDDEN];
                    w->read_float(w, r, 1, row);
                    m->read_codes(m, r, 1, codes);
                    for (uint32_t c = 0; c < m->columns; c++) {
                        uint32_t s = m->scale_count == 1 ? 0 : r * groups + c / m->group;
                        squared += pow((double)row[c] - codes[c] * (double)m->scales[s], 2);
                    }
                }
            }
        cr_assert_float_eq(report.squared_error, squared, squared * 1e-9);
        cr_assert(report.zeros > 0 && report.scale_low <= report.scale_high);
        tmac_source_close(&plain);
        tmac_source_close(&source);
    }
}
