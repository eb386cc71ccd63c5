/* Loss scaling and training steps. */
#include "check.h"

enum { COUNT = 5 };

static const float start[COUNT] = {1.0f, -2.0f, 0.5f, 3.0f, 0.25f};
static const float grads[COUNT] = {1024.0f, -512.0f, 0.0f, 256.0f, 2048.0f};
static const tersor_f16 grads_f16[COUNT] = {0x6400, 0xE000, 0x0000, 0x5C00, 0x6800};
static const tersor_bf16 grads_bf16[COUNT] = {0x4480, 0xC400, 0x0000, 0x4380, 0x4500};

typedef struct {
    float master[COUNT], m[COUNT], v[COUNT];
    uint16_t stored[COUNT];
} tensor;

static tensor fresh(void) {
    tensor t;
    memset(&t, 0, sizeof t);
    memcpy(t.master, start, sizeof start);
    return t;
}

/* Every rule in f32, f16 and bf16 comes to the same masters, because the gradients are the same numbers. */
static void test_rules(void) {
    tersor_overflow o;
    tensor f32, f16, bf16;

#define ALL_TYPES(rule, step, options)                                                                                 \
    do {                                                                                                               \
        OK(tersor_##rule##_step_f32(NULL, grads, COUNT, step, 1024.0f, options, f32.master,                            \
                                    F32_STATES, &o));                                                                  \
        CHECK(o.found == 0 && o.count == 0);                                                                           \
        OK(tersor_##rule##_step_f16(NULL, grads_f16, COUNT, step, 1024.0f, options, f16.master, F16_STATES,            \
                                    f16.stored, &o));                                                                  \
        OK(tersor_##rule##_step_bf16(NULL, grads_bf16, COUNT, step, 1024.0f, options, bf16.master, BF16_STATES,        \
                                     bf16.stored, &o));                                                                \
        CHECK(memcmp(f32.master, f16.master, sizeof start) == 0);                                                      \
        CHECK(memcmp(f32.master, bf16.master, sizeof start) == 0);                                                     \
        tersor_f16 rounded[COUNT];                                                                                     \
        OK(tersor_cast_f32_to_f16(NULL, f32.master, COUNT, rounded));                                                  \
        CHECK(memcmp(rounded, f16.stored, sizeof rounded) == 0);                                                       \
        OK(tersor_cast_f32_to_bf16(NULL, f32.master, COUNT, rounded));                                                 \
        CHECK(memcmp(rounded, bf16.stored, sizeof rounded) == 0);                                                      \
    } while (0)

#define F32_STATES f32.m
#define F16_STATES f16.m
#define BF16_STATES bf16.m
    tersor_sgd_options sgd;
    OK(tersor_sgd_options_init(&sgd, sizeof sgd));
    sgd.learning_rate = 0.5;
    f32 = f16 = bf16 = fresh();
    ALL_TYPES(sgd, 1, &sgd);
    CHECK(f32.master[0] == 0.5f && f32.master[1] == -1.75f && f32.master[2] == 0.5f && f32.m[0] == 0);
    OK(tersor_sgd_step_f32(NULL, grads, COUNT, 2, 1024.0f, &sgd, f32.master, NULL, &o)); /* no momentum, no buffer */
    CHECK(f32.master[0] == 0.0f);
    sgd.momentum = 0.5;
    f32 = f16 = bf16 = fresh();
    ALL_TYPES(sgd, 1, &sgd);
    ALL_TYPES(sgd, 2, &sgd);
    CHECK(f32.m[0] == 1.5f && f32.master[0] == -0.25f);
    /* keras's velocity contains the learning rate. */
    tersor_sgd_options keras_sgd;
    OK(tersor_keras_sgd_options_init(&keras_sgd, sizeof keras_sgd));
    CHECK(keras_sgd.rules == TERSOR_OPTIMIZER_KERAS && keras_sgd.learning_rate == 0.01 && keras_sgd.momentum == 0);
    keras_sgd.learning_rate = 0.5;
    keras_sgd.weight_decay = 0.5;
    f32 = f16 = bf16 = fresh();
    ALL_TYPES(sgd, 1, &keras_sgd);
    CHECK(f32.master[0] == 0.25f && f32.master[2] == 0.375f && f32.m[0] == 0); /* 1 - 1/4 - 1/2, 1/2 - 1/8 */
    keras_sgd.weight_decay = 0;
    keras_sgd.momentum = 0.5;
    f32 = f16 = bf16 = fresh();
    ALL_TYPES(sgd, 1, &keras_sgd);
    ALL_TYPES(sgd, 2, &keras_sgd);
    CHECK(f32.m[0] == -0.75f && f32.master[0] == -0.25f);
    keras_sgd.nesterov = 1;
    f32 = f16 = bf16 = fresh();
    ALL_TYPES(sgd, 1, &keras_sgd);
    CHECK(f32.m[0] == -0.5f && f32.master[0] == 0.25f);

    tersor_adagrad_options adagrad;
    OK(tersor_adagrad_options_init(&adagrad, sizeof adagrad));
    adagrad.learning_rate = 0.5;
    f32 = f16 = bf16 = fresh();
    ALL_TYPES(adagrad, 1, &adagrad);
    CHECK(f32.m[0] == 1 && f32.m[4] == 4 && fabsf(f32.master[0] - 0.5f) < 1e-6f);
    CHECK(f32.master[2] == 0.5f);
    tersor_adagrad_options keras_adagrad;
    OK(tersor_keras_adagrad_options_init(&keras_adagrad, sizeof keras_adagrad));
    CHECK(keras_adagrad.learning_rate == 0.001 && keras_adagrad.initial_accumulator == 0.1);
    keras_adagrad.learning_rate = 0.5;
    keras_adagrad.epsilon = 3;
    f32 = f16 = bf16 = fresh();
    ALL_TYPES(adagrad, 1, &keras_adagrad);
    CHECK(f32.m[0] == 1 && f32.master[0] == 0.75f); /* 1 - 1/2 / sqrt(1 + 3) */

#undef F32_STATES
#undef F16_STATES
#undef BF16_STATES
#define F32_STATES f32.m, f32.v
#define F16_STATES f16.m, f16.v
#define BF16_STATES bf16.m, bf16.v
    f32 = f16 = bf16 = fresh();
    ALL_TYPES(adam, 1, NULL);
    CHECK(fabsf(f32.master[0] - 0.999f) < 1e-6f && f32.master[2] == 0.5f);
    tersor_adam_options adam;
    OK(tersor_adam_options_init(&adam, sizeof adam));
    CHECK(adam.weight_decay == 0 && adam.beta2 == 0.999);
    OK(tersor_adamw_options_init(&adam, sizeof adam));
    CHECK(adam.weight_decay == 0.01);
    adam.learning_rate = 0.5;
    f32 = f16 = bf16 = fresh();
    ALL_TYPES(adamw, 1, &adam);
    CHECK(fabsf(f32.master[2] - 0.5f * (1 - 0.5f * 0.01f)) < 1e-6f); /* no gradient: decay alone */

    /* keras adds epsilon to what torch has corrected for the bias; of AdamW only the decay is another. */
    OK(tersor_keras_adam_options_init(&adam, sizeof adam));
    CHECK(adam.rules == TERSOR_OPTIMIZER_KERAS && adam.epsilon == 1e-7 && adam.weight_decay == 0);
    adam.learning_rate = 0.5;
    adam.epsilon = 1;
    f32 = f16 = bf16 = fresh();
    ALL_TYPES(adam, 1, &adam);
    CHECK(fabsf(f32.master[0] - (1 - 0.5f * sqrtf(0.001f) / (sqrtf(0.001f) + 1))) < 1e-6f);
    adam.rules = TERSOR_OPTIMIZER_TORCH;
    f32 = f16 = bf16 = fresh();
    ALL_TYPES(adam, 1, &adam);
    CHECK(fabsf(f32.master[0] - 0.75f) < 1e-6f);
    OK(tersor_keras_adamw_options_init(&adam, sizeof adam));
    CHECK(adam.rules == TERSOR_OPTIMIZER_KERAS && adam.weight_decay == 0.004);
    adam.learning_rate = 0.5;
    f32 = f16 = bf16 = fresh();
    ALL_TYPES(adamw, 1, &adam);
    CHECK(fabsf(f32.master[2] - 0.5f * (1 - 0.5f * 0.004f)) < 1e-6f);

    /* A gradient that is not finite: nothing changes, and the report says where. */
    tensor before = f32;
    float broken[COUNT];
    memcpy(broken, grads, sizeof grads);
    broken[3] = -INFINITY;
    OK(tersor_adam_step_f32(NULL, broken, COUNT, 2, 1024.0f, NULL, f32.master, f32.m, f32.v, &o));
    CHECK(o.found == 1 && o.index == 3 && o.tensor == 0 && o.count == 1 && isinf(o.value));
    CHECK(memcmp(&before, &f32, sizeof f32) == 0);

    /* Refusals. */
    REFUSED(TERSOR_E_OUT_OF_RANGE, "step is 0", f32,
            tersor_adam_step_f32(NULL, grads, COUNT, 0, 1.0f, NULL, f32.master, f32.m, f32.v, &o));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "loss_scale is NaN", f32,
            tersor_adamw_step_f32(NULL, grads, COUNT, 1, NAN, NULL, f32.master, f32.m, f32.v, &o));
    adam.rules = 2;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.rules is 2, but must be one of TERSOR_OPTIMIZER_*", f32,
            tersor_adam_step_f32(NULL, grads, COUNT, 1, 1.0f, &adam, f32.master, f32.m, f32.v, &o));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.rules", f32,
            tersor_adamw_step_f32(NULL, grads, COUNT, 1, 1.0f, &adam, f32.master, f32.m, f32.v, &o));
    adam.rules = TERSOR_OPTIMIZER_TORCH;
    adagrad.rules = 3;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.rules is 3", f32,
            tersor_adagrad_step_f32(NULL, grads, COUNT, 1, 1.0f, &adagrad, f32.master, f32.m, &o));
    adagrad.rules = TERSOR_OPTIMIZER_KERAS;
    adagrad.learning_rate_decay = 0.5;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.learning_rate_decay is 0.5, but must be 0 by keras's rules", f32,
            tersor_adagrad_step_f32(NULL, grads, COUNT, 1, 1.0f, &adagrad, f32.master, f32.m, &o));
    adagrad.rules = TERSOR_OPTIMIZER_TORCH;
    keras_sgd.dampening = NAN;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.dampening is NaN", f32,
            tersor_sgd_step_f32(NULL, grads, COUNT, 1, 1.0f, &keras_sgd, f32.master, f32.m, &o));
    keras_sgd.dampening = 0;
    keras_sgd.momentum = 0;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.nesterov", f32,
            tersor_sgd_step_f32(NULL, grads, COUNT, 1, 1.0f, &keras_sgd, f32.master, f32.m, &o));
    keras_sgd.nesterov = 0;
    keras_sgd.weight_decay = -1;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.weight_decay is -1", f32,
            tersor_sgd_step_f32(NULL, grads, COUNT, 1, 1.0f, &keras_sgd, f32.master, f32.m, &o));
    keras_sgd.rules = 7;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.rules is 7", f32,
            tersor_sgd_step_f32(NULL, grads, COUNT, 1, 1.0f, &keras_sgd, f32.master, f32.m, &o));
    keras_sgd.reserved = 1;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.reserved is 1, but must be 0", f32,
            tersor_sgd_step_f32(NULL, grads, COUNT, 1, 1.0f, &keras_sgd, f32.master, f32.m, &o));
    adam.beta1 = 1.0;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.beta1 is 1", f32,
            tersor_adamw_step_f16(NULL, grads_f16, COUNT, 1, 1.0f, &adam, f32.master, f32.m, f32.v, f32.stored, &o));
    REFUSED(TERSOR_E_NULL, "moment2", f32,
            tersor_adam_step_bf16(NULL, grads_bf16, COUNT, 1, 1.0f, NULL, f32.master, f32.m, NULL, f32.stored, &o));
    REFUSED(TERSOR_E_NULL, "params", f32,
            tersor_adam_step_f16(NULL, grads_f16, COUNT, 1, 1.0f, NULL, f32.master, f32.m, f32.v, NULL, &o));
    REFUSED(TERSOR_E_NULL, "out_overflow", f32,
            tersor_adagrad_step_f32(NULL, grads, COUNT, 1, 1.0f, NULL, f32.master, f32.m, NULL));
    REFUSED(TERSOR_E_NULL, "momentum_buffer", f32,
            tersor_sgd_step_f32(NULL, grads, COUNT, 1, 1.0f, &sgd, f32.master, NULL, &o));
    REFUSED(TERSOR_E_NULL, "grads", f32,
            tersor_sgd_step_bf16(NULL, NULL, COUNT, 1, 1.0f, &sgd, f32.master, f32.m, f32.stored, &o));
    sgd.nesterov = 2;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.nesterov is 2", f32,
            tersor_sgd_step_f16(NULL, grads_f16, COUNT, 1, 1.0f, &sgd, f32.master, f32.m, f32.stored, &o));
    adagrad.epsilon = -1;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.epsilon is -1", f32,
            tersor_adagrad_step_bf16(NULL, grads_bf16, COUNT, 1, 1.0f, &adagrad, f32.master, f32.m, f32.stored, &o));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "grads", f32,
            tersor_adagrad_step_f16(NULL, grads_f16, SIZE_MAX, 1, 1.0f, NULL, f32.master, f32.m, f32.stored, &o));
    REFUSED(TERSOR_E_STRUCT_SIZE, "", sgd, tersor_sgd_options_init(&sgd, 5));
    REFUSED(TERSOR_E_STRUCT_SIZE, "", adam, tersor_adam_options_init(&adam, 5));
    REFUSED(TERSOR_E_STRUCT_SIZE, "", adam, tersor_adamw_options_init(&adam, 5));
    REFUSED(TERSOR_E_STRUCT_SIZE, "", adagrad, tersor_adagrad_options_init(&adagrad, 5));
    REFUSED(TERSOR_E_STRUCT_SIZE, "", sgd, tersor_keras_sgd_options_init(&sgd, 5));
    REFUSED(TERSOR_E_STRUCT_SIZE, "", adam, tersor_keras_adam_options_init(&adam, 5));
    REFUSED(TERSOR_E_STRUCT_SIZE, "", adam, tersor_keras_adamw_options_init(&adam, 5));
    REFUSED(TERSOR_E_STRUCT_SIZE, "", adagrad, tersor_keras_adagrad_options_init(&adagrad, 5));
}

static void test_scaler(void) {
    tersor_loss_scaler scaler;
    OK(tersor_loss_scaler_init(TERSOR_SCALE_TORCH, &scaler, sizeof scaler));
    CHECK(scaler.scale == 65536.0f && scaler.growth_interval == 2000);
    OK(tersor_loss_scaler_init(TERSOR_SCALE_KERAS, &scaler, sizeof scaler));
    CHECK(scaler.scale == 32768.0f);
    OK(tersor_loss_scaler_init(TERSOR_SCALE_BOUNDED, &scaler, sizeof scaler));
    scaler.growth_interval = 2;
    OK(tersor_loss_scaler_update(1, &scaler));
    CHECK(scaler.scale == 32768.0f && scaler.growth_tracker == 0);
    OK(tersor_loss_scaler_update(0, &scaler));
    CHECK(scaler.scale == 32768.0f && scaler.growth_tracker == 1);
    OK(tersor_loss_scaler_update(0, &scaler));
    CHECK(scaler.scale == 65536.0f && scaler.growth_tracker == 0);
    OK(tersor_loss_scaler_init(TERSOR_SCALE_STATIC, &scaler, sizeof scaler));
    scaler.scale = 128;
    OK(tersor_loss_scaler_update(1, &scaler));
    CHECK(scaler.scale == 128);
    scaler.reserved = 1;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "scaler.reserved", scaler, tersor_loss_scaler_update(0, &scaler));
    scaler.reserved = 0;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "overflow is 2", scaler, tersor_loss_scaler_update(2, &scaler));
    scaler.scale = NAN;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "scaler.scale is NaN", scaler, tersor_loss_scaler_update(0, &scaler));
    REFUSED(TERSOR_E_NULL, "scaler", scaler, tersor_loss_scaler_update(0, NULL));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "rule is 9", scaler, tersor_loss_scaler_init(9, &scaler, sizeof scaler));
    REFUSED(TERSOR_E_STRUCT_SIZE, "", scaler, tersor_loss_scaler_init(TERSOR_SCALE_TORCH, &scaler, 8));
}

typedef struct {
    tensor a, b;
    tersor_parameter parameters[2];
} network;

static void tie(network *net) {
    memset(net, 0, sizeof *net);
    net->a = net->b = fresh();
    tensor *tensors[2] = {&net->a, &net->b};
    for (size_t i = 0; i < 2; i++) {
        tersor_parameter *p = &net->parameters[i];
        p->name = i == 0 ? "layer.weight" : NULL;
        p->count = COUNT;
        p->master = tensors[i]->master;
        p->state1 = tensors[i]->m;
        p->state2 = tensors[i]->v;
        p->stored = tensors[i]->stored;
        p->stored_dtype = i == 0 ? TERSOR_F16 : TERSOR_F32;
    }
}

static void test_tensors(void) {
    tersor_gradient gradients[2];
    memset(gradients, 0, sizeof gradients);
    gradients[0].elements = grads_f16;
    gradients[0].dtype = TERSOR_F16;
    gradients[1].elements = grads;
    gradients[1].dtype = TERSOR_F32;
    gradients[0].count = gradients[1].count = COUNT;
    tersor_loss_scaler scaler;
    OK(tersor_loss_scaler_init(TERSOR_SCALE_BOUNDED, &scaler, sizeof scaler));
    scaler.scale = 1024;
    network net;
    tie(&net);
    const uint8_t mask = 0x1E; /* condemns the first weight */
    net.parameters[1].mask = &mask;
    net.parameters[1].mask_bytes = 1;
    tersor_overflow o;
    tersor_step_report report;
    tensor alone = fresh();
    tersor_overflow ignored;

    /* The same as the single step where there is neither a mask nor a clip. */
    OK(tersor_adam_step_tensors(NULL, gradients, 2, 0.0, NULL, &scaler, net.parameters, &o, &report));
    OK(tersor_adam_step_f32(NULL, grads, COUNT, 1, 1024.0f, NULL, alone.master, alone.m, alone.v, &ignored));
    CHECK(o.found == 0 && scaler.growth_tracker == 1 && net.parameters[0].steps == 1);
    CHECK(memcmp(alone.master, net.a.master, sizeof start) == 0);
    CHECK(net.b.master[0] == 0 && net.b.m[0] == 0 && net.b.master[1] == alone.master[1]);
    /* Squares: 1 + 1/4 + 1/16 + 4, twice, less the condemned 1. */
    CHECK(fabs(report.grad_norm - sqrt(2 * 5.3125 - 1)) < 1e-6 && report.held == 0 && report.saturated == 0);

    /* Clipped, by the other rules. */
    tersor_sgd_options sgd;
    OK(tersor_sgd_options_init(&sgd, sizeof sgd));
    sgd.learning_rate = 1;
    tie(&net);
    OK(tersor_sgd_step_tensors(NULL, gradients, 2, 0.5, &sgd, &scaler, net.parameters, &o, NULL));
    double coefficient = 0.5 / (sqrt(2 * 5.3125) + 1e-6);
    CHECK(fabs(net.a.master[0] - (1 - coefficient)) < 1e-6 && net.a.m[0] == 0);
    sgd.momentum = 0.9;
    OK(tersor_sgd_step_tensors(NULL, gradients, 2, 0.5, &sgd, &scaler, net.parameters, &o, NULL));
    CHECK(net.a.m[0] > 0 && net.parameters[1].steps == 2);
    OK(tersor_keras_sgd_options_init(&sgd, sizeof sgd));
    sgd.learning_rate = 1;
    sgd.momentum = 0.5;
    tie(&net);
    OK(tersor_sgd_step_tensors(NULL, gradients, 2, 0.0, &sgd, &scaler, net.parameters, &o, NULL));
    CHECK(net.a.m[0] == -1 && net.b.m[1] == 0.5f && net.a.master[0] == 0);
    tie(&net);
    OK(tersor_adamw_step_tensors(NULL, gradients, 2, 1.0, NULL, NULL, net.parameters, &o, &report));
    CHECK(report.grad_norm > 1024); /* without a scaler nothing is unscaled */
    tie(&net);
    OK(tersor_adagrad_step_tensors(NULL, gradients, 2, 1.0, NULL, &scaler, net.parameters, &o, &report));
    CHECK(net.a.m[0] > 0);

    /* Overflow in the last element of the last tensor: everything is as it was, but the scale. */
    float broken[COUNT];
    memcpy(broken, grads, sizeof grads);
    broken[COUNT - 1] = NAN;
    gradients[1].elements = broken;
    network before = net;
    float scale = scaler.scale;
    OK(tersor_adam_step_tensors(NULL, gradients, 2, 1.0, NULL, &scaler, net.parameters, &o, &report));
    CHECK(o.found == 1 && o.tensor == 1 && o.index == COUNT - 1 && isnan(o.value) && o.count == 1);
    CHECK(memcmp(&before, &net, sizeof net) == 0 && scaler.scale == scale / 2 && scaler.growth_tracker == 0);
    CHECK(report.grad_norm == 0);
    gradients[1].elements = grads;

    /* Refusals: nothing changes, the scaler included. */
    before = net;
    gradients[1].count = 4;
    REFUSED(TERSOR_E_LENGTH, "gradients[1].count: the length is 4, but must be 5", net,
            tersor_adam_step_tensors(NULL, gradients, 2, 1.0, NULL, &scaler, net.parameters, &o, NULL));
    gradients[1].count = COUNT;
    gradients[1].dtype = 3;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "gradients[1].dtype is 3", scaler,
            tersor_adamw_step_tensors(NULL, gradients, 2, 1.0, NULL, &scaler, net.parameters, &o, NULL));
    gradients[1].dtype = TERSOR_F32;
    gradients[1].reserved = 9;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "gradients[1].reserved is 9", net,
            tersor_adamw_step_tensors(NULL, gradients, 2, 1.0, NULL, &scaler, net.parameters, &o, NULL));
    gradients[1].reserved = 0;
    net.parameters[0].reserved = 9;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "parameters[0].reserved is 9", net,
            tersor_adamw_step_tensors(NULL, gradients, 2, 1.0, NULL, &scaler, net.parameters, &o, NULL));
    net.parameters[0].reserved = 0;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "max_norm", net,
            tersor_sgd_step_tensors(NULL, gradients, 2, NAN, NULL, &scaler, net.parameters, &o, NULL));
    gradients[0].elements = NULL;
    REFUSED(TERSOR_E_NULL, "gradients[0].elements is NULL", net,
            tersor_adam_step_tensors(NULL, gradients, 2, 1.0, NULL, &scaler, net.parameters, &o, NULL));
    gradients[0].elements = grads_f16;
    net.parameters[1].state1 = NULL;
    REFUSED(TERSOR_E_NULL, "parameters[1].state1", net,
            tersor_adagrad_step_tensors(NULL, gradients, 2, 1.0, NULL, &scaler, net.parameters, &o, NULL));
    REFUSED(TERSOR_E_NULL, "gradients", net,
            tersor_adagrad_step_tensors(NULL, NULL, 2, 1.0, NULL, &scaler, net.parameters, &o, NULL));
    scaler.growth_factor = 0.5;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "scaler.growth_factor is 0.5", net,
            tersor_sgd_step_tensors(NULL, gradients, 2, 0.0, NULL, &scaler, net.parameters, &o, NULL));
}

void test_training(void) {
    test_rules();
    test_scaler();
    test_tensors();
}
