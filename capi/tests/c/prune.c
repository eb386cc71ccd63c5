/* Masks, pruning, schedules. */
#include "check.h"

static void test_saved_masks(void) {
    /* Two by nine, at an odd address; what is past the last weight is not saved. */
    const uint8_t mask[3] = {0x0F, 0xF1, 0xFE};
    const size_t shape[2] = {2, 9}, huge[2] = {SIZE_MAX, 2};
    size_t bytes = 7, axes = 7, sizes[3] = {7, 7, 7}, many[65] = {0};
    uint8_t back[4] = {0xA5, 0xA5, 0xA5, 0xA5};
    OK(tersor_mask_save_size(shape, 2, &bytes));
    CHECK(bytes == 24 + 2 * 8 + 3);
    unsigned char *memory = ARRAY(unsigned char, bytes + 1), *saved = memory + 1;
    OK(tersor_mask_save(mask, sizeof mask, shape, 2, saved, bytes));
    CHECK(memcmp(saved, "TERSMASK", 8) == 0 && saved[bytes - 1] == 0x02);
    OK(tersor_mask_load_shape(saved, bytes, 0, NULL, &axes));
    CHECK(axes == 2);
    OK(tersor_mask_load_shape(saved, bytes, 3, sizes, &axes));
    CHECK(axes == 2 && sizes[0] == 2 && sizes[1] == 9 && sizes[2] == 7);
    OK(tersor_mask_load(saved, bytes, back, sizeof back));
    CHECK(back[0] == 0x0F && back[1] == 0xF1 && back[2] == 0x02 && back[3] == 0xA5);

    /* Every damaged byte and every other length is refused, by both. */
    for (size_t i = 0; i < bytes; i++) {
        saved[i] ^= 0x10;
        REFUSED(TERSOR_E_LAYOUT, "saved: ", back, tersor_mask_load(saved, bytes, back, sizeof back));
        REFUSED(TERSOR_E_LAYOUT, "saved: ", sizes, tersor_mask_load_shape(saved, bytes, 3, sizes, &axes));
        saved[i] ^= 0x10;
        REFUSED(TERSOR_E_LAYOUT, "saved: ", back, tersor_mask_load(saved, i, back, sizeof back));
    }
    REFUSED(TERSOR_E_LAYOUT, "not a mask", sizes, tersor_mask_load_shape("a mask it is not", 16, 3, sizes, &axes));
    REFUSED(TERSOR_E_LENGTH, "shape: the length is 1, but must be at least 2", sizes,
            tersor_mask_load_shape(saved, bytes, 1, sizes, &axes));
    REFUSED(TERSOR_E_NULL, "out_axes", sizes, tersor_mask_load_shape(saved, bytes, 3, sizes, NULL));
    REFUSED(TERSOR_E_NULL, "saved", sizes, tersor_mask_load_shape(NULL, bytes, 3, sizes, &axes));
    REFUSED(TERSOR_E_LENGTH, "mask: the length is 2", back, tersor_mask_load(saved, bytes, back, 2));
    REFUSED(TERSOR_E_NULL, "mask", back, tersor_mask_load(saved, bytes, NULL, 3));
    REFUSED(TERSOR_E_LENGTH, "mask: the length is 2", saved[40], tersor_mask_save(mask, 2, shape, 2, saved, bytes));
    REFUSED(TERSOR_E_LENGTH, "saved: the length is 42, but must be 43", saved[40],
            tersor_mask_save(mask, 3, shape, 2, saved, bytes - 1));
    REFUSED(TERSOR_E_NULL, "saved", back, tersor_mask_save(mask, 3, shape, 2, NULL, bytes));
    REFUSED(TERSOR_E_NULL, "shape", saved[40], tersor_mask_save(mask, 3, NULL, 2, saved, bytes));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "shape", saved[40], tersor_mask_save(mask, 3, huge, 2, saved, bytes));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "shape", bytes, tersor_mask_save_size(huge, 2, &bytes));
    REFUSED(TERSOR_E_NULL, "out_bytes", axes, tersor_mask_save_size(shape, 2, NULL));
    release(memory);

    /* Many axes, a single weight without axes, and a shape without weights. */
    OK(tersor_mask_save_size(many, 65, &bytes));
    CHECK(bytes == 24 + 65 * 8);
    OK(tersor_mask_save_size(NULL, 0, &bytes));
    CHECK(bytes == 25);
    OK(tersor_mask_save_size(many, 64, &bytes));
    CHECK(bytes == 24 + 64 * 8);
}

void test_masks(void) {
    uint8_t a[2] = {0x0F, 0xFF}, b[2] = {0x35, 0x01}, out[3] = {0xA5, 0xA5, 0xA5};
    size_t count = 99;
    CHECK(tersor_mask_size(0) == 0 && tersor_mask_size(8) == 1 && tersor_mask_size(9) == 2);
    OK(tersor_mask_count(a, sizeof a, 10, &count));
    CHECK(count == 6); /* the unused bits of the last byte are ignored */
    OK(tersor_mask_and(a, b, sizeof a, 10, out));
    CHECK(out[0] == 0x05 && out[1] == 0x01 && out[2] == 0xA5);
    OK(tersor_mask_or(a, b, sizeof a, 10, out));
    CHECK(out[0] == 0x3F && out[1] == 0x03 && out[2] == 0xA5);
    OK(tersor_mask_not(a, sizeof a, 10, out));
    CHECK(out[0] == 0xF0 && out[1] == 0x00 && out[2] == 0xA5);
    /* In place. */
    uint8_t place[2] = {0x0F, 0xFF}, other[2] = {0x35, 0x01};
    OK(tersor_mask_and(place, other, sizeof place, 10, place));
    CHECK(place[0] == 0x05 && place[1] == 0x01);
    OK(tersor_mask_or(other, place, sizeof place, 16, place));
    CHECK(place[0] == 0x35 && place[1] == 0x01);
    OK(tersor_mask_not(place, sizeof place, 12, place));
    CHECK(place[0] == 0xCA && place[1] == 0x0E);
    OK(tersor_mask_not(place, sizeof place, 16, place));
    CHECK(place[0] == 0x35 && place[1] == 0xF1);
    OK(tersor_mask_not(NULL, 0, 0, NULL));
    OK(tersor_mask_count(NULL, 0, 0, &count));
    CHECK(count == 0);

    REFUSED(TERSOR_E_LENGTH, "mask", count, tersor_mask_count(a, 1, 10, &count));
    REFUSED(TERSOR_E_NULL, "out_survivors", out, tersor_mask_count(a, 2, 10, NULL));
    REFUSED(TERSOR_E_NULL, "b is NULL", out, tersor_mask_and(a, NULL, 2, 10, out));
    REFUSED(TERSOR_E_NULL, "out_mask", a, tersor_mask_or(a, b, 2, 10, NULL));
    REFUSED(TERSOR_E_LENGTH, "a", out, tersor_mask_or(a, b, 1, 10, out));
    REFUSED(TERSOR_E_LENGTH, "mask", out, tersor_mask_not(a, 1, 10, out));

    test_saved_masks();

    /* 2 x 3 in a matrix with a stride of 4: what lies between the rows stays. */
    uint8_t mask = 0x2D; /* 1 0 1 / 1 0 1 */
    float values[8] = {1, NAN, 3, 77, 4, INFINITY, 6, 88};
    OK(tersor_mask_apply_f32(NULL, &mask, 1, 2, 3, values, 4));
    const float masked[8] = {1, 0, 3, 77, 4, 0, 6, 88};
    CHECK(memcmp(values, masked, sizeof values) == 0);
    tersor_f16 halves[6] = {0x3C00, 0x7E00, 0x4200, 0x3C00, 0x4000, 0x4200};
    OK(tersor_mask_apply_f16(NULL, &mask, 1, 2, 3, halves, 3));
    CHECK(halves[0] == 0x3C00 && halves[1] == 0 && halves[4] == 0 && halves[5] == 0x4200);
    tersor_bf16 brains[6] = {0x3F80, 0x7FC0, 0x4000, 0x3F80, 0x4000, 0x4040};
    OK(tersor_mask_apply_bf16(NULL, &mask, 1, 2, 3, brains, 3));
    CHECK(brains[0] == 0x3F80 && brains[1] == 0 && brains[4] == 0 && brains[5] == 0x4040);

    float soft[6] = {1, 2, 3, 4, -8, 6};
    OK(tersor_mask_decay_f32(NULL, &mask, 1, 2, 3, 0.5f, soft, 3));
    CHECK(soft[0] == 1 && soft[1] == 1 && soft[4] == -4 && soft[5] == 6);
    tersor_f16 soft16[2] = {0x4000, 0x4000};
    OK(tersor_mask_decay_f16(NULL, &mask, 1, 1, 2, 0.5f, soft16, 2));
    CHECK(soft16[0] == 0x4000 && soft16[1] == 0x3C00);
    tersor_bf16 soft_bf16[2] = {0x4000, 0x4000};
    OK(tersor_mask_decay_bf16(NULL, &mask, 1, 1, 2, 0.5f, soft_bf16, 2));
    CHECK(soft_bf16[0] == 0x4000 && soft_bf16[1] == 0x3F80);

    REFUSED(TERSOR_E_OUT_OF_RANGE, "factor", soft, tersor_mask_decay_f32(NULL, &mask, 1, 2, 3, NAN, soft, 3));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "factor", soft16, tersor_mask_decay_f16(NULL, &mask, 1, 1, 2, 2.0f, soft16, 2));
    REFUSED(TERSOR_E_NULL, "values", soft, tersor_mask_decay_bf16(NULL, &mask, 1, 1, 2, 0.5f, NULL, 2));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "stride", values, tersor_mask_apply_f32(NULL, &mask, 1, 2, 3, values, 2));
    REFUSED(TERSOR_E_LENGTH, "mask", values, tersor_mask_apply_f32(NULL, &mask, 0, 2, 3, values, 4));
    REFUSED(TERSOR_E_NULL, "values", mask, tersor_mask_apply_f16(NULL, &mask, 1, 2, 3, NULL, 3));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "values", brains,
            tersor_mask_apply_bf16(NULL, &mask, 1, SIZE_MAX / 2, 3, brains, 3));
    REFUSED(TERSOR_E_ALIGNMENT, "values", values,
            tersor_mask_apply_f32(NULL, &mask, 1, 1, 3, (float *)(void *)((char *)values + 1), 3));
}

static const float weights[2][4] = {{0.1f, -5.0f, 0.3f, 4.0f}, {-0.2f, 2.0f, 3.0f, -0.4f}};

void test_pruning(void) {
    uint8_t mask[2] = {0xA5, 0xA5};
    const float *w = &weights[0][0];

    OK(tersor_prune_magnitude_nm(NULL, w, 2, 4, 4, 2, 4, mask, sizeof mask));
    CHECK(mask[0] == 0x6A && mask[1] == 0xA5);
    OK(tersor_prune_magnitude(NULL, w, 2, 4, 4, NULL, 0, NULL, mask, 1));
    CHECK(mask[0] == 0x6A);

    tersor_prune_options options;
    OK(tersor_prune_options_init(&options, sizeof options));
    options.norm = TERSOR_NORM_L2;
    options.amount = TERSOR_AMOUNT_THRESHOLD;
    options.threshold = 9.0;
    OK(tersor_prune_magnitude(NULL, w, 2, 4, 4, NULL, 0, &options, mask, 1));
    CHECK(mask[0] == 0x4A); /* -5, 4, 3 */
    options.norm = TERSOR_NORM_L1;
    options.amount = TERSOR_AMOUNT_SURVIVORS;
    options.count = 1;
    options.scope = TERSOR_SCOPE_ROWS;
    OK(tersor_prune_magnitude(NULL, w, 2, 4, 4, NULL, 0, &options, mask, 1));
    CHECK(mask[0] == 0x42);
    options.scope = TERSOR_SCOPE_TENSOR;
    options.pattern = TERSOR_PATTERN_ROWS;
    OK(tersor_prune_magnitude(NULL, w, 2, 4, 4, NULL, 0, &options, mask, 1));
    CHECK(mask[0] == 0x0F);
    options.pattern = TERSOR_PATTERN_COLUMNS;
    options.pooling = TERSOR_POOLING_MAX;
    OK(tersor_prune_magnitude(NULL, w, 2, 4, 4, NULL, 0, &options, mask, 1));
    CHECK(mask[0] == 0x22);
    options.pattern = TERSOR_PATTERN_BLOCK;
    options.block_rows = 1;
    options.block_cols = 2;
    OK(tersor_prune_magnitude(NULL, w, 2, 4, 4, NULL, 0, &options, mask, 1));
    CHECK(mask[0] == 0x03);

    /* Inside a mask; half of the living. */
    uint8_t within = 0xF0;
    OK(tersor_prune_options_init(&options, sizeof options));
    options.amount = TERSOR_AMOUNT_SPARSITY_OF_LIVING;
    OK(tersor_prune_magnitude(NULL, w, 2, 4, 4, &within, 1, &options, mask, 1));
    CHECK(mask[0] == 0x60);
    options.amount = TERSOR_AMOUNT_CONDEMNED;
    options.count = 3;
    OK(tersor_prune_magnitude(NULL, w, 2, 4, 4, &within, 1, &options, mask, 1));
    CHECK(mask[0] == 0x40);
    options.amount = TERSOR_AMOUNT_TFMOT;
    options.sparsity = 0.75;
    OK(tersor_prune_magnitude(NULL, w, 2, 4, 4, NULL, 0, &options, mask, 1));
    CHECK(mask[0] == 0x0A);

    const float gradients[8] = {100, 0, 0, 1, 100, 0, 1, 0};
    OK(tersor_prune_gradient(NULL, w, 2, 4, 4, gradients, 4, NULL, 0, NULL, mask, 1));
    CHECK(mask[0] == 0x59); /* scores 10 0 0 4 20 0 3 0 */
    /* The mean is 0.475: the farthest are -5, 4, 3, 2. */
    OK(tersor_prune_distribution(NULL, w, 2, 4, 4, NULL, 0, NULL, mask, 1));
    CHECK(mask[0] == 0x6A);
    uint8_t again[1];
    size_t survivors;
    OK(tersor_prune_random(NULL, w, 2, 4, 4, 42, NULL, 0, NULL, mask, 1));
    OK(tersor_prune_random(NULL, w, 2, 4, 4, 42, NULL, 0, NULL, again, 1));
    OK(tersor_mask_count(mask, 1, 8, &survivors));
    CHECK(mask[0] == again[0] && survivors == 4);

    /* Over two tensors: three of all eight weights. */
    uint8_t masks[2] = {0, 0};
    tersor_prune_tensor tensors[2];
    memset(tensors, 0, sizeof tensors);
    for (size_t i = 0; i < 2; i++) {
        tensors[i].weights = weights[i];
        tensors[i].rows = 1;
        tensors[i].cols = tensors[i].stride = 4;
        tensors[i].mask = &masks[i];
        tensors[i].mask_bytes = 1;
    }
    OK(tersor_prune_options_init(&options, sizeof options));
    options.amount = TERSOR_AMOUNT_SURVIVORS;
    options.count = 3;
    OK(tersor_prune_magnitude_tensors(NULL, tensors, 2, &options));
    CHECK(masks[0] == 0x0A && masks[1] == 0x04);

    /* By the other criteria the same as alone where each tensor competes with itself only. */
    options.amount = TERSOR_AMOUNT_SPARSITY;
    options.scope = TERSOR_SCOPE_TENSOR;
    for (size_t i = 0; i < 2; i++) {
        tensors[i].gradients = &gradients[4 * i];
        tensors[i].gradients_stride = 4;
    }
    OK(tersor_prune_gradient_tensors(NULL, tensors, 2, &options));
    for (size_t i = 0; i < 2; i++) {
        OK(tersor_prune_gradient(NULL, weights[i], 1, 4, 4, &gradients[4 * i], 4, NULL, 0, NULL, again, 1));
        CHECK(masks[i] == again[0]);
    }
    OK(tersor_prune_distribution_tensors(NULL, tensors, 2, &options));
    for (size_t i = 0; i < 2; i++) {
        OK(tersor_prune_distribution(NULL, weights[i], 1, 4, 4, NULL, 0, NULL, again, 1));
        CHECK(masks[i] == again[0]);
    }
    OK(tersor_prune_random_tensors(NULL, tensors, 2, 42, &options));
    OK(tersor_prune_random(NULL, weights[0], 1, 4, 4, 42, NULL, 0, NULL, again, 1));
    CHECK(masks[0] == again[0]);
    /* All together: scores 10 0 0 4 | 20 0 3 0. */
    options.scope = TERSOR_SCOPE_ALL;
    options.amount = TERSOR_AMOUNT_SURVIVORS;
    OK(tersor_prune_gradient_tensors(NULL, tensors, 2, &options));
    CHECK(masks[0] == 0x09 && masks[1] == 0x01);

    /* Refusals. */
    REFUSED(TERSOR_E_NULL, "tensors", masks, tersor_prune_distribution_tensors(NULL, NULL, 2, NULL));
    REFUSED(TERSOR_E_EMPTY, "tensors: there are no", masks, tersor_prune_random_tensors(NULL, NULL, 0, 1, NULL));
    const float broken[4] = {1, 2, INFINITY, 4};
    tensors[1].weights = broken;
    REFUSED(TERSOR_E_NOT_FINITE, "tensors[1].weights: element 2", masks,
            tersor_prune_magnitude_tensors(NULL, tensors, 2, NULL));
    REFUSED(TERSOR_E_NOT_FINITE, "tensors[0].weights: element 2", masks,
            tersor_prune_distribution_tensors(NULL, tensors + 1, 1, NULL));
    tensors[1].weights = weights[1];
    tensors[1].gradients = broken;
    REFUSED(TERSOR_E_NOT_FINITE, "the scores of tensors[1].weights: element 2", masks,
            tersor_prune_gradient_tensors(NULL, tensors, 2, NULL));
    tensors[1].stride = 3;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "the stride of tensors[1].weights is 3", masks,
            tersor_prune_random_tensors(NULL, tensors, 2, 1, NULL));
    tensors[1].stride = 4;
    options.scope = TERSOR_SCOPE_TENSOR;
    options.count = 5;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.count (in tensors[0].weights) is 5", masks,
            tersor_prune_magnitude_tensors(NULL, tensors, 2, &options));
    options.count = 3;
    tensors[1].gradients = NULL;
    REFUSED(TERSOR_E_NULL, "tensors[1].gradients is NULL", masks, tersor_prune_gradient_tensors(NULL, tensors, 2, NULL));
    tensors[1].within = &within;
    tensors[1].within_bytes = 1;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "tensors[1].within is a mask", masks,
            tersor_prune_magnitude_tensors(NULL, tensors, 2, NULL));
    tensors[1].within = NULL;
    const float bad[2] = {1.0f, NAN};
    REFUSED(TERSOR_E_NOT_FINITE, "element 1", mask, tersor_prune_magnitude(NULL, bad, 1, 2, 2, NULL, 0, NULL, mask, 1));
    REFUSED(TERSOR_E_NOT_FINITE, "NaN", mask, tersor_prune_magnitude_nm(NULL, bad, 1, 2, 2, 1, 2, mask, 1));
    REFUSED(TERSOR_E_NOT_FINITE, "", mask, tersor_prune_distribution(NULL, bad, 1, 2, 2, NULL, 0, NULL, mask, 1));
    REFUSED(TERSOR_E_NOT_FINITE, "", mask, tersor_prune_random(NULL, bad, 1, 2, 2, 0, NULL, 0, NULL, mask, 1));
    REFUSED(TERSOR_E_NOT_FINITE, "", mask,
            tersor_prune_gradient(NULL, bad, 1, 2, 2, gradients, 2, NULL, 0, NULL, mask, 1));
    REFUSED(TERSOR_E_NULL, "gradients", mask, tersor_prune_gradient(NULL, w, 2, 4, 4, NULL, 4, NULL, 0, NULL, mask, 1));
    REFUSED(TERSOR_E_NULL, "weights", mask, tersor_prune_magnitude(NULL, NULL, 2, 4, 4, NULL, 0, NULL, mask, 1));
    REFUSED(TERSOR_E_NULL, "mask", options, tersor_prune_magnitude(NULL, w, 2, 4, 4, NULL, 0, NULL, NULL, 1));
    REFUSED(TERSOR_E_EMPTY, "weights", mask, tersor_prune_magnitude(NULL, w, 0, 4, 4, NULL, 0, NULL, mask, 1));
    REFUSED(TERSOR_E_LENGTH, "mask", mask, tersor_prune_magnitude(NULL, w, 2, 4, 4, NULL, 0, NULL, mask, 0));
    REFUSED(TERSOR_E_LENGTH, "within", mask, tersor_prune_magnitude(NULL, w, 2, 4, 4, &within, 0, NULL, mask, 1));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "stride", mask, tersor_prune_magnitude(NULL, w, 2, 4, 3, NULL, 0, NULL, mask, 1));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "weights", mask,
            tersor_prune_magnitude(NULL, w, SIZE_MAX, 2, 2, NULL, 0, NULL, mask, 1));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "n is 3", mask, tersor_prune_magnitude_nm(NULL, w, 2, 4, 4, 3, 2, mask, 1));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "m is 33", mask, tersor_prune_magnitude_nm(NULL, w, 2, 4, 4, 1, 33, mask, 1));
    options.sparsity = 1.5;
    options.amount = TERSOR_AMOUNT_SPARSITY;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.sparsity (in weights) is 1.5", mask, tersor_prune_magnitude(NULL, w, 2, 4, 4, NULL, 0, &options, mask, 1));
    options.amount = 77;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.amount is 77", masks, tersor_prune_magnitude_tensors(NULL, tensors, 2, &options));
    OK(tersor_prune_options_init(&options, sizeof options));
    options.pattern = 77;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.pattern is 77", mask,
            tersor_prune_magnitude(NULL, w, 2, 4, 4, NULL, 0, &options, mask, 1));
    tensors[1].mask_bytes = 0;
    REFUSED(TERSOR_E_LENGTH, "tensors[1].mask: the length is 0", masks, tersor_prune_magnitude_tensors(NULL, tensors, 2, NULL));
    REFUSED(TERSOR_E_EMPTY, "", masks, tersor_prune_magnitude_tensors(NULL, NULL, 0, NULL));
    REFUSED(TERSOR_E_NULL, "tensors", masks, tersor_prune_magnitude_tensors(NULL, NULL, 2, NULL));

    /* Schedules. */
    tersor_schedule_options schedule;
    double sparsity = -1;
    int32_t update = -1;
    OK(tersor_schedule_sparsity(100, NULL, &sparsity, &update));
    CHECK(sparsity == 0.5 && update == 1);
    OK(tersor_schedule_options_init(&schedule, sizeof schedule));
    schedule.curve = TERSOR_CURVE_POLYNOMIAL;
    schedule.final_sparsity = 0.9;
    schedule.begin = 100;
    schedule.end = 500;
    schedule.frequency = 30;
    OK(tersor_schedule_sparsity(300, &schedule, &sparsity, &update));
    CHECK(fabs(sparsity - 0.9 * (1 - 0.125)) < 1e-12 && update == 0);
    OK(tersor_schedule_sparsity(500, &schedule, &sparsity, NULL));
    CHECK(sparsity == 0.9);
    schedule.reserved = 3;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.reserved is 3", sparsity,
            tersor_schedule_sparsity(0, &schedule, &sparsity, NULL));
    schedule.reserved = 0;
    schedule.end = 99;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.end is 99", sparsity, tersor_schedule_sparsity(0, &schedule, &sparsity, NULL));
    schedule.curve = 9;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "curve", sparsity, tersor_schedule_sparsity(0, &schedule, &sparsity, NULL));
    REFUSED(TERSOR_E_NULL, "out_sparsity", update, tersor_schedule_sparsity(0, NULL, NULL, &update));
    REFUSED(TERSOR_E_STRUCT_SIZE, "", schedule, tersor_schedule_options_init(&schedule, 7));
    REFUSED(TERSOR_E_STRUCT_SIZE, "", options, tersor_prune_options_init(&options, 1));
}
