/* Convolutions, against the definition: everything is small enough to be exact. */
#include "check.h"

enum { BATCH = 2, HEIGHT = 3, WIDTH = 4, IN = 2, OUT = 3, TAPS = 4, OUT_HEIGHT = 2, OUT_WIDTH = 4, STRIDE = IN + 1 };

static const int8_t w[OUT * TAPS * IN] = {1, 2, 0, -1, 3, 0, 0, 1, -2, 1, 1, 0, 4, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, -1};

static int pixel(const int8_t *x, int n, int y, int column, int channel) {
    if (y < 0 || y >= HEIGHT || column < 0 || column >= WIDTH) return 0;
    return x[((n * HEIGHT + y) * WIDTH + column) * STRIDE + channel];
}

/* Output o at (oy, ox) of a 2x2 window that moves by (2, 1), with a row of zeros below and a column of zeros to the left. */
static int sum_at(const int8_t *x, int depthwise, int n, int oy, int ox, int o) {
    int sum = 0;
    for (int ky = 0; ky < 2; ky++)
        for (int kx = 0; kx < 2; kx++)
            if (depthwise)
                sum += pixel(x, n, 2 * oy + ky, ox + kx - 1, o) * w[o * TAPS + 2 * ky + kx];
            else
                for (int c = 0; c < IN; c++)
                    sum += pixel(x, n, 2 * oy + ky, ox + kx - 1, c) * w[(o * TAPS + 2 * ky + kx) * IN + c];
    return sum;
}

static void run(int depthwise) {
    const int outputs = depthwise ? IN : OUT, inputs = depthwise ? TAPS : TAPS * IN;
    tersor_conv2d_options o;
    OK(tersor_conv2d_options_init(&o, sizeof o));
    o.depthwise = (uint32_t)depthwise;
    o.window_height = o.window_width = 2;
    o.stride_height = 2;
    o.padding_bottom = o.padding_left = 1;
    size_t out_height, out_width, bytes, float_bytes, scratch_bytes;
    OK(tersor_conv2d_output_size(HEIGHT, WIDTH, &o, &out_height, &out_width));
    CHECK(out_height == OUT_HEIGHT && out_width == OUT_WIDTH);

    OK(tersor_pack_i8_size(NULL, (size_t)outputs, (size_t)inputs, NULL, 0, &bytes));
    void *packed = guarded(bytes);
    OK(tersor_pack_i8(NULL, w, (size_t)outputs, (size_t)inputs, (size_t)inputs, NULL, NULL, 1, packed, bytes));
    OK(tersor_packed_set_input_i8(1, 0, packed, bytes));
    OK(tersor_packed_set_output_i8(2, -1, packed, bytes));

    /* Pixels are apart; what is between them is not read, and not written. */
    int8_t x[BATCH * HEIGHT * WIDTH * STRIDE], *y = ARRAY(int8_t, BATCH * OUT_HEIGHT * OUT_WIDTH * 4);
    float x_f32[BATCH * HEIGHT * WIDTH * STRIDE], *y_f32 = ARRAY(float, BATCH * OUT_HEIGHT * OUT_WIDTH * 4);
    for (size_t i = 0; i < sizeof x; i++) x[i] = (int8_t)((i * 7 + 3) % 11 - 5), x_f32[i] = x[i];
    memset(y, 77, BATCH * OUT_HEIGHT * OUT_WIDTH * 4);
    OK(tersor_conv2d_forward_size(NULL, BATCH, HEIGHT, WIDTH, packed, bytes, &o, &scratch_bytes));
    void *scratch = guarded(scratch_bytes);
    OK(tersor_conv2d_forward_i8(NULL, x, BATCH, HEIGHT, WIDTH, STRIDE, packed, bytes, &o, scratch, scratch_bytes, y, 4));
    OK(tersor_conv2d_forward_f32(NULL, x_f32, BATCH, HEIGHT, WIDTH, STRIDE, packed, bytes, &o, scratch, scratch_bytes,
                                 y_f32, 4));
    for (int i = 0; i < BATCH * OUT_HEIGHT * OUT_WIDTH; i++)
        for (int c = 0; c < 4; c++) {
            if (c >= outputs) {
                CHECK(y[i * 4 + c] == 77);
                continue;
            }
            int sum = sum_at(x, depthwise, i / (OUT_HEIGHT * OUT_WIDTH), i / OUT_WIDTH % OUT_HEIGHT, i % OUT_WIDTH, c);
            CHECK(y_f32[i * 4 + c] == sum);
            CHECK(y[i * 4 + c] == (int)lrintf((float)sum / 2) - 1);
        }

    uint8_t x_u8[BATCH * HEIGHT * WIDTH * STRIDE], y_u8[BATCH * OUT_HEIGHT * OUT_WIDTH * 4];
    for (size_t i = 0; i < sizeof x; i++) x_u8[i] = (uint8_t)(x[i] + 128);
    OK(tersor_packed_set_input_u8(1, 128, packed, bytes));
    OK(tersor_packed_set_output_u8(2, 127, packed, bytes));
    OK(tersor_conv2d_forward_u8(NULL, x_u8, BATCH, HEIGHT, WIDTH, STRIDE, packed, bytes, &o, scratch, scratch_bytes, y_u8, 4));
    for (int i = 0; i < BATCH * OUT_HEIGHT * OUT_WIDTH; i++)
        for (int c = 0; c < outputs; c++) CHECK(y_u8[i * 4 + c] == y[i * 4 + c] + 128);

    /* Refusals. */
    REFUSED(TERSOR_E_UNSUPPORTED, "x of i8 codes", *y,
            tersor_conv2d_forward_i8(NULL, x, BATCH, HEIGHT, WIDTH, STRIDE, packed, bytes, &o, scratch, scratch_bytes, y, 4));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "the number of channels", *y,
            tersor_conv2d_forward_u8(NULL, x_u8, BATCH, HEIGHT, WIDTH, IN - 1, packed, bytes, &o, scratch, scratch_bytes,
                                     y_u8, 4));
    REFUSED(TERSOR_E_NULL, "x is NULL", *y,
            tersor_conv2d_forward_u8(NULL, NULL, BATCH, HEIGHT, WIDTH, STRIDE, packed, bytes, &o, scratch, scratch_bytes,
                                     y_u8, 4));
    REFUSED(TERSOR_E_LENGTH, "scratch", *y,
            tersor_conv2d_forward_u8(NULL, x_u8, BATCH, HEIGHT, WIDTH, STRIDE, packed, bytes, &o, scratch,
                                     scratch_bytes - 1, y_u8, 4));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "x", *y,
            tersor_conv2d_forward_u8(NULL, x_u8, SIZE_MAX / 8, HEIGHT, WIDTH, STRIDE, packed, bytes, &o, scratch,
                                     scratch_bytes, y_u8, 4));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "height of x is 0", *y, tersor_conv2d_output_size(0, 4, &o, &out_height, &out_width));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "x", *y,
            tersor_conv2d_forward_size(NULL, SIZE_MAX / 2, 3, 4, packed, bytes, &o, &scratch_bytes));
    o.stride_width = 0;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "stride of the window along the width is 0", *y,
            tersor_conv2d_output_size(3, 4, &o, &out_height, &out_width));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "stride of the window along the width is 0", *y,
            tersor_conv2d_forward_size(NULL, 1, 3, 4, packed, bytes, &o, &scratch_bytes));
    o.stride_width = 1, o.window_width = 3;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "in_features", *y,
            tersor_conv2d_forward_size(NULL, 1, 3, 4, packed, bytes, &o, &scratch_bytes));

    OK(tersor_pack_f32_size(NULL, (size_t)outputs, (size_t)inputs, &float_bytes));
    if (depthwise) {
        void *floats = guarded(float_bytes);
        OK(tersor_pack_f32(NULL, x_f32, (size_t)outputs, (size_t)inputs, (size_t)inputs, NULL, 0, floats, float_bytes));
        o.window_width = 2;
        REFUSED(TERSOR_E_UNSUPPORTED, "depthwise", *y,
                tersor_conv2d_forward_size(NULL, 1, 3, 4, floats, float_bytes, &o, &scratch_bytes));
        release(floats);
    }
    release(packed);
    release(scratch);
    release(y);
    release(y_f32);
}

void test_conv(void) {
    run(0);
    run(1);
}
