// The closing table, and the same as JSON.
//
// Speed is told as weights a second (Gw/s: rows x columns x tokens / time) and, at N = 1 where the weights are read
// once, as bytes of packed weights a second.
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "tune/measure.h"
#include "tune/tune.h"

static double weights_per_ns(const tmac_input_set *set, uint32_t bucket, double ns)
{
    double weights = 0;
    for (uint32_t i = 0; i < set->matrices; i++)
        weights += (double)set->rows[i] * set->columns;
    return ns > 0 ? weights * tmac_bucket_typical(bucket) / ns : 0;
}

static double bytes_per_ns(const tmac_input_set *set, const char *kernel, uint32_t bucket,
                           double ns)
{
    const tmac_kernel *found = tmac_kernel_find(kernel);
    if (!found || bucket != 0 || ns <= 0) return 0;
    return (double)tmac_set_bytes(set, found->layout) / ns;
}

static void describe_set(const tmac_input_set *set, char *text, size_t room)
{
    size_t used = 0;
    for (uint32_t i = 0; i < set->matrices && used < room; i++)
        used +=
            (size_t)snprintf(text + used, room - used, "%s%" PRIu32, i ? "+" : "", set->rows[i]);
    if (used < room) snprintf(text + used, room - used, " x %" PRIu32, set->columns);
}

// Tokens a second, whole plans: what the table above comes to.
static void print_judgements(const tmac_tune_report *report, FILE *stream)
{
    if (!report->judged) return;
    fprintf(stream, "\n%-12s %14s %10s %14s %14s\n", "whole plan", "tokens/s", "",
            "prompt tokens/s", "without head");
    for (uint32_t i = 0; i < report->judgement_count; i++) {
        const tmac_tune_judgement *j = &report->judgements[i];
        double tps = j->decode_ns > 0 ? 1e9 / j->decode_ns : 0;
        fprintf(stream, "%-12s %14.2f +-%8.2f %14.1f %11.3f ms%s\n", j->name, tps,
                j->decode_ns > 0 ? 2 * tps * j->decode_error / j->decode_ns : 0,
                j->prefill_ns > 0 ? 1e9 / j->prefill_ns : 0, j->matrix_ns * 1e-6,
                j->chosen ? "  <- chosen" : "");
    }
}

static void print_screenings(const tmac_tune_report *report, FILE *stream)
{
    if (!report->screen_bits) return;
    fprintf(stream, "\n%-12s %14s %10s %14s\n", "screening", "ms a token", "", "rows again");
    for (uint32_t bits = 0; bits < TMAC_TUNE_WIDTHS; bits++) {
        const tmac_tune_screening *s = &report->screenings[bits];
        if (s->samples == 0) continue;
        char name[16] = "stored";
        if (bits) snprintf(name, sizeof name, "%u bits", bits);
        fprintf(stream, "%-12s %14.3f +-%8.3f %14.1f%s\n", name, s->ns * 1e-6, 2 * s->error * 1e-6,
                s->rows, bits == report->screen_bits ? "  <- chosen" : "");
    }
}

void tmac_tune_print(const tmac_work *work, const tmac_tune_report *report, FILE *stream)
{
    fprintf(stream, "%s, %u threads: %u trials measured, %u reused, %u kernels failed, %.1f s\n",
            work->model, report->threads, report->measured, report->reused, report->failed,
            report->seconds);
    fprintf(stream, "memory read %.1f GB/s, load %.2f before, steal %.1f %%, noise %.1f %%\n",
            (double)report->bandwidth * 1e-9, report->load_hundredths / 100.0,
            report->steal_thousandths / 10.0, report->noise_thousandths / 10.0);
    if (report->compiled)
        fprintf(stream, "%u kernels were compiled here for these shapes and proved\n",
                report->compiled);
    else if (report->compiling[0])
        fprintf(stream, "no kernels were compiled for these shapes: %s\n", report->compiling);
    if (report->noisy)
        fprintf(stream,
                "NOISY: treat small gains as nothing and tune again when the host is quiet\n");
    if (report->noisy_trials)
        fprintf(stream,
                "NOISY: %s used up to %.1f processors; %u trials are marked and serve only where "
                "nothing better is known\n",
                report->neighbour[0] ? report->neighbour : "others",
                report->foreign_hundredths / 100.0, report->noisy_trials);
    if (report->throttled)
        fprintf(stream, "NOISY: processors were slowed down for their heat %u times\n",
                report->throttled);
    if (!report->complete)
        fprintf(stream, "time was up before every problem was decided; run again to go on\n");
    for (uint32_t i = 0; i < report->failure_count; i++) {
        const tmac_tune_failure *f = &report->failures[i];
        fprintf(stream, "rejected %s: %s", f->kernel, tmac_outcome_name(f->result.outcome));
        if (f->result.outcome == TMAC_OUTCOME_CRASH && f->result.detail)
            fprintf(stream, " (signal %u)", f->result.detail);
        fprintf(stream, ": %s\n", f->result.message);
    }
    char set_text[64];
    fprintf(stream, "\n%-24s %5s  %-32s %9s  %-32s %9s %15s %7s %6s %7s  %s\n", "input set", "N",
            "before", "us", "after", "us", "gain", "Gw/s", "GB/s", "of peak", "rung");
    for (uint32_t i = 0; i < report->line_count; i++) {
        const tmac_tune_line *line = &report->lines[i];
        const tmac_input_set *set = &work->sets[line->set];
        char before[16] = "-", after[16] = "-", gain[32] = "", speed[16] = "", gb[16] = "",
             peak[16] = "";
        describe_set(set, set_text, sizeof set_text);
        if (line->before_ns > 0) snprintf(before, sizeof before, "%.1f", line->before_ns / 1e3);
        if (line->after_ns > 0) snprintf(after, sizeof after, "%.1f", line->after_ns / 1e3);
        if (line->before_ns > 0 && line->after_ns > 0) {
            double ratio = line->before_ns / line->after_ns;
            double spread =
                2 * ratio *
                (line->before_error / line->before_ns + line->after_error / line->after_ns);
            if (strcmp(line->before, line->after) == 0)
                snprintf(gain, sizeof gain, "same");
            else
                snprintf(gain, sizeof gain, "%.2fx +-%.2f", ratio, spread);
        } else {
            snprintf(gain, sizeof gain, "%s",
                     line->after_ns > 0 ? "rule unmeasured" : "not measured");
        }
        if (line->after_ns > 0)
            snprintf(speed, sizeof speed, "%.1f",
                     weights_per_ns(set, line->bucket, line->after_ns));
        double bytes = bytes_per_ns(set, line->after, line->bucket, line->after_ns);
        if (bytes > 0) snprintf(gb, sizeof gb, "%.1f", bytes);
        // The roof of what streams is the memory; what lives in caches may pass it.
        if (bytes > 0 && report->bandwidth && set->residency == TMAC_STREAMED)
            snprintf(peak, sizeof peak, "%.0f %%", 100 * bytes * 1e9 / (double)report->bandwidth);
        fprintf(stream, "%-24s %5s  %-32s %9s  %-32s %9s %15s %7s %6s %7s  %s\n",
                line->bucket == 0 ? set_text : "", tmac_bucket_name(line->bucket), line->before,
                before, line->after, after, gain, speed, gb, peak, tmac_rung_name(line->rung));
    }
    print_judgements(report, stream);
    print_screenings(report, stream);
}

static json_t *screenings_json(const tmac_tune_report *report)
{
    json_t *list = json_array();
    for (uint32_t bits = 0; bits < TMAC_TUNE_WIDTHS; bits++) {
        const tmac_tune_screening *s = &report->screenings[bits];
        if (s->samples == 0) continue;
        json_array_append_new(
            list, json_pack("{s:I, s:b, s:I, s:f, s:f, s:f}", "bits", (json_int_t)bits, "chosen",
                            (int)(bits == report->screen_bits), "samples", (json_int_t)s->samples,
                            "head_ns", s->ns, "head_error_ns", s->error, "rows", s->rows));
    }
    return list;
}

static json_t *line_json(const tmac_work *work, const tmac_tune_line *line)
{
    const tmac_input_set *set = &work->sets[line->set];
    json_t *rows = json_array();
    for (uint32_t i = 0; i < set->matrices; i++)
        json_array_append_new(rows, json_integer(set->rows[i]));
    return json_pack("{s:o, s:I, s:I, s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:s}", "rows", rows,
                     "columns", (json_int_t)set->columns, "group", (json_int_t)set->group,
                     "residency", set->residency == TMAC_STREAMED ? "streamed" : "resident",
                     "tokens", tmac_bucket_name(line->bucket), "before", line->before, "after",
                     line->after, "before_ns", line->before_ns, "after_ns", line->after_ns,
                     "gigaweights_per_second", weights_per_ns(set, line->bucket, line->after_ns),
                     "gigabytes_per_second",
                     bytes_per_ns(set, line->after, line->bucket, line->after_ns), "rung",
                     tmac_rung_name(line->rung));
}

static json_t *judgements_json(const tmac_tune_report *report)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < report->judgement_count; i++) {
        const tmac_tune_judgement *j = &report->judgements[i];
        json_array_append_new(list, json_pack("{s:s, s:b, s:I, s:f, s:f, s:f, s:f}", "plan",
                                              j->name, "chosen", (int)j->chosen, "samples",
                                              (json_int_t)j->samples, "decode_ns", j->decode_ns,
                                              "decode_error_ns", j->decode_error, "prefill_ns",
                                              j->prefill_ns, "without_head_ns", j->matrix_ns));
    }
    return list;
}

tmac_status tmac_tune_print_json(const tmac_work *work, const tmac_tune_report *report,
                                 FILE *stream)
{
    json_t *lines = json_array(), *failures = json_array();
    for (uint32_t i = 0; i < report->line_count; i++)
        json_array_append_new(lines, line_json(work, &report->lines[i]));
    for (uint32_t i = 0; i < report->failure_count; i++) {
        const tmac_tune_failure *f = &report->failures[i];
        json_array_append_new(failures, json_pack("{s:s, s:s, s:I, s:s}", "kernel", f->kernel,
                                                  "outcome", tmac_outcome_name(f->result.outcome),
                                                  "detail", (json_int_t)f->result.detail, "message",
                                                  f->result.message));
    }
    json_t *root = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:I, s:f, s:f, s:f, s:b, s:I, s:f, s:s, s:I, s:b, "
        "s:I, s:s, s:o, s:o, s:o, s:o}",
        "model", work->model, "run", report->run.hex, "threads", (json_int_t)report->threads,
        "measured", (json_int_t)report->measured, "reused", (json_int_t)report->reused, "failed",
        (json_int_t)report->failed, "seconds", report->seconds, "bandwidth_bytes_per_second",
        (json_int_t)report->bandwidth, "load", report->load_hundredths / 100.0, "steal",
        report->steal_thousandths / 1000.0, "noise", report->noise_thousandths / 1000.0, "noisy",
        (int)report->noisy, "noisy_trials", (json_int_t)report->noisy_trials, "foreign_processors",
        report->foreign_hundredths / 100.0, "neighbour", report->neighbour, "throttled",
        (json_int_t)report->throttled, "complete", (int)report->complete, "compiled",
        (json_int_t)report->compiled, "compiling", report->compiling, "judgements",
        judgements_json(report), "screenings", screenings_json(report), "failures", failures,
        "problems", lines);
    if (!root) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the report");
    int code = json_dumpf(root, stream, JSON_INDENT(2));
    json_decref(root);
    if (code != 0 || fputc('\n', stream) == EOF)
        return tmac_fail(TMAC_IO, "cannot write the report");
    return tmac_ok();
}
