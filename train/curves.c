// The curves of a run, for a spreadsheet and for the eye.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "train/state.h"

static void put(tmac_output *output, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(tmac_output *output, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > 0) tmac_output_write(output, text, (size_t)length);
}

tmac_status tmac_curves_write_csv(const tmac_train_state *state, const char *path)
{
    tmac_output output;
    TMAC_TRY(tmac_output_open(path, &output));
    put(&output, "step,tokens,loss,validation,rate,seconds,cpu_seconds\n");
    for (uint64_t i = 0; i < state->point_count; i++) {
        const tmac_curve_point *p = &state->points[i];
        put(&output, "%llu,%llu,%.6f,", (unsigned long long)p->step, (unsigned long long)p->tokens,
            p->loss);
        if (!isnan(p->validation)) put(&output, "%.6f", p->validation);
        put(&output, ",%.3e,%.1f,%.1f\n", p->rate, p->seconds, p->cpu_seconds);
    }
    return tmac_output_commit(&output);
}

// ----------------------------------------------------------------------------------------------------------- SVG

enum { WIDTH = 720, HEIGHT = 400, LEFT = 60, RIGHT = 20, TOP = 30, BOTTOM = 45 };

typedef struct frame {
    double steps, low, high; // of the axes
} frame;

static double x_of(const frame *f, double step)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * step / f->steps;
}

static double y_of(const frame *f, double loss)
{
    return TOP + (HEIGHT - TOP - BOTTOM) * (f->high - loss) / (f->high - f->low);
}

// The first points of a run are far above everything else: the picture is cut at twice the median.
static frame frame_of(const tmac_train_state *state)
{
    frame f = {1, HUGE_VAL, 0};
    for (uint64_t i = 0; i < state->point_count; i++) {
        const tmac_curve_point *p = &state->points[i];
        if ((double)p->step > f.steps) f.steps = (double)p->step;
        if (p->loss < f.low) f.low = p->loss;
        if (p->validation < f.low) f.low = p->validation;
        if (p->loss > f.high) f.high = p->loss;
    }
    if (!(f.low < HUGE_VAL)) f.low = 0;
    f.low = floor(f.low * 10) / 10;
    if (f.high > f.low + 4 * (f.low + 0.1)) f.high = f.low + 4 * (f.low + 0.1);
    if (!(f.high > f.low)) f.high = f.low + 1;
    return f;
}

static void put_grid(tmac_output *output, const frame *f)
{
    for (int i = 0; i <= 5; i++) {
        double loss = f->low + (f->high - f->low) * i / 5, step = f->steps * i / 5;
        put(output,
            "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/>"
            "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.2f</text>"
            "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n",
            LEFT, y_of(f, loss), WIDTH - RIGHT, y_of(f, loss), LEFT - 6, y_of(f, loss) + 4, loss,
            x_of(f, step), HEIGHT - BOTTOM + 18, step);
    }
    put(output,
        "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">steps</text>"
        "<text x=\"%d\" y=\"%d\">nats a token: <tspan fill=\"#4a7\">training</tspan>, "
        "<tspan fill=\"#c33\">validation</tspan></text>\n",
        (WIDTH + LEFT) / 2, HEIGHT - 8, LEFT, TOP - 10);
}

static void put_line(tmac_output *output, const tmac_train_state *state, const frame *f,
                     bool validation)
{
    put(output, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"",
        validation ? "#c33" : "#4a7");
    for (uint64_t i = 0; i < state->point_count; i++) {
        const tmac_curve_point *p = &state->points[i];
        double loss = validation ? p->validation : p->loss;
        if (isnan(loss)) continue;
        put(output, "%.1f,%.1f ", x_of(f, (double)p->step),
            y_of(f, loss < f->high ? loss : f->high));
    }
    put(output, "\"/>\n");
}

tmac_status tmac_curves_write_svg(const tmac_train_state *state, const char *path)
{
    tmac_output output;
    TMAC_TRY(tmac_output_open(path, &output));
    const frame f = frame_of(state);
    put(&output,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
        "font-family=\"sans-serif\" "
        "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
        WIDTH, HEIGHT);
    put_grid(&output, &f);
    put_line(&output, state, &f, false);
    put_line(&output, state, &f, true);
    put(&output, "</svg>\n");
    return tmac_output_commit(&output);
}
