/* Quantization, observers, fake quantization, casts. */
#include "check.h"

static const float x[2][3] = {{1.27f, 0.0f, -0.64f}, {0.02f, 0.254f, 0.0f}};

static void test_refusals(void) {
    const float bad[2] = {1.0f, INFINITY};
    const float *src = &x[0][0];
    int8_t codes[6] = {9, 9, 9, 9, 9, 9};
    uint8_t ucodes[6] = {9, 9, 9, 9, 9, 9};
    float scale[3] = {7, 7, 7}, values[6] = {5, 5, 5, 5, 5, 5};
    int32_t zero[3] = {7, 7, 7};
    tersor_quantize_options options;
    OK(tersor_quantize_options_init(&options, sizeof options));

    REFUSED(TERSOR_E_NOT_FINITE, "src: element 1", codes, tersor_quantize_i8(NULL, bad, 1, 2, 2, NULL, codes, 2, scale, zero));
    CHECK(scale[0] == 7 && zero[0] == 7);
    REFUSED(TERSOR_E_NOT_FINITE, "inf", ucodes,
            tersor_quantize_u8_per_channel(NULL, bad, 1, 2, 2, NULL, ucodes, 2, scale, zero));
    REFUSED(TERSOR_E_NOT_FINITE, "", scale, tersor_choose_params_i8(NULL, bad, 1, 2, 2, NULL, scale, zero));
    REFUSED(TERSOR_E_EMPTY, "", scale, tersor_choose_params_u8(NULL, NULL, 0, 0, 0, NULL, scale, zero));
    REFUSED(TERSOR_E_NULL, "src", scale, tersor_choose_params_i8_per_channel(NULL, NULL, 2, 3, 3, NULL, scale, zero));
    REFUSED(TERSOR_E_NULL, "zero_points", scale, tersor_choose_params_u8_per_channel(NULL, src, 2, 3, 3, NULL, scale, NULL));
    REFUSED(TERSOR_E_NULL, "dst", scale, tersor_quantize_i8_per_channel(NULL, src, 2, 3, 3, NULL, NULL, 3, scale, zero));
    REFUSED(TERSOR_E_NULL, "out_scale", codes, tersor_quantize_i8(NULL, src, 2, 3, 3, NULL, codes, 3, NULL, zero));
    REFUSED(TERSOR_E_NULL, "out_zero_point", ucodes, tersor_quantize_u8(NULL, src, 2, 3, 3, NULL, ucodes, 3, scale, NULL));
    REFUSED(TERSOR_E_NULL, "out_zero_point", scale, tersor_choose_params_u8_from_range(0, 1, NULL, scale, NULL));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "stride of dst", codes, tersor_quantize_i8(NULL, src, 2, 3, 3, NULL, codes, 2, scale, zero));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "src", codes,
            tersor_quantize_i8(NULL, src, SIZE_MAX / 8, 3, SIZE_MAX / 16, NULL, codes, 3, scale, zero));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "min..=max is 2..=1", scale, tersor_choose_params_i8_from_range(2, 1, NULL, scale, zero));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "", scale, tersor_choose_params_u8_from_range(NAN, 1, NULL, scale, zero));
    options.rules = 50;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.rules is 50", scale,
            tersor_choose_params_i8_from_range(0, 1, &options, scale, zero));
    options.rules = TERSOR_RULES_ONNX_DYNAMIC;
    REFUSED(TERSOR_E_UNSUPPORTED, "", scale, tersor_choose_params_i8_from_range(0, 1, &options, scale, NULL));
    options.rules = TERSOR_RULES_TERSOR;
    options.axis = 2;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.axis is 2", scale,
            tersor_quantize_i8_per_channel(NULL, src, 2, 3, 3, &options, codes, 3, scale, zero));
    options.axis = 0;
    options.lowest = -300;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.lowest..=highest is -300..=0", scale,
            tersor_choose_params_i8(NULL, src, 2, 3, 3, &options, scale, zero));

    const float one = 1.0f, negative = -1.0f;
    const int32_t far_away = 128;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "scales[0]", codes,
            tersor_quantize_i8_with_params(NULL, src, 2, 3, 3, &negative, NULL, 1, NULL, codes, 3));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "zero_points[0]", codes,
            tersor_quantize_i8_with_params(NULL, src, 2, 3, 3, &one, &far_away, 1, NULL, codes, 3));
    REFUSED(TERSOR_E_NULL, "scales", ucodes,
            tersor_quantize_u8_with_params(NULL, src, 2, 3, 3, NULL, NULL, 1, NULL, ucodes, 3));
    const float three[3] = {1, 1, 1};
    REFUSED(TERSOR_E_SHAPE, "", codes, tersor_quantize_i8_with_params(NULL, src, 2, 3, 3, three, NULL, 3, NULL, codes, 3));
    REFUSED(TERSOR_E_NULL, "src", values, tersor_dequantize_i8(NULL, NULL, 2, 3, 3, &one, NULL, 1, NULL, values, 3));
    REFUSED(TERSOR_E_NULL, "dst", codes, tersor_dequantize_u8(NULL, ucodes, 2, 3, 3, &one, NULL, 1, NULL, NULL, 3));
    REFUSED(TERSOR_E_EMPTY, "scales", values, tersor_dequantize_u8(NULL, ucodes, 2, 3, 3, &one, NULL, 0, NULL, values, 3));
    REFUSED(TERSOR_E_NULL, "y", codes, tersor_fake_quantize_i8(NULL, src, 2, 3, 3, &one, NULL, 1, NULL, NULL, 3));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "stride of x", values,
            tersor_fake_quantize_u8(NULL, src, 2, 3, 2, &one, NULL, 1, NULL, values, 3));
    REFUSED(TERSOR_E_NULL, "dy", values,
            tersor_fake_quantize_backward_i8(NULL, src, 2, 3, 3, NULL, 3, &one, NULL, 1, NULL, values, 3));
    REFUSED(TERSOR_E_SHAPE, "", values,
            tersor_fake_quantize_backward_u8(NULL, src, 2, 3, 3, src, 3, three, NULL, 3, NULL, values, 3));
    REFUSED(TERSOR_E_STRUCT_SIZE, "", options, tersor_quantize_options_init(&options, 2));
}

/* Channels along the middle of three axes: the same as each channel alone, for every place that an axis can have. */
static void test_axes(void) {
    static const size_t shapes[][3] = {{2, 3, 4}, {1, 5, 6}, {7, 300, 1}, {3, 1, 5}, {1, 2, 300}};
    enum { MOST = 2100, CHANNELS = 300 };
    float *src = ARRAY(float, MOST), *channel = ARRAY(float, MOST), *values = ARRAY(float, MOST), *faked = ARRAY(float, MOST);
    float *dy = ARRAY(float, MOST), *dx = ARRAY(float, MOST), *scales = ARRAY(float, CHANNELS), *chosen = ARRAY(float, CHANNELS);
    int32_t *zeros = ARRAY(int32_t, CHANNELS), *chosen_zeros = ARRAY(int32_t, CHANNELS);
    int8_t *codes = ARRAY(int8_t, MOST), *again = ARRAY(int8_t, MOST), *alone = ARRAY(int8_t, MOST);
    uint8_t *ucodes = ARRAY(uint8_t, MOST), *uagain = ARRAY(uint8_t, MOST), *ualone = ARRAY(uint8_t, MOST);
    tersor_quantize_options symmetric;
    OK(tersor_quantize_options_init(&symmetric, sizeof symmetric));
    symmetric.symmetric = 1;
    for (size_t i = 0; i < MOST; i++) {
        src[i] = sinf((float)i) * (1 + (float)(i % 17));
        dy[i] = (float)i + 1;
    }
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const size_t outer = shapes[s][0], channels = shapes[s][1], inner = shapes[s][2], count = outer * channels * inner;
        CHECK(count <= MOST && channels <= CHANNELS);
        for (int is_symmetric = 0; is_symmetric < 2; is_symmetric++) {
            const tersor_quantize_options *options = is_symmetric ? &symmetric : NULL;
            /* int8 is symmetric without zero points, too. */
            int32_t *i8_zeros = is_symmetric ? NULL : zeros;
            OK(tersor_quantize_i8_along_axis(NULL, src, outer, channels, inner, NULL, codes, scales, i8_zeros));
            OK(tersor_choose_params_i8_along_axis(NULL, src, outer, channels, inner, NULL, chosen, is_symmetric ? NULL : chosen_zeros));
            CHECK(memcmp(scales, chosen, channels * sizeof *scales) == 0);
            CHECK(is_symmetric || memcmp(zeros, chosen_zeros, channels * sizeof *zeros) == 0);
            OK(tersor_quantize_i8_along_axis_with_params(NULL, src, outer, channels, inner, scales, i8_zeros, NULL, again));
            CHECK(memcmp(codes, again, count) == 0);
            OK(tersor_dequantize_i8_along_axis(NULL, codes, outer, channels, inner, scales, i8_zeros, values));
            OK(tersor_fake_quantize_i8_along_axis(NULL, src, outer, channels, inner, scales, i8_zeros, NULL, faked));
            for (size_t i = 0; i < count; i++) {
                const size_t c = i / inner % channels;
                CHECK(values[i] == (float)(codes[i] - (is_symmetric ? 0 : zeros[c])) * scales[c] && faked[i] == values[i]);
            }
            for (size_t c = 0; c < channels; c++) {
                for (size_t i = 0; i < outer * inner; i++)
                    channel[i] = src[(i / inner * channels + c) * inner + i % inner];
                float scale;
                int32_t zero;
                OK(tersor_quantize_i8(NULL, channel, outer, inner, inner, NULL, alone, inner, &scale, is_symmetric ? NULL : &zero));
                CHECK(scale == scales[c] && (is_symmetric || zero == zeros[c]));
                for (size_t i = 0; i < outer * inner; i++)
                    CHECK(alone[i] == codes[(i / inner * channels + c) * inner + i % inner]);
            }

            OK(tersor_quantize_u8_along_axis(NULL, src, outer, channels, inner, options, ucodes, scales, zeros));
            OK(tersor_choose_params_u8_along_axis(NULL, src, outer, channels, inner, options, chosen, chosen_zeros));
            CHECK(memcmp(scales, chosen, channels * sizeof *scales) == 0);
            CHECK(memcmp(zeros, chosen_zeros, channels * sizeof *zeros) == 0 && (!is_symmetric || zeros[0] == 128));
            OK(tersor_quantize_u8_along_axis_with_params(NULL, src, outer, channels, inner, scales, zeros, options, uagain));
            CHECK(memcmp(ucodes, uagain, count) == 0);
            OK(tersor_dequantize_u8_along_axis(NULL, ucodes, outer, channels, inner, scales, zeros, values));
            OK(tersor_fake_quantize_u8_along_axis(NULL, src, outer, channels, inner, scales, zeros, options, faked));
            for (size_t i = 0; i < count; i++) {
                const size_t c = i / inner % channels;
                CHECK(values[i] == (float)(ucodes[i] - zeros[c]) * scales[c] && faked[i] == values[i]);
            }
            for (size_t c = 0; c < channels; c++) {
                for (size_t i = 0; i < outer * inner; i++)
                    channel[i] = src[(i / inner * channels + c) * inner + i % inner];
                float scale;
                int32_t zero;
                OK(tersor_quantize_u8(NULL, channel, outer, inner, inner, options, ualone, inner, &scale, &zero));
                CHECK(scale == scales[c] && zero == zeros[c]);
                for (size_t i = 0; i < outer * inner; i++)
                    CHECK(ualone[i] == ucodes[(i / inner * channels + c) * inner + i % inner]);
            }
        }

        /* With scales so small that much saturates: the gradient passes where the code did not. */
        for (size_t c = 0; c < channels; c++) {
            scales[c] = 0.01f * (float)(1 + c % 3);
            zeros[c] = (int32_t)(c % 5) * 20;
        }
        OK(tersor_fake_quantize_backward_i8_along_axis(NULL, src, dy, outer, channels, inner, scales, NULL, NULL, dx));
        size_t passed = 0;
        for (size_t i = 0; i < count; i++) {
            const float steps = nearbyintf(src[i] / scales[i / inner % channels]);
            CHECK(dx[i] == (steps >= -128 && steps <= 127 ? dy[i] : 0));
            passed += dx[i] != 0;
        }
        CHECK(passed > 0 && passed < count);
        OK(tersor_fake_quantize_backward_u8_along_axis(NULL, src, dy, outer, channels, inner, scales, zeros, NULL, dx));
        for (size_t i = 0; i < count; i++) {
            const size_t c = i / inner % channels;
            const float code = nearbyintf(src[i] / scales[c]) + (float)zeros[c];
            CHECK(dx[i] == (code >= 0 && code <= 255 ? dy[i] : 0));
        }
    }

    /* Refusals. */
    float scale[2] = {7, 7}, four[4] = {5, 5, 5, 5};
    int32_t zero[2] = {7, 7};
    int8_t code[4] = {9, 9, 9, 9};
    uint8_t ucode[4] = {9, 9, 9, 9};
    const float ones[2] = {1, 1}, bad[4] = {1, 2, NAN, 3}, negative[2] = {1, -1};
    const int32_t far_away[2] = {0, 128};
    REFUSED(TERSOR_E_NOT_FINITE, "src: element 2", code, tersor_quantize_i8_along_axis(NULL, bad, 1, 2, 2, NULL, code, scale, zero));
    CHECK(scale[0] == 7 && zero[0] == 7);
    REFUSED(TERSOR_E_NULL, "zero_points", ucode, tersor_quantize_u8_along_axis(NULL, ones, 1, 2, 1, NULL, ucode, scale, NULL));
    REFUSED(TERSOR_E_NULL, "dst", scale, tersor_quantize_i8_along_axis(NULL, ones, 1, 2, 1, NULL, NULL, scale, zero));
    REFUSED(TERSOR_E_EMPTY, "src", scale, tersor_choose_params_i8_along_axis(NULL, NULL, 0, 2, 1, NULL, scale, zero));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "src", scale,
            tersor_choose_params_u8_along_axis(NULL, ones, SIZE_MAX / 2, 2, 3, NULL, scale, zero));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "src", scale,
            tersor_choose_params_u8_along_axis(NULL, ones, SIZE_MAX, 2, 0, NULL, scale, zero));
    symmetric.rules = 60;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.rules is 60", scale,
            tersor_choose_params_i8_along_axis(NULL, ones, 1, 2, 1, &symmetric, scale, zero));
    REFUSED(TERSOR_E_EMPTY, "scales", code,
            tersor_quantize_i8_along_axis_with_params(NULL, ones, 1, 0, 2, ones, NULL, NULL, code));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "scales[1]", ucode,
            tersor_quantize_u8_along_axis_with_params(NULL, ones, 1, 2, 1, negative, NULL, NULL, ucode));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "zero_points[1]", four,
            tersor_dequantize_i8_along_axis(NULL, code, 1, 2, 2, ones, far_away, four));
    REFUSED(TERSOR_E_NULL, "src", four, tersor_dequantize_u8_along_axis(NULL, NULL, 1, 2, 2, ones, NULL, four));
    REFUSED(TERSOR_E_NULL, "y", code, tersor_fake_quantize_i8_along_axis(NULL, ones, 1, 2, 1, ones, NULL, NULL, NULL));
    REFUSED(TERSOR_E_NULL, "scales", four, tersor_fake_quantize_u8_along_axis(NULL, ones, 1, 2, 1, NULL, NULL, NULL, four));
    REFUSED(TERSOR_E_NULL, "dy", four,
            tersor_fake_quantize_backward_i8_along_axis(NULL, ones, NULL, 1, 2, 1, ones, NULL, NULL, four));
    REFUSED(TERSOR_E_ALIGNMENT, "dx", four,
            tersor_fake_quantize_backward_u8_along_axis(NULL, ones, ones, 1, 2, 1, ones, NULL, NULL,
                                                        (float *)(void *)((char *)four + 1)));
    release(src);
    release(channel);
    release(values);
    release(faked);
    release(dy);
    release(dx);
    release(scales);
    release(chosen);
    release(zeros);
    release(chosen_zeros);
    release(codes);
    release(again);
    release(alone);
    release(ucodes);
    release(uagain);
    release(ualone);
}

void test_quantization(void) {
    const float *src = &x[0][0];
    int8_t *codes = ARRAY(int8_t, 7); /* two rows of three with a stride of four */
    memset(codes, 99, 7);
    float scales[3];
    int32_t zeros[3];

    /* Per row, symmetric. */
    OK(tersor_quantize_i8_per_channel(NULL, src, 2, 3, 3, NULL, codes, 4, scales, NULL));
    const int8_t expected[7] = {127, 0, -64, 99, 10, 127, 0};
    CHECK(memcmp(codes, expected, 7) == 0);
    CHECK(scales[0] == 1.27f / 127 && scales[1] == 0.254f / 127);
    float *values = ARRAY(float, 6);
    OK(tersor_dequantize_i8(NULL, codes, 2, 3, 4, scales, NULL, 2, NULL, values, 3));
    CHECK(values[0] == 127 * scales[0] && values[1] == 0 && values[4] == 127 * scales[1]);
    float chosen[2];
    int32_t chosen_zeros[2];
    OK(tersor_choose_params_i8_per_channel(NULL, src, 2, 3, 3, NULL, chosen, NULL));
    CHECK(chosen[0] == scales[0] && chosen[1] == scales[1]);
    memset(codes, 99, 7);
    OK(tersor_quantize_i8_with_params(NULL, src, 2, 3, 3, scales, NULL, 2, NULL, codes, 4));
    CHECK(memcmp(codes, expected, 7) == 0);

    /* The whole, affine. */
    OK(tersor_quantize_i8(NULL, src, 2, 3, 3, NULL, codes, 4, scales, zeros));
    CHECK(fabsf(scales[0] - 1.91f / 255) < 1e-8f && codes[0] == 127 && codes[1] == zeros[0] && codes[2] == -128);
    OK(tersor_choose_params_i8(NULL, src, 2, 3, 3, NULL, chosen, chosen_zeros));
    CHECK(chosen[0] == scales[0] && chosen_zeros[0] == zeros[0]);
    OK(tersor_choose_params_i8_from_range(-0.64f, 1.27f, NULL, chosen, chosen_zeros));
    CHECK(chosen[0] == scales[0] && chosen_zeros[0] == zeros[0]);

    uint8_t *ucodes = ARRAY(uint8_t, 6);
    OK(tersor_quantize_u8(NULL, src, 2, 3, 3, NULL, ucodes, 3, scales, zeros));
    CHECK(ucodes[0] == 255 && ucodes[1] == zeros[0] && ucodes[2] == 0);
    OK(tersor_dequantize_u8(NULL, ucodes, 2, 3, 3, scales, zeros, 1, NULL, values, 3));
    CHECK(values[1] == 0 && fabsf(values[0] - 1.27f) < scales[0]);
    OK(tersor_choose_params_u8(NULL, src, 2, 3, 3, NULL, chosen, chosen_zeros));
    CHECK(chosen[0] == scales[0] && chosen_zeros[0] == zeros[0]);
    OK(tersor_choose_params_u8_from_range(-0.64f, 1.27f, NULL, chosen, chosen_zeros));
    CHECK(chosen[0] == scales[0] && chosen_zeros[0] == zeros[0]);
    /* What is given saturates; a NaN is zero. */
    const float wild[3] = {INFINITY, -INFINITY, NAN};
    OK(tersor_quantize_u8_with_params(NULL, wild, 1, 3, 3, scales, zeros, 1, NULL, ucodes, 3));
    CHECK(ucodes[0] == 255 && ucodes[1] == 0 && ucodes[2] == zeros[0]);

    /* Per column, by torch's rules. */
    tersor_quantize_options options;
    OK(tersor_quantize_options_init(&options, sizeof options));
    options.rules = TERSOR_RULES_TORCH;
    options.symmetric = 1;
    options.axis = 1;
    OK(tersor_quantize_u8_per_channel(NULL, src, 2, 3, 3, &options, ucodes, 3, scales, zeros));
    CHECK(scales[0] == 1.27f / 127.5f && zeros[0] == 128 && zeros[2] == 128 && ucodes[0] == 255);
    OK(tersor_choose_params_u8_per_channel(NULL, src, 2, 3, 3, &options, values, zeros));
    CHECK(memcmp(values, scales, sizeof scales) == 0);

    /* No zero points are zeros: for each row and each column, of more columns than one chunk of the loops has, and with a
     * gap between the rows. */
    enum { ROWS = 3, COLS = 300, STRIDE = 301 };
    float *wide = ARRAY(float, ROWS * STRIDE), *wide_scales = ARRAY(float, COLS);
    float *found = ARRAY(float, ROWS * STRIDE), *wanted = ARRAY(float, ROWS * STRIDE);
    int32_t *nothing = ARRAY(int32_t, COLS);
    int8_t *wide_codes = ARRAY(int8_t, ROWS * STRIDE);
    memset(nothing, 0, COLS * sizeof *nothing);
    for (size_t i = 0; i < ROWS * STRIDE; i++) wide[i] = sinf((float)i) * 3;
    for (size_t i = 0; i < COLS; i++) wide_scales[i] = 0.01f + (float)i / 10000;
    tersor_quantize_options along;
    OK(tersor_quantize_options_init(&along, sizeof along));
    for (along.axis = 0; along.axis < 2; along.axis++) {
        const size_t channels = along.axis == 0 ? ROWS : COLS;
        for (size_t stride = COLS; stride <= STRIDE; stride++) {
            OK(tersor_quantize_i8_with_params(NULL, wide, ROWS, COLS, stride, wide_scales, NULL, channels, &along,
                                              wide_codes, stride));
            OK(tersor_dequantize_i8(NULL, wide_codes, ROWS, COLS, stride, wide_scales, NULL, channels, &along, found, stride));
            for (size_t i = 0; i < ROWS; i++)
                for (size_t j = 0; j < COLS; j++) {
                    const float scale = wide_scales[along.axis == 0 ? i : j];
                    const float steps = nearbyintf(wide[i * stride + j] / scale);
                    wanted[i * stride + j] = fminf(fmaxf(steps, -128), 127) * scale;
                    CHECK(found[i * stride + j] == wanted[i * stride + j]);
                }
            OK(tersor_fake_quantize_i8(NULL, wide, ROWS, COLS, stride, wide_scales, NULL, channels, &along, found, stride));
            for (size_t i = 0; i < ROWS * stride; i++)
                CHECK(i % stride >= COLS || found[i] == wanted[i]);
            OK(tersor_fake_quantize_backward_i8(NULL, wide, ROWS, COLS, stride, wide, stride, wide_scales, NULL, channels,
                                                &along, found, stride));
            OK(tersor_fake_quantize_backward_i8(NULL, wide, ROWS, COLS, stride, wide, stride, wide_scales, nothing, channels,
                                                &along, wanted, stride));
            for (size_t i = 0; i < ROWS; i++)
                for (size_t j = 0; j < COLS; j++) {
                    const size_t at = i * stride + j;
                    const float steps = nearbyintf(wide[at] / wide_scales[along.axis == 0 ? i : j]);
                    CHECK(found[at] == (steps >= -128 && steps <= 127 ? wide[at] : 0) && found[at] == wanted[at]);
                }
        }
    }
    release(wide);
    release(wide_scales);
    release(found);
    release(wanted);
    release(nothing);
    release(wide_codes);

    /* Fake quantization, and where its gradient passes. */
    const float half = 0.5f, input[3] = {0.3f, -0.2f, 100.0f}, dy[3] = {1, 2, 3};
    float y[3], dx[3];
    OK(tersor_fake_quantize_i8(NULL, input, 1, 3, 3, &half, NULL, 1, NULL, y, 3));
    CHECK(y[0] == 0.5f && y[1] == 0 && y[2] == 63.5f);
    OK(tersor_fake_quantize_backward_i8(NULL, input, 1, 3, 3, dy, 3, &half, NULL, 1, NULL, dx, 3));
    CHECK(dx[0] == 1 && dx[1] == 2 && dx[2] == 0);
    const int32_t ten = 10;
    OK(tersor_fake_quantize_u8(NULL, input, 1, 3, 3, &half, &ten, 1, NULL, y, 3));
    CHECK(y[0] == 0.5f && y[1] == 0 && y[2] == 100.0f);
    OK(tersor_fake_quantize_backward_u8(NULL, input, 1, 3, 3, dy, 3, &half, &ten, 1, NULL, dx, 3));
    CHECK(dx[0] == 1 && dx[1] == 2 && dx[2] == 3);

    test_axes();
    test_refusals();
    release(codes);
    release(values);
    release(ucodes);
}

/* Limits of each of three channels, over batches of different sizes. */
static void test_channel_observers(void) {
    const float first[2][3][2] = {{{1, 2}, {-1, 5}, {0, 0}}, {{3, -4}, {2, 2}, {0, 0.5f}}};
    const float second[3] = {9, -9, 0.25f}, bad[3] = {1, NAN, 3};
    float min[4] = {5, 5, 5, 5}, max[4] = {6, 6, 6, 6}, other_min[3], other_max[3], scales[3] = {7, 7, 7}, again[3];
    int32_t zeros[3] = {7, 7, 7};
    int8_t codes[12];
    OK(tersor_min_max_init(3, min, max));
    CHECK(min[0] == INFINITY && max[2] == -INFINITY && min[3] == 5 && max[3] == 6);
    REFUSED(TERSOR_E_EMPTY, "channel 0", scales, tersor_min_max_params_i8(min, max, 3, NULL, scales, zeros));
    OK(tersor_min_max_observe(NULL, &first[0][0][0], 2, 3, 2, min, max));
    CHECK(min[0] == -4 && max[0] == 3 && min[1] == -1 && max[1] == 5 && min[2] == 0 && max[2] == 0.5f && min[3] == 5);
    /* What was observed once is what quantizing chooses. */
    OK(tersor_min_max_params_i8(min, max, 3, NULL, scales, zeros));
    int32_t chosen[3];
    OK(tersor_quantize_i8_along_axis(NULL, &first[0][0][0], 2, 3, 2, NULL, codes, again, chosen));
    CHECK(memcmp(scales, again, sizeof scales) == 0 && memcmp(zeros, chosen, sizeof zeros) == 0);
    OK(tersor_min_max_params_u8(min, max, 3, NULL, scales, zeros));
    CHECK(scales[2] == 0.5f / 255 && zeros[2] == 0 && zeros[0] == 146);
    /* The other order, and merged. */
    OK(tersor_min_max_init(3, other_min, other_max));
    OK(tersor_min_max_merge(other_min, other_max, 3, min, max)); /* nothing */
    CHECK(min[0] == -4 && max[1] == 5);
    OK(tersor_min_max_observe(NULL, second, 1, 3, 1, other_min, other_max));
    OK(tersor_min_max_merge(other_min, other_max, 3, min, max));
    CHECK(min[0] == -4 && max[0] == 9 && min[1] == -9 && max[1] == 5 && max[2] == 0.5f);
    OK(tersor_min_max_observe(NULL, &first[0][0][0], 2, 3, 2, other_min, other_max));
    CHECK(memcmp(min, other_min, sizeof other_min) == 0 && memcmp(max, other_max, sizeof other_max) == 0);
    OK(tersor_min_max_params_i8(min, max, 3, NULL, scales, NULL));
    CHECK(scales[0] == 9.0f / 127 && scales[2] == 0.5f / 127);
    OK(tersor_min_max_init(0, NULL, NULL));

    REFUSED(TERSOR_E_NOT_FINITE, "values: element 1", min, tersor_min_max_observe(NULL, bad, 1, 3, 1, min, max));
    REFUSED(TERSOR_E_EMPTY, "values", min, tersor_min_max_observe(NULL, NULL, 0, 3, 1, min, max));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "values", min, tersor_min_max_observe(NULL, bad, SIZE_MAX, 3, 0, min, max));
    REFUSED(TERSOR_E_NULL, "max", min, tersor_min_max_observe(NULL, second, 1, 3, 1, min, NULL));
    REFUSED(TERSOR_E_NULL, "min", max, tersor_min_max_init(3, NULL, max));
    REFUSED(TERSOR_E_NULL, "other_max", min, tersor_min_max_merge(other_min, NULL, 3, min, max));
    REFUSED(TERSOR_E_EMPTY, "min", scales, tersor_min_max_params_i8(NULL, NULL, 0, NULL, scales, zeros));
    REFUSED(TERSOR_E_NULL, "zero_points", scales, tersor_min_max_params_u8(min, max, 3, NULL, scales, NULL));
    other_max[1] = -20;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "other_min[1]..=other_max[1] is -9..=-20", min,
            tersor_min_max_merge(other_min, other_max, 3, min, max));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "min[1]..=max[1]", other_min,
            tersor_min_max_observe(NULL, second, 1, 3, 1, other_min, other_max));
    other_max[1] = NAN;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "min[1]..=max[1] is -9..=NaN", scales,
            tersor_min_max_params_i8(other_min, other_max, 3, NULL, scales, zeros));
}

void test_observers(void) {
    test_channel_observers();
    const float first[3] = {0.0f, 1.5f, 3.0f}, second[2] = {-0.5f, 0.25f}, bad[1] = {NAN};
    float scale = 7;
    int32_t zero = 7;
    tersor_observer observer, other;
    OK(tersor_observer_init(TERSOR_OBSERVER_MIN_MAX, &observer, sizeof observer));
    REFUSED(TERSOR_E_EMPTY, "observer", scale, tersor_observer_params_u8(&observer, NULL, &scale, &zero));
    OK(tersor_observer_observe(NULL, first, 1, 3, 3, &observer));
    OK(tersor_observer_init(TERSOR_OBSERVER_MIN_MAX, &other, sizeof other));
    OK(tersor_observer_observe(NULL, second, 1, 2, 2, &other));
    OK(tersor_observer_merge(&other, &observer));
    CHECK(observer.min == -0.5f && observer.max == 3.0f && observer.batches == 2);
    OK(tersor_observer_params_u8(&observer, NULL, &scale, &zero));
    CHECK(scale == 3.5f / 255 && zero == 36);
    OK(tersor_observer_params_i8(&observer, NULL, &scale, NULL));
    CHECK(scale == 3.0f / 127);
    REFUSED(TERSOR_E_NOT_FINITE, "element 0", observer, tersor_observer_observe(NULL, bad, 1, 1, 1, &observer));
    REFUSED(TERSOR_E_EMPTY, "", observer, tersor_observer_observe(NULL, NULL, 0, 0, 0, &observer));
    REFUSED(TERSOR_E_NULL, "observer", scale, tersor_observer_observe(NULL, first, 1, 3, 3, NULL));
    REFUSED(TERSOR_E_NULL, "observer", scale, tersor_observer_params_i8(NULL, NULL, &scale, NULL));

    OK(tersor_observer_init(TERSOR_OBSERVER_MOVING_AVERAGE, &other, sizeof other));
    other.constant = 0.5f;
    OK(tersor_observer_observe(NULL, first, 1, 3, 3, &other));
    OK(tersor_observer_observe(NULL, second, 1, 2, 2, &other));
    CHECK(other.min == -0.25f && other.max == 1.625f);
    tersor_observer average = other;
    REFUSED(TERSOR_E_UNSUPPORTED, "order", average, tersor_observer_merge(&other, &average));
    REFUSED(TERSOR_E_UNSUPPORTED, "the kind 1 into the kind 0", observer, tersor_observer_merge(&other, &observer));
    other.reserved = 4;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "observer.reserved is 4", other, tersor_observer_observe(NULL, first, 1, 3, 3, &other));
    other.reserved = 0;
    other.constant = 2;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "observer.constant is 2", other, tersor_observer_observe(NULL, first, 1, 3, 3, &other));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "kind is 5", other, tersor_observer_init(5, &other, sizeof other));
    REFUSED(TERSOR_E_STRUCT_SIZE, "", other, tersor_observer_init(TERSOR_OBSERVER_MIN_MAX, &other, 4));

    /* Means, in any order, saved and split over two observers. */
    const float third[2] = {-1.0f, 2.0f};
    tersor_observer mean, backwards, half;
    OK(tersor_observer_init(TERSOR_OBSERVER_MEAN, &mean, sizeof mean));
    backwards = half = mean;
    REFUSED(TERSOR_E_EMPTY, "observer", scale, tersor_observer_params_u8(&mean, NULL, &scale, &zero));
    OK(tersor_observer_observe(NULL, first, 1, 3, 3, &mean));
    OK(tersor_observer_observe(NULL, second, 1, 2, 2, &mean));
    OK(tersor_observer_observe(NULL, third, 1, 2, 2, &mean));
    CHECK(mean.min == -0.5f && mean.max == 1.75f && mean.batches == 3);
    OK(tersor_observer_observe(NULL, third, 1, 2, 2, &half));
    OK(tersor_observer_observe(NULL, second, 1, 2, 2, &half));
    OK(tersor_observer_observe(NULL, first, 1, 3, 3, &backwards));
    OK(tersor_observer_merge(&half, &backwards));
    CHECK(memcmp(&mean, &backwards, sizeof mean) == 0);
    OK(tersor_observer_params_i8(&mean, NULL, &scale, NULL));
    CHECK(scale == 1.75f / 127);
    scale = 7;
    REFUSED(TERSOR_E_NOT_FINITE, "element 0", mean, tersor_observer_observe(NULL, bad, 1, 1, 1, &mean));
    REFUSED(TERSOR_E_UNSUPPORTED, "the kind 0 into the kind 2", mean, tersor_observer_merge(&observer, &mean));
    mean.batches = UINT64_MAX;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "observer.batches", mean, tersor_observer_merge(&half, &mean));
    mean.batches = 0;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "observer.min_sum", scale, tersor_observer_params_i8(&mean, NULL, &scale, NULL));
    mean.batches = 3;
    mean.max_sum[10] = INT64_MAX;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "observer.min_sum", mean, tersor_observer_observe(NULL, first, 1, 3, 3, &mean));

    /* Histograms, at an odd address. */
    size_t bytes = tersor_histogram_size();
    unsigned char *a = ARRAY(unsigned char, bytes + 1), *b = ARRAY(unsigned char, bytes);
    float *ramp = ARRAY(float, 10000);
    for (int i = 0; i < 10000; i++) ramp[i] = (float)i / 100.0f;
    const float outlier = 1e6f;
    OK(tersor_histogram_init(a + 1, bytes));
    OK(tersor_histogram_init(b, bytes));
    REFUSED(TERSOR_E_EMPTY, "", scale,
            tersor_histogram_params_u8(b, bytes, TERSOR_RANGE_MIN_MAX, 0, NULL, &scale, &zero));
    OK(tersor_histogram_observe(NULL, ramp, 100, 100, 100, a + 1, bytes));
    OK(tersor_histogram_observe(NULL, &outlier, 1, 1, 1, b, bytes));
    OK(tersor_histogram_merge(b, bytes, a + 1, bytes));
    OK(tersor_histogram_params_u8(a + 1, bytes, TERSOR_RANGE_MIN_MAX, 0, NULL, &scale, &zero));
    CHECK(scale * 255 > 999999);
    OK(tersor_histogram_params_u8(a + 1, bytes, TERSOR_RANGE_PERCENTILE, 99.9, NULL, &scale, &zero));
    CHECK(scale * 255 < 101);
    OK(tersor_histogram_params_i8(b, bytes, TERSOR_RANGE_MSE, 0, NULL, &scale, NULL));
    CHECK(scale > 0);
    OK(tersor_histogram_params_i8(a + 1, bytes, TERSOR_RANGE_ENTROPY, 0, NULL, &scale, NULL));
    CHECK(scale > 0);
    REFUSED(TERSOR_E_OUT_OF_RANGE, "percentile", scale,
            tersor_histogram_params_i8(b, bytes, TERSOR_RANGE_PERCENTILE, 10, NULL, &scale, NULL));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "range is 9", scale, tersor_histogram_params_i8(b, bytes, 9, 0, NULL, &scale, NULL));
    REFUSED(TERSOR_E_NOT_FINITE, "", b[40], tersor_histogram_observe(NULL, bad, 1, 1, 1, b, bytes));
    REFUSED(TERSOR_E_LENGTH, "histogram", b[0], tersor_histogram_init(b, bytes - 1));
    REFUSED(TERSOR_E_LAYOUT, "histogram", b[40], tersor_histogram_observe(NULL, ramp, 1, 10, 10, b, bytes - 1));
    b[0] = 'X';
    REFUSED(TERSOR_E_LAYOUT, "other: this is not a histogram", a[41], tersor_histogram_merge(b, bytes, a + 1, bytes));
    REFUSED(TERSOR_E_NULL, "other", a[41], tersor_histogram_merge(NULL, bytes, a + 1, bytes));
    release(a);
    release(b);
    release(ramp);
}

void test_casts(void) {
    const float src[5] = {1.0f, 65519.0f, 65520.0f, 1e-8f, NAN};
    tersor_f16 f16[5];
    tersor_bf16 bf16[5];
    float back[5];
    OK(tersor_cast_f32_to_f16(NULL, src, 5, f16));
    CHECK(f16[0] == 0x3C00 && f16[1] == 0x7BFF && f16[2] == 0x7C00 && f16[3] == 0 && f16[4] == 0x7E00);
    OK(tersor_cast_f16_to_f32(NULL, f16, 5, back));
    CHECK(back[0] == 1 && back[1] == 65504 && isinf(back[2]) && isnan(back[4]));
    OK(tersor_cast_f32_to_bf16(NULL, src, 5, bf16));
    CHECK(bf16[0] == 0x3F80 && bf16[1] == 0x4780 && bf16[4] == 0x7FC0);
    OK(tersor_cast_bf16_to_f32(NULL, bf16, 5, back));
    CHECK(back[0] == 1 && back[1] == 65536);
    OK(tersor_cast_f32_to_f16(NULL, NULL, 0, NULL));
    REFUSED(TERSOR_E_NULL, "src", f16, tersor_cast_f32_to_f16(NULL, NULL, 5, f16));
    REFUSED(TERSOR_E_NULL, "dst", f16, tersor_cast_f16_to_f32(NULL, f16, 5, NULL));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "src", bf16, tersor_cast_f32_to_bf16(NULL, src, SIZE_MAX, bf16));
    REFUSED(TERSOR_E_ALIGNMENT, "src", back,
            tersor_cast_bf16_to_f32(NULL, (const tersor_bf16 *)(const void *)((const char *)bf16 + 1), 2, back));
}
