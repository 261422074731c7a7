// Frequency i of a head is f = theta^(-2i / dims), its wavelength 2 pi / f.
//
//   linear  f / factor
//   llama3  wavelength < original / high: f; > original / low: f / factor; between: the mean of both, weighted by
//           (original / wavelength - low) / (high - low)
//   yarn    f / factor and f mixed by a ramp that falls from 1 to 0 between the dimensions which turn beta_fast and
//           beta_slow times within the original context; cosines and sines times 1 + 0.1 ln(factor)
#include "convert/rope_scaling.h"

#include <math.h>
#include <string.h>

#include "convert/neutral.h"
#include "runtime/math.h"

static const double pi = 3.14159265358979323846;

tmac_status tmac_rope_kind_parse(const char *text, size_t bytes, tmac_rope_kind *kind)
{
    static const struct {
        const char *name;
        tmac_rope_kind kind;
    } kinds[] = {{"none", TMAC_ROPE_PLAIN},
                 {"default", TMAC_ROPE_PLAIN},
                 {"linear", TMAC_ROPE_LINEAR},
                 {"llama3", TMAC_ROPE_LLAMA3},
                 {"yarn", TMAC_ROPE_YARN}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        *kind = kinds[i].kind;
        if (strlen(kinds[i].name) == bytes && memcmp(kinds[i].name, text, bytes) == 0)
            return tmac_ok();
    }
    return tmac_fail(TMAC_UNSUPPORTED,
                     "RoPE scaling %.*s is not supported; linear, llama3 and yarn are",
                     bytes < 40 ? (int)bytes : 40, text);
}

static double llama3(const tmac_rope_parameters *p, double frequency)
{
    double wavelength = 2 * pi / frequency;
    if (wavelength < p->original_context / p->high) return frequency;
    if (wavelength > p->original_context / p->low) return frequency / p->factor;
    double smooth = (p->original_context / wavelength - p->low) / (p->high - p->low);
    return (1 - smooth) * frequency / p->factor + smooth * frequency;
}

// The dimension (of dims / 2) that turns `turns` times within the original context.
static double turning_dimension(const tmac_rope_parameters *p, double turns, double dims,
                                double theta)
{
    return dims * tmac_log(p->original_context / (turns * 2 * pi)) / (2 * tmac_log(theta));
}

static double yarn(const tmac_rope_parameters *p, double frequency, uint32_t i,
                   const tmac_source *source)
{
    double dims = source->rope_dims, theta = (double)source->rope_theta;
    double fast = p->beta_fast > 0 ? p->beta_fast : 32, slow = p->beta_slow > 0 ? p->beta_slow : 1;
    double low = fmax(0, floor(turning_dimension(p, fast, dims, theta)));
    double high = fmin(dims - 1, ceil(turning_dimension(p, slow, dims, theta)));
    double passed = fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));
    return frequency / p->factor * passed + frequency * (1 - passed);
}

tmac_status tmac_rope_scale(tmac_source *source, const tmac_rope_parameters *p)
{
    if (p->kind == TMAC_ROPE_PLAIN) return tmac_ok();
    if (!isfinite(p->factor) || p->factor <= 0)
        return tmac_fail(TMAC_BAD_FILE, "RoPE scaling by a factor of %g makes no sense", p->factor);
    if (p->kind != TMAC_ROPE_LINEAR && (!isfinite(p->original_context) || p->original_context < 1))
        return tmac_fail(TMAC_BAD_FILE, "RoPE scaling needs the original context, not %g",
                         p->original_context);
    if (p->kind == TMAC_ROPE_LLAMA3 && !(p->low > 0 && p->high > p->low))
        return tmac_fail(TMAC_BAD_FILE, "RoPE scaling llama3 with factors %g and %g", p->low,
                         p->high);
    if (!(source->rope_theta > 1.0f))
        return tmac_fail(TMAC_BAD_FILE, "RoPE scaling of base %g makes no sense",
                         (double)source->rope_theta);
    uint32_t pairs = source->rope_dims / 2;
    float *divisors = tmac_source_take(source, pairs * sizeof *divisors);
    if (!divisors) return tmac_no_memory();
    for (uint32_t i = 0; i < pairs; i++) {
        double f = tmac_pow((double)source->rope_theta, -2.0 * i / source->rope_dims);
        double scaled = p->kind == TMAC_ROPE_LINEAR   ? f / p->factor
                        : p->kind == TMAC_ROPE_LLAMA3 ? llama3(p, f)
                                                      : yarn(p, f, i, source);
        divisors[i] = (float)(f / scaled);
        if (source->rope_divisors) divisors[i] *= source->rope_divisors[i];
    }
    source->rope_divisors = divisors;
    if (p->kind == TMAC_ROPE_YARN)
        source->rope_magnitude =
            (float)(p->attention_factor > 0 ? p->attention_factor
                                            : 1 + 0.1 * tmac_log(p->factor > 1 ? p->factor : 1));
    return tmac_ok();
}
