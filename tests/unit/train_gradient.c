// Gradients against central differences. The training code is compiled here a second time, in double, so that a
// difference is exact to about ten digits and a wrong term of a derivative cannot hide in rounding.
#define TMAC_TRAIN_DOUBLE 1
#define TMAC_PASSES       tmac_passes_double
#include "train/passes.inc"
// The order matters: the table of passes first.
#include "train/attention.c" // NOLINT(bugprone-suspicious-include)
#include "train/multiply.c"  // NOLINT(bugprone-suspicious-include)
#include "train/network.c"   // NOLINT(bugprone-suspicious-include)

#include <criterion/criterion.h>

#include "base/random.h"
#include "tests/unit/train_gradient.h"

enum { TOKENS = 13, SAMPLES = 12 };
static const uint32_t inputs[TOKENS] = {1, 5, 9, 2, 7, 7, 1, 3, 8, 10, 4, 1, 6};
static const uint32_t targets[TOKENS] = {5, 9, 2, 7, 7, 2, 3, 8, 10, 4, 2, 6, 2};
static const uint32_t starts[] = {0, 6, 11, 13};
static const tmac_chunk text = {inputs, targets, TOKENS, starts, 3};
static const gradient_text plain_text = {inputs, targets, starts, TOKENS, 3};

static double uniform(tmac_random *random)
{
    return (double)tmac_random_unit(random) - 0.5;
}

static double *random_parameters(const tmac_network *network, uint64_t seed)
{
    tmac_random random = {seed};
    double *parameters = calloc(network->parameters + 1, sizeof *parameters);
    cr_assert_not_null(parameters);
    for (uint32_t i = 0; i < network->tensor_count; i++) {
        const tmac_tensor *tensor = &network->tensors[i];
        for (size_t k = 0; k < (size_t)tensor->rows * tensor->columns; k++)
            parameters[tensor->at + k] = uniform(&random) + (tensor->kind == TMAC_TENSOR_NORM);
    }
    return parameters;
}

static double loss_at(tmac_network *network, tmac_workspace *workspace,
                      const tmac_teacher_view *teacher, const double *parameters)
{
    tmac_network_set(network, parameters);
    tmac_network_forward(network, workspace, &text);
    return tmac_network_loss(network, workspace, &text, teacher, 1, NULL);
}

static void assert_close(double got, double expected, const char *what, size_t index)
{
    double size = fmax(fabs(got), fabs(expected));
    cr_assert(fabs(got - expected) <= 1e-4 * size + 1e-8, "%s %zu: gradient %.9g, differences %.9g",
              what, index, got, expected);
}

double gradient_in_double(const struct tmac_train_shape *shape, const gradient_text *given,
                          const double *parameters, double *gradient)
{
    tmac_network network;
    tmac_workspace workspace;
    const tmac_chunk chunk = {given->inputs, given->targets, given->tokens, given->starts,
                              given->documents};
    cr_assert_eq(tmac_network_new(shape, 0, &network).code, TMAC_OK);
    cr_assert_eq(tmac_workspace_new(&network, given->tokens, &workspace).code, TMAC_OK);
    tmac_network_set(&network, parameters);
    tmac_network_forward(&network, &workspace, &chunk);
    double loss = tmac_network_loss(&network, &workspace, &chunk, NULL, 1, gradient);
    tmac_network_backward(&network, &workspace, &chunk, gradient);
    tmac_workspace_free(&workspace);
    tmac_network_free(&network);
    return loss;
}

// Every tensor of a whole network, some numbers of each.
static void check_network(const tmac_train_shape *shape)
{
    tmac_network network;
    tmac_workspace workspace;
    cr_assert_eq(tmac_network_new(shape, 0, &network).code, TMAC_OK);
    cr_assert_eq(tmac_workspace_new(&network, TOKENS, &workspace).code, TMAC_OK);
    double *parameters = random_parameters(&network, 7);
    double *gradient = calloc(network.parameters + 1, sizeof *gradient);
    cr_assert_not_null(gradient);
    gradient_in_double(shape, &plain_text, parameters, gradient);
    tmac_random random = {3};
    for (uint32_t i = 0; i < network.tensor_count; i++) {
        const tmac_tensor *tensor = &network.tensors[i];
        const size_t count = (size_t)tensor->rows * tensor->columns;
        for (int sample = 0; sample < SAMPLES && count; sample++) {
            const size_t at = tensor->at + tmac_random_below(&random, (uint32_t)count);
            const double kept = parameters[at], step = 1e-5;
            parameters[at] = kept + step;
            double up = loss_at(&network, &workspace, NULL, parameters);
            parameters[at] = kept - step;
            double down = loss_at(&network, &workspace, NULL, parameters);
            parameters[at] = kept;
            char name[32];
            snprintf(name, sizeof name, "tensor %u", i);
            assert_close(gradient[at], (up - down) / (2 * step), name, at - tensor->at);
        }
    }
    free(parameters);
    free(gradient);
    tmac_workspace_free(&workspace);
    tmac_network_free(&network);
}

static const tmac_train_shape base = {.dim = 24,
                                      .hidden = 36,
                                      .layers = 2,
                                      .heads = 4,
                                      .kv_heads = 2,
                                      .head_dim = 6,
                                      .vocab = 11,
                                      .context = 8,
                                      .rope_theta = 10000,
                                      .epsilon = 1e-5f,
                                      .final_epsilon = 1e-6f,
                                      .activation = TMAC_RELU2,
                                      .sub_norms = 1,
                                      .tied = 1};

Test(train, gradients_of_bitnet)
{
    check_network(&base);
}

Test(train, gradients_of_llama)
{
    tmac_train_shape shape = base;
    shape.activation = TMAC_SILU;
    shape.sub_norms = shape.tied = 0;
    shape.kv_heads = 4;
    check_network(&shape);
}

// A ternary linear with its norm, from x to out. The surrogate of its straight-through gradient takes what quantization
// added, to the normed input and to the weights, as constants.
Test(train, gradients_straight_through)
{
    tmac_train_shape shape = base;
    shape.ternary = 1;
    const uint32_t dim = shape.dim, hidden = shape.hidden, layer = 1;
    tmac_network network;
    tmac_workspace workspace;
    cr_assert_eq(tmac_network_new(&shape, 0, &network).code, TMAC_OK);
    cr_assert_eq(tmac_workspace_new(&network, TOKENS, &workspace).code, TMAC_OK);
    double *parameters = random_parameters(&network, 11);
    double *gradient = calloc(network.parameters + 1, sizeof *gradient);
    cr_assert_not_null(gradient);
    tmac_network_set(&network, parameters);
    const tmac_tensor *w = tensor_of(&network, layer, TMAC_T_GATE),
                      *norm = tensor_of(&network, layer, TMAC_T_FFN_NORM);
    const double scale = network.scales[tmac_layer_tensor_index(layer, TMAC_T_GATE)];

    double x[TOKENS * 24], in[TOKENS * 24], out[TOKENS * 36], dout[TOKENS * 36], din[TOKENS * 24];
    double dx[TOKENS * 24] = {0}, *exact = workspace.wide_a;
    tmac_random random = {5};
    for (uint32_t i = 0; i < TOKENS * dim; i++)
        x[i] = uniform(&random);
    for (uint32_t i = 0; i < TOKENS * hidden; i++)
        dout[i] = uniform(&random);
    make_input(&network, &workspace, TOKENS, norm, dim, x, in);
    linear(&network, &workspace, TOKENS, layer, TMAC_T_GATE, in, out);
    settle_input(&network, &workspace, TOKENS, dim, in);
    linear_back(&network, TOKENS, layer, TMAC_T_GATE, in, dout, 0, din, gradient);
    norm_backward(&network, TOKENS, norm, dim, shape.epsilon, x, din, dx, gradient);

    // The product is that of the quantized numbers, and they are near the exact ones.
    for (uint32_t t = 0; t < TOKENS; t++) {
        tmac_norm(&network, x + t * dim, network.weights + norm->at, dim, exact + t * dim,
                  shape.epsilon);
        for (uint32_t k = 0; k < dim; k++)
            cr_assert(fabs(in[t * dim + k] - exact[t * dim + k]) <=
                      workspace.row_scale[t] * 0.5000001);
        for (uint32_t m = 0; m < hidden; m++) {
            double sum = 0;
            for (uint32_t k = 0; k < dim; k++)
                sum += in[t * dim + k] * scale * network.weights[w->at + m * dim + k];
            cr_assert_float_eq(out[t * hidden + m], sum, 1e-9);
        }
    }

    // Differences of sum dout * (norm(x) + cx) (w + cw), along some numbers of x, of the norm's weights and of w.
    double *moved[3] = {x, parameters + norm->at, parameters + w->at};
    const double *found[3] = {dx, gradient + norm->at, gradient + w->at};
    const uint32_t counts[3] = {TOKENS * dim, dim, hidden * dim};
    static const char *const names[3] = {"x", "norm", "w"};
    double extra_x[TOKENS * 24], extra_w[36 * 24];
    for (uint32_t i = 0; i < TOKENS * dim; i++)
        extra_x[i] = in[i] - exact[i];
    for (uint32_t i = 0; i < hidden * dim; i++)
        extra_w[i] = scale * network.weights[w->at + i] - parameters[w->at + i];
    for (int what = 0; what < 3; what++) {
        for (int sample = 0; sample < SAMPLES; sample++) {
            const uint32_t at = tmac_random_below(&random, counts[what]);
            const double kept = moved[what][at], step = 1e-5;
            double sums[2] = {0, 0};
            for (int side = 0; side < 2; side++) {
                moved[what][at] = kept + (side ? step : -step);
                for (uint32_t t = 0; t < TOKENS; t++) {
                    tmac_norm(&network, x + t * dim, parameters + norm->at, dim, exact,
                              shape.epsilon);
                    for (uint32_t m = 0; m < hidden; m++)
                        for (uint32_t k = 0; k < dim; k++)
                            sums[side] += dout[t * hidden + m] * (exact[k] + extra_x[t * dim + k]) *
                                          (parameters[w->at + m * dim + k] + extra_w[m * dim + k]);
                }
            }
            moved[what][at] = kept;
            assert_close(found[what][at], (sums[1] - sums[0]) / (2 * step), names[what], at);
        }
    }
    free(parameters);
    free(gradient);
    tmac_workspace_free(&workspace);
    tmac_network_free(&network);
}

// With a teacher the loss that is differentiated is (1 - share) * likelihood + share * cross entropy with the teacher.
Test(train, gradients_of_distillation)
{
    tmac_network student, teacher;
    tmac_workspace one, other;
    cr_assert_eq(tmac_network_new(&base, 0, &student).code, TMAC_OK);
    cr_assert_eq(tmac_network_new(&base, 0, &teacher).code, TMAC_OK);
    cr_assert_eq(tmac_workspace_new(&student, TOKENS, &one).code, TMAC_OK);
    cr_assert_eq(tmac_workspace_new(&teacher, TOKENS, &other).code, TMAC_OK);
    double *parameters = random_parameters(&student, 21), *wise = random_parameters(&teacher, 22);
    double *gradient = calloc(student.parameters + 1, sizeof *gradient);
    cr_assert_not_null(gradient);
    tmac_network_set(&teacher, wise);
    tmac_network_forward(&teacher, &other, &text);
    const double share = 0.3;
    const tmac_teacher_view view = {&teacher, &other, share};
    tmac_network_set(&student, parameters);
    tmac_network_forward(&student, &one, &text);
    tmac_network_loss(&student, &one, &text, &view, 1, gradient);
    tmac_network_backward(&student, &one, &text, gradient);
    tmac_random random = {9};
    double *theirs = calloc((size_t)TOKENS * base.vocab, sizeof *theirs);
    cr_assert_not_null(theirs);
    run_head(&teacher, other.head_in, TOKENS, theirs);
    double ignored;
    for (uint32_t t = 0; t < TOKENS; t++)
        softmax_row(theirs + t * base.vocab, base.vocab, &ignored);
    for (int sample = 0; sample < SAMPLES; sample++) {
        const tmac_tensor *tensor = &student.tensors[tmac_layer_tensor_index(1, TMAC_T_DOWN)];
        const size_t at = tensor->at + tmac_random_below(&random, tensor->rows * tensor->columns);
        const double kept = parameters[at], step = 1e-5;
        double sums[2];
        for (int side = 0; side < 2; side++) {
            parameters[at] = kept + (side ? step : -step);
            sums[side] = (1 - share) * loss_at(&student, &one, NULL, parameters);
            run_head(&student, one.head_in, TOKENS, one.logits);
            for (uint32_t t = 0; t < TOKENS; t++) {
                double *row = one.logits + t * base.vocab;
                softmax_row(row, base.vocab, &ignored);
                for (uint32_t v = 0; v < base.vocab; v++)
                    sums[side] -= share * theirs[t * base.vocab + v] * log(row[v]);
            }
        }
        parameters[at] = kept;
        assert_close(gradient[at], (sums[1] - sums[0]) / (2 * step), "down", at);
    }
    free(theirs);
    free(parameters);
    free(wise);
    free(gradient);
    tmac_workspace_free(&one);
    tmac_workspace_free(&other);
    tmac_network_free(&student);
    tmac_network_free(&teacher);
}
