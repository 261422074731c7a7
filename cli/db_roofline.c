// A log-log chart. The slope is what memory was measured to give: a kernel that reads its weights from memory cannot be
// above it, one whose weights stay in cache can. The flat line is the fastest that any kernel was here, which is what is
// known of the peak of this host's arithmetic.
#include "cli/db_roofline.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

// Pixels of the picture, and the margins of the chart in it.
enum { WIDTH = 1000, HEIGHT = 440, LEFT = 70, RIGHT = 20, TOP = 16, BOTTOM = 50 };

typedef struct axes {
    double x_low, x_high, y_low, y_high; // logarithms to base 2 and 10
} axes;

static void put(tmac_output *file, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(tmac_output *file, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    const int length = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (length > 0)
        tmac_output_write(file, text,
                          (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

static double x_of(const axes *a, double intensity)
{
    return LEFT + (log2(intensity) - a->x_low) / (a->x_high - a->x_low) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const axes *a, double rate)
{
    return HEIGHT - BOTTOM -
           (log10(rate) - a->y_low) / (a->y_high - a->y_low) * (HEIGHT - TOP - BOTTOM);
}

static void draw_axes(tmac_output *file, const axes *a)
{
    for (int at = (int)a->x_low; at <= (int)a->x_high; at++)
        put(file,
            "<line class='grid' x1='%.1f' x2='%.1f' y1='%d' y2='%d'/><text class='tick' x='%.1f' "
            "y='%d' text-anchor='middle'>%g</text>",
            x_of(a, exp2(at)), x_of(a, exp2(at)), TOP, HEIGHT - BOTTOM, x_of(a, exp2(at)),
            HEIGHT - BOTTOM + 18, exp2(at));
    for (int at = (int)a->y_low; at <= (int)a->y_high; at++)
        put(file,
            "<line class='grid' x1='%d' x2='%d' y1='%.1f' y2='%.1f'/><text class='tick' x='%d' "
            "y='%.1f' text-anchor='end'>%g</text>",
            LEFT, WIDTH - RIGHT, y_of(a, pow(10, at)), y_of(a, pow(10, at)), LEFT - 8,
            y_of(a, pow(10, at)) + 4, pow(10, at));
    put(file,
        "<text class='tick' x='%d' y='%d' text-anchor='end'>weights multiplied per byte read</text>"
        "<text class='tick' x='16' y='%d' text-anchor='end' transform='rotate(-90 16 %d)'>Gw/s"
        "</text>",
        WIDTH - RIGHT, HEIGHT - 8, TOP, TOP);
}

// The slope from the left edge, or where it enters the chart, to where it meets the peak.
static void draw_roof(tmac_output *file, const axes *a, double bandwidth, double peak)
{
    const double ridge = bandwidth > 0 ? peak / bandwidth : exp2(a->x_low);
    double flat = fmax(ridge, exp2(a->x_low));
    if (flat < exp2(a->x_high))
        put(file,
            "<line class='roof' x1='%.1f' x2='%d' y1='%.1f' y2='%.1f'/><text class='tick' x='%d' "
            "y='%.1f' text-anchor='end'>fastest measured: %.0f Gw/s</text>",
            x_of(a, flat), WIDTH - RIGHT, y_of(a, peak), y_of(a, peak), WIDTH - RIGHT - 4,
            y_of(a, peak) - 6, peak);
    if (bandwidth <= 0) return;
    const double first = fmax(exp2(a->x_low), pow(10, a->y_low) / bandwidth),
                 last = fmin(fmin(ridge, exp2(a->x_high)), pow(10, a->y_high) / bandwidth);
    if (first >= last) return;
    put(file, "<line class='roof' x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f'/>", x_of(a, first),
        x_of(a, last), y_of(a, first * bandwidth), y_of(a, last * bandwidth));
    // Above the slope, where no point can be.
    const double place = fmax(first, last / 2);
    put(file, "<text class='tick' x='%.1f' y='%.1f' text-anchor='end'>memory: %.1f GB/s</text>",
        fmax(x_of(a, place) - 10, LEFT + 150), y_of(a, place * bandwidth) - 8, bandwidth);
}

static void draw_points(tmac_output *file, const axes *a, const db_point *points, size_t count,
                        bool wins)
{
    for (size_t i = 0; i < count; i++) {
        if (points[i].wins != wins) continue;
        put(file,
            "<circle class='%s' cx='%.1f' cy='%.1f' r='%s'><title>%s, N = %u: %.1f Gw/s"
            "</title></circle>",
            wins ? "best" : "dot", x_of(a, points[i].intensity), y_of(a, points[i].rate),
            wins ? "5" : "2.6", points[i].kernel, points[i].tokens, points[i].rate);
    }
}

void db_roofline(tmac_output *file, const db_point *points, size_t count, double bandwidth)
{
    if (count == 0) return;
    double left = points[0].intensity, right = left, low = points[0].rate, high = low;
    for (size_t i = 1; i < count; i++) {
        left = fmin(left, points[i].intensity);
        right = fmax(right, points[i].intensity);
        low = fmin(low, points[i].rate);
        high = fmax(high, points[i].rate);
    }
    axes a = {floor(log2(left) - 0.1), ceil(log2(right) + 0.1), floor(log10(low)),
              ceil(log10(high) + 0.02)};
    put(file, "<svg class='chart' viewBox='0 0 %d %d' role='img' aria-label='roofline'>", WIDTH,
        HEIGHT);
    draw_axes(file, &a);
    draw_points(file, &a, points, count, false);
    draw_roof(file, &a, bandwidth, high);
    draw_points(file, &a, points, count, true);
    put(file, "</svg><p class='soft'><svg class='key' width='12' height='12'><circle class='best' "
              "cx='6' cy='6' r='5'/></svg> runs now &nbsp; <svg class='key' width='12' "
              "height='12'><circle class='dot' cx='6' cy='6' r='2.6'/></svg> was measured</p>");
}
