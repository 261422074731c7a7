#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "runtime/tmac.h"

static tmac_sampler *make(uint32_t vocab, float temperature, float top_p, uint32_t top_k,
                          uint64_t seed)
{
    tmac_sampler *sampler;
    tmac_status status = tmac_sampler_new(
        vocab,
        &(tmac_sampler_options){
            .temperature = temperature, .top_p = top_p, .top_k = top_k, .seed = seed},
        &sampler);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    return sampler;
}

Test(sampler, greedy_takes_the_lowest_of_equals)
{
    tmac_sampler *sampler = make(5, 0, 1, 0, 1);
    cr_expect_eq(tmac_sample(sampler, (float[]){1, 3, 2, 3, 3}), 1);
    cr_expect_eq(tmac_sample(sampler, (float[]){0, 0, 0, 0, 0}), 0);
    cr_expect_eq(tmac_sample(sampler, (float[]){NAN, -2, NAN, -1, -1}), 3);
    cr_expect_eq(tmac_sample(sampler, (float[]){NAN, NAN, NAN, NAN, NAN}), 0);
    cr_expect_eq(tmac_sample(sampler, (float[]){-INFINITY, 0, INFINITY, 0, 0}), 2);
    tmac_sampler_free(sampler);
}

Test(sampler, nonsense_is_refused)
{
    static const tmac_sampler_options bad[] = {
        {.temperature = -1, .top_p = 1},       {.temperature = NAN, .top_p = 1},
        {.temperature = INFINITY, .top_p = 1}, {.temperature = 1, .top_p = 0},
        {.temperature = 1, .top_p = 1.5f},     {.temperature = 1, .top_p = NAN},
        {.top_p = 1, .min_p = 1.5f},           {.top_p = 1, .typical = -1},
        {.top_p = 1, .repetition = -1},        {.top_p = 1, .frequency = NAN}};
    tmac_sampler *sampler;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_eq(tmac_sampler_new(5, &bad[i], &sampler).code, TMAC_USAGE, "case %zu", i);
    cr_expect_eq(
        tmac_sampler_new(0, &(tmac_sampler_options){.temperature = 1, .top_p = 1}, &sampler).code,
        TMAC_USAGE);
}

enum { DRAWS = 20000 };

// Counts of each token over many draws from logits whose probabilities at temperature 1 are 0.5, 0.3, 0.15, 0.05.
static void count_draws(float temperature, float top_p, uint32_t top_k, uint32_t counts[4])
{
    const float logits[4] = {logf(0.15f), logf(0.5f), logf(0.05f), logf(0.3f)};
    tmac_sampler *sampler = make(4, temperature, top_p, top_k, 42);
    for (int i = 0; i < 4; i++)
        counts[i] = 0;
    for (int i = 0; i < DRAWS; i++)
        counts[tmac_sample(sampler, logits)]++;
    tmac_sampler_free(sampler);
}

// Within five standard deviations.
static void expect_share(uint32_t count, double share)
{
    const double deviation = sqrt(DRAWS * share * (1 - share));
    cr_expect(fabs(count - DRAWS * share) <= 5 * deviation, "%u draws, expected about %.0f", count,
              DRAWS * share);
}

Test(sampler, probabilities)
{
    uint32_t counts[4];
    count_draws(1, 1, 0, counts);
    expect_share(counts[0], 0.15);
    expect_share(counts[1], 0.5);
    expect_share(counts[2], 0.05);
    expect_share(counts[3], 0.3);
    count_draws(0.5f, 1, 0, counts); // squares: 0.25, 0.09, 0.0225, 0.0025
    expect_share(counts[1], 0.25 / 0.365);
    expect_share(counts[3], 0.09 / 0.365);
}

Test(sampler, top_k_and_top_p)
{
    uint32_t counts[4];
    count_draws(1, 1, 2, counts);
    expect_share(counts[1], 0.5 / 0.8);
    expect_share(counts[3], 0.3 / 0.8);
    count_draws(1, 0.79f, 0, counts); // 0.5 is not enough, 0.8 is
    expect_share(counts[1], 0.5 / 0.8);
    expect_share(counts[3], 0.3 / 0.8);
    count_draws(1, 0.9f, 0, counts);
    expect_share(counts[0], 0.15 / 0.95);
    expect_share(counts[2], 0.0);
    count_draws(1, 0.6f, 3, counts); // of 0.95: 0.5 is 53 %, so 0.8 it is
    expect_share(counts[0], 0.0);
    expect_share(counts[1], 0.5 / 0.8);
    count_draws(1, 0.01f, 0, counts);
    cr_expect_eq(counts[1], DRAWS);
    count_draws(1, 1, 1, counts);
    cr_expect_eq(counts[1], DRAWS);
}

// Limits that exclude nothing, and a seed, decide the same tokens.
Test(sampler, deterministic)
{
    enum { VOCAB = 300 };
    tmac_random random = {5};
    tmac_sampler *a = make(VOCAB, 0.8f, 0.9f, 40, 99), *b = make(VOCAB, 0.8f, 0.9f, 40, 99);
    tmac_sampler *other = make(VOCAB, 0.8f, 0.9f, 40, 100);
    int different = 0;
    for (int i = 0; i < 500; i++) {
        float logits[VOCAB];
        for (int j = 0; j < VOCAB; j++)
            logits[j] = 8 * tmac_random_unit(&random);
        const uint32_t token = tmac_sample(a, logits);
        cr_expect_eq(token, tmac_sample(b, logits));
        different += token != tmac_sample(other, logits);
    }
    cr_expect_gt(different, 100);
    tmac_sampler_free(a);
    tmac_sampler_free(b);
    tmac_sampler_free(other);
}

// top-k and top-p against a sort.
Test(sampler, nucleus_is_the_likeliest)
{
    enum { VOCAB = 200, K = 7 };
    tmac_random random = {6};
    tmac_sampler *by_k = make(VOCAB, 1, 1, K, 3);
    for (int i = 0; i < 300; i++) {
        float logits[VOCAB];
        for (int j = 0; j < VOCAB; j++)
            logits[j] = (float)tmac_random_below(&random, 12); // many ties
        const uint32_t token = tmac_sample(by_k, logits);
        uint32_t likelier = 0;
        for (uint32_t j = 0; j < VOCAB; j++)
            likelier += logits[j] > logits[token] || (j < token && logits[j] == logits[token]);
        cr_expect_lt(likelier, K);
    }
    tmac_sampler_free(by_k);
}

Test(sampler, negative_log_likelihood)
{
    const float equal[4] = {7, 7, 7, 7};
    cr_expect_float_eq(tmac_negative_log_likelihood(equal, 4, 2), log(4.0), 1e-15);
    const float logits[3] = {0, 1, -1};
    const double sum = 1 + exp(1) + exp(-1);
    cr_expect_float_eq(tmac_negative_log_likelihood(logits, 3, 0), log(sum), 1e-15);
    cr_expect_float_eq(tmac_negative_log_likelihood(logits, 3, 2), log(sum) + 1, 1e-14);
    cr_expect_eq(tmac_negative_log_likelihood((float[]){1e30f, 0}, 2, 0), 0.0);
}

static tmac_sampler *make_with(uint32_t vocab, tmac_sampler_options options)
{
    tmac_sampler *sampler;
    tmac_status status = tmac_sampler_new(vocab, &options, &sampler);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    return sampler;
}

static void count_with(tmac_sampler_options options, uint32_t counts[4])
{
    const float logits[4] = {logf(0.15f), logf(0.5f), logf(0.05f), logf(0.3f)};
    options.seed = 42;
    tmac_sampler *sampler = make_with(4, options);
    for (int i = 0; i < 4; i++)
        counts[i] = 0;
    for (int i = 0; i < DRAWS; i++)
        counts[tmac_sample(sampler, logits)]++;
    tmac_sampler_free(sampler);
}

Test(sampler, min_p_keeps_a_part_of_the_likeliest)
{
    uint32_t counts[4];
    count_with((tmac_sampler_options){.temperature = 1, .top_p = 1, .min_p = 0.4f}, counts);
    expect_share(counts[1], 0.5 / 0.8); // 0.3 is 60 % of 0.5, 0.15 is 30 %
    expect_share(counts[3], 0.3 / 0.8);
    cr_expect_eq(counts[0] + counts[2], 0);
    count_with((tmac_sampler_options){.temperature = 1, .top_p = 1, .min_p = 1}, counts);
    cr_expect_eq(counts[1], DRAWS);
}

// The mean surprise is 1.142: 0.3 (1.204) is nearest, then 0.5 (0.693), 0.15 (1.897), 0.05 (2.996).
Test(sampler, typical_keeps_the_expected_surprise)
{
    uint32_t counts[4];
    count_with((tmac_sampler_options){.temperature = 1, .top_p = 1, .typical = 0.2f}, counts);
    cr_expect_eq(counts[3], DRAWS);
    count_with((tmac_sampler_options){.temperature = 1, .top_p = 1, .typical = 0.7f}, counts);
    expect_share(counts[3], 0.3 / 0.8);
    expect_share(counts[1], 0.5 / 0.8);
    cr_expect_eq(counts[0] + counts[2], 0);
    count_with((tmac_sampler_options){.temperature = 1, .top_p = 0.5f, .typical = 0.7f}, counts);
    cr_expect_eq(counts[1], DRAWS, "top-p acts on what is left");
}

Test(sampler, biases)
{
    const tmac_logit_bias biases[] = {{2, 10.0f}, {1, -INFINITY}};
    tmac_sampler *sampler =
        make_with(4, (tmac_sampler_options){.top_p = 1, .biases = biases, .bias_count = 2});
    cr_expect(tmac_sampler_needs_all(sampler));
    cr_expect_eq(tmac_sample(sampler, (float[]){1, 9, 0, 2}), 2);
    tmac_sampler_free(sampler);
    sampler =
        make_with(4, (tmac_sampler_options){.top_p = 1, .biases = biases + 1, .bias_count = 1});
    cr_expect_eq(tmac_sample(sampler, (float[]){1, 9, 0, 2}), 3);
    tmac_sampler_free(sampler);
    cr_expect_eq(
        tmac_sampler_new(2, &(tmac_sampler_options){.top_p = 1, .biases = biases, .bias_count = 1},
                         &sampler)
            .code,
        TMAC_USAGE);
}

Test(sampler, penalties_count_the_window)
{
    const float logits[3] = {5.0f, 4.0f, -1.0f};
    tmac_sampler *sampler =
        make_with(3, (tmac_sampler_options){.top_p = 1, .repetition = 2, .window = 2});
    cr_expect_eq(tmac_sample(sampler, logits), 0);
    tmac_sampler_accept(sampler, 0);
    cr_expect_eq(tmac_sample(sampler, logits), 1, "2.5 is below 4");
    tmac_sampler_accept(sampler, 1);
    cr_expect_eq(tmac_sample(sampler, logits), 0, "2.5 against 2");
    tmac_sampler_accept(sampler, 2);
    cr_expect_eq(tmac_sample(sampler, logits), 0, "the first is forgotten");
    tmac_sampler_free(sampler);

    sampler = make_with(3, (tmac_sampler_options){.top_p = 1, .frequency = 0.4f, .presence = 0.1f});
    for (int i = 0; i < 2; i++)
        tmac_sampler_accept(sampler, 0);
    cr_expect_eq(tmac_sample(sampler, logits), 0, "4.1 against 4");
    tmac_sampler_accept(sampler, 0);
    cr_expect_eq(tmac_sample(sampler, logits), 1, "3.7 against 4");
    tmac_sampler_forget(sampler);
    cr_expect_eq(tmac_sample(sampler, logits), 0);
    tmac_sampler_free(sampler);
}

Test(sampler, likeliest_are_sorted)
{
    tmac_token_probability top[3];
    tmac_likeliest((float[]){0, 2, 2, 1, -1}, 5, 3, top);
    cr_expect(top[0].token == 1 && top[1].token == 2 && top[2].token == 3);
    const double sum = 2 * exp(2) + exp(1) + 1 + exp(-1);
    cr_expect_float_eq(top[0].log_probability, 2 - log(sum), 1e-12);
    cr_expect_float_eq(top[2].log_probability, 1 - log(sum), 1e-12);
}

Test(sampler, stop_strings_are_held_back)
{
    tmac_stop_strings *stop;
    const char *const strings[] = {"END", "\n\nUser:"};
    cr_assert_eq(tmac_stop_strings_new(strings, 2, &stop).code, TMAC_OK);
    const char *out;
    size_t count;
    cr_expect_not(tmac_stop_strings_feed(stop, "an E", 4, &out, &count));
    cr_expect(count == 3 && memcmp(out, "an ", 3) == 0);
    cr_expect_not(tmac_stop_strings_feed(stop, "gg\n", 3, &out, &count));
    cr_expect(count == 3 && memcmp(out, "Egg", 3) == 0);
    cr_expect_not(tmac_stop_strings_feed(stop, "\n", 1, &out, &count));
    cr_expect_eq(count, 0);
    cr_expect_not(tmac_stop_strings_feed(stop, "\nUser", 5, &out, &count));
    cr_expect(count == 1 && out[0] == '\n', "the later beginning still waits");
    cr_expect(tmac_stop_strings_feed(stop, ": hello", 7, &out, &count));
    cr_expect_eq(count, 0);
    tmac_stop_strings_free(stop);

    cr_assert_eq(tmac_stop_strings_new(strings, 1, &stop).code, TMAC_OK);
    cr_expect_not(tmac_stop_strings_feed(stop, "E", 1, &out, &count));
    tmac_stop_strings_flush(stop, &out, &count);
    cr_expect(count == 1 && out[0] == 'E');
    tmac_stop_strings_free(stop);
    cr_expect_eq(tmac_stop_strings_new((const char *[]){""}, 1, &stop).code, TMAC_USAGE);
}
