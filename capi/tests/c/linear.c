/* Packing and running layers. */
#include "check.h"

enum { N = 3, K = 5, M = 2 };

static const float w[N * K] = {1, 0, 0, 2, -1, 0, 3, 0, 0, 0.5f, -2, 0, 1, 0, 0};
static const float x[M * K] = {1, 2, 3, 4, 5, -1, 0.5f, 2, 0, 1};
static const float bias[N] = {10, 20, 30};
static const int8_t codes[N * K] = {1, 0, 0, 2, -1, 0, 3, 0, 0, 4, -2, 0, 1, 0, 0};

static void product(float *y, int with_bias) {
    for (size_t m = 0; m < M; m++)
        for (size_t n = 0; n < N; n++) {
            y[m * N + n] = with_bias ? bias[n] : 0;
            for (size_t k = 0; k < K; k++) y[m * N + n] += x[m * K + k] * w[n * K + k];
        }
}

/* The numbers are small enough for every float format to be exact. */
static void run_f32(const void *packed, size_t packed_bytes, float tolerance, int with_bias) {
    size_t scratch_bytes = 0, n = 0, k = 0;
    OK(tersor_packed_shape(packed, packed_bytes, &n, &k));
    CHECK(n == N && k == K);
    OK(tersor_packed_shape(packed, packed_bytes, NULL, NULL));
    OK(tersor_linear_forward_size(NULL, packed, packed_bytes, M, &scratch_bytes));
    void *scratch = guarded(scratch_bytes);
    float *y = ARRAY(float, M * N), expected[M * N];
    OK(tersor_linear_forward_f32(NULL, x, M, K, packed, packed_bytes, scratch, scratch_bytes, y, N));
    product(expected, with_bias);
    for (size_t i = 0; i < M * N; i++) CHECK(fabsf(y[i] - expected[i]) <= tolerance);
    release(y);
    release(scratch);
}

static void test_floats(void) {
    size_t bytes, sparse_bytes;
    OK(tersor_pack_f32_size(NULL, N, K, &bytes));
    /* At an odd address. */
    unsigned char *packed = ARRAY(unsigned char, bytes + 1);
    OK(tersor_pack_f32(NULL, w, N, K, K, NULL, 0, packed + 1, bytes));
    run_f32(packed + 1, bytes, 0, 0);
    OK(tersor_packed_set_bias(bias, N, packed + 1, bytes));
    run_f32(packed + 1, bytes, 0, 1);

    uint16_t half[N * K], x16[M * K], y16[M * N];
    float expected[M * N], found[M * N];
    product(expected, 0);
    size_t bytes16, scratch_bytes;
    OK(tersor_pack_f16_size(NULL, N, K, &bytes16));
    void *packed16 = guarded(bytes16);
    OK(tersor_cast_f32_to_f16(NULL, w, N * K, half));
    OK(tersor_pack_f16(NULL, half, N, K, K, NULL, 0, packed16, bytes16));
    run_f32(packed16, bytes16, 0, 0);
    OK(tersor_linear_forward_size(NULL, packed16, bytes16, M, &scratch_bytes));
    void *scratch = guarded(scratch_bytes);
    OK(tersor_cast_f32_to_f16(NULL, x, M * K, x16));
    OK(tersor_linear_forward_f16(NULL, x16, M, K, packed16, bytes16, scratch, scratch_bytes, y16, N));
    OK(tersor_cast_f16_to_f32(NULL, y16, M * N, found));
    CHECK(memcmp(found, expected, sizeof found) == 0);
    release(packed16);
    release(scratch);

    OK(tersor_pack_bf16_size(NULL, N, K, &bytes16));
    packed16 = guarded(bytes16);
    OK(tersor_cast_f32_to_bf16(NULL, w, N * K, half));
    OK(tersor_pack_bf16(NULL, half, N, K, K, NULL, 0, packed16, bytes16));
    run_f32(packed16, bytes16, 0, 0);
    OK(tersor_linear_forward_size(NULL, packed16, bytes16, M, &scratch_bytes));
    scratch = guarded(scratch_bytes);
    OK(tersor_cast_f32_to_bf16(NULL, x, M * K, x16));
    OK(tersor_linear_forward_bf16(NULL, x16, M, K, packed16, bytes16, scratch, scratch_bytes, y16, N));
    OK(tersor_cast_bf16_to_f32(NULL, y16, M * N, found));
    CHECK(memcmp(found, expected, sizeof found) == 0);
    release(packed16);
    release(scratch);

    /* x is whole in bf16, so rounding it changes nothing. */
    OK(tersor_pack_bf16_dot_size(NULL, N, K, &bytes16));
    packed16 = guarded(bytes16);
    OK(tersor_pack_bf16_dot(NULL, half, N, K, K, NULL, 0, packed16, bytes16));
    run_f32(packed16, bytes16, 0, 0);
    OK(tersor_linear_forward_size(NULL, packed16, bytes16, M, &scratch_bytes));
    scratch = guarded(scratch_bytes);
    OK(tersor_linear_forward_bf16(NULL, x16, M, K, packed16, bytes16, scratch, scratch_bytes, y16, N));
    OK(tersor_cast_bf16_to_f32(NULL, y16, M * N, found));
    CHECK(memcmp(found, expected, sizeof found) == 0);
    REFUSED(TERSOR_E_LENGTH, "packed", bytes16, tersor_pack_bf16_dot(NULL, half, N, K, K, NULL, 0, packed16, bytes16 - 1));
    release(packed16);
    release(scratch);

    /* Sparse, through a mask that condemns what is 0 anyway, and one NaN more. */
    float holes[N * K];
    uint8_t mask[2] = {0, 0};
    for (size_t i = 0; i < N * K; i++) {
        holes[i] = w[i] == 0 ? NAN : w[i];
        mask[i / 8] |= (uint8_t)((w[i] != 0) << (i % 8));
    }
    OK(tersor_pack_sparse_f32_size(NULL, holes, N, K, K, mask, 2, &sparse_bytes));
    void *sparse = guarded(sparse_bytes);
    OK(tersor_pack_sparse_f32(NULL, holes, N, K, K, mask, 2, sparse, sparse_bytes));
    run_f32(sparse, sparse_bytes, 1e-6f, 0);
    OK(tersor_pack_f32(NULL, holes, N, K, K, mask, 2, packed + 1, bytes));
    run_f32(packed + 1, bytes, 0, 0);

    /* Refusals. */
    unsigned char head[32];
    memcpy(head, packed + 1, sizeof head);
#define UNTOUCHED CHECK(memcmp(head, packed + 1, sizeof head) == 0)
    float y[M * N] = {7, 7, 7, 7, 7, 7};
    REFUSED(TERSOR_E_NOT_FINITE, "element 1", head, tersor_pack_f32(NULL, holes, N, K, K, NULL, 0, packed + 1, bytes));
    REFUSED(TERSOR_E_NOT_FINITE, "", sparse_bytes, tersor_pack_sparse_f32_size(NULL, holes, N, K, K, NULL, 0, &sparse_bytes));
    REFUSED(TERSOR_E_LENGTH, "packed", head, tersor_pack_f32(NULL, w, N, K, K, NULL, 0, packed + 1, bytes - 1));
    REFUSED(TERSOR_E_LENGTH, "mask", head, tersor_pack_f32(NULL, w, N, K, K, mask, 1, packed + 1, bytes));
    REFUSED(TERSOR_E_NULL, "packed", head, tersor_pack_sparse_f32(NULL, w, N, K, K, mask, 2, NULL, bytes));
    REFUSED(TERSOR_E_NULL, "weights", head, tersor_pack_f16(NULL, NULL, N, K, K, NULL, 0, packed + 1, bytes));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "stride", head, tersor_pack_bf16(NULL, half, N, K, K - 1, NULL, 0, packed + 1, bytes));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "", bytes, tersor_pack_f32_size(NULL, SIZE_MAX / 2, 3, &bytes));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "", bytes, tersor_pack_f16_size(NULL, SIZE_MAX / 4, 3, &bytes));
    REFUSED(TERSOR_E_NULL, "out_bytes", bytes, tersor_pack_bf16_size(NULL, 1, 1, NULL));
    REFUSED(TERSOR_E_LENGTH, "bias", head, tersor_packed_set_bias(bias, N - 1, packed + 1, bytes));
    REFUSED(TERSOR_E_UNSUPPORTED, "", head, tersor_packed_set_input_u8(1.0f, 0, packed + 1, bytes));
    REFUSED(TERSOR_E_UNSUPPORTED, "int4", head, tersor_packed_set_input_float(packed + 1, bytes));
    REFUSED(TERSOR_E_LAYOUT, "packed", head, tersor_packed_set_input_float(packed + 1, bytes - 1));
    REFUSED(TERSOR_E_NULL, "y", y, tersor_linear_forward_f32(NULL, x, M, K, packed + 1, bytes, NULL, 0, NULL, N));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "stride of x", y,
            tersor_linear_forward_f32(NULL, x, M, K - 1, packed + 1, bytes, NULL, 0, y, N));
    REFUSED(TERSOR_E_NULL, "x", y16, tersor_linear_forward_f16(NULL, NULL, M, K, packed + 1, bytes, NULL, 0, y16, N));
    REFUSED(TERSOR_E_LAYOUT, "packed", y16, tersor_linear_forward_bf16(NULL, x16, M, K, packed + 1, 0, NULL, 0, y16, N));
    UNTOUCHED;

    /* A foreign, a cut, a damaged blob. */
    size_t n = 7;
    unsigned char zeros[256] = {0};
    REFUSED(TERSOR_E_LAYOUT, "packed", n, tersor_packed_shape(zeros, sizeof zeros, &n, NULL));
    REFUSED(TERSOR_E_LAYOUT, "packed", n, tersor_linear_forward_size(NULL, packed + 1, bytes - 1, M, &n));
    for (size_t i = 0; i < 128; i++) {
        packed[1 + i] ^= 0x40;
        REFUSED(TERSOR_E_LAYOUT, "packed", y,
                tersor_linear_forward_f32(NULL, x, M, K, packed + 1, bytes, NULL, 0, y, N));
        packed[1 + i] ^= 0x40;
    }
    run_f32(packed + 1, bytes, 0, 0);
    release(packed);
    release(sparse);
}

static void check_sums(const int32_t *sums, const int8_t *a, int32_t a_zero, int32_t w_zero) {
    for (size_t m = 0; m < M; m++)
        for (size_t n = 0; n < N; n++) {
            int32_t sum = 0;
            for (size_t k = 0; k < K; k++) sum += (a[m * K + k] - a_zero) * (codes[n * K + k] - w_zero);
            CHECK(sums[m * N + n] == sum);
        }
}

/* w in groups of four inputs, of which the last has one: exact with an input scale that is. */
static void test_int4(void) {
    const int8_t nibbles[N * K] = {1, 0, 0, 2, -1, 0, 3, 0, 0, 1, -2, 0, 1, 0, 0};
    const float scales[2 * N] = {1, 1, 1, 0.5f, 1, 1};
    const int32_t twos[2 * N] = {2, 2, 2, 2, 2, 2}, zeros[2 * N] = {0}, far_away[2 * N] = {0, 8};
    const int8_t too_high[N * K] = {0, 0, 0, 0, 0, 0, 30};
    int8_t moved[N * K];
    for (size_t i = 0; i < N * K; i++) moved[i] = (int8_t)(nibbles[i] + 2);
    size_t bytes, zero_bytes, affine_bytes, scratch_bytes = 0;
    float y[M * N] = {0};
    OK(tersor_pack_int4_size(NULL, N, K, 4, NULL, &bytes));
    OK(tersor_pack_int4_size(NULL, N, K, 4, zeros, &zero_bytes));
    OK(tersor_pack_int4_size(NULL, N, K, 4, twos, &affine_bytes));
    CHECK(zero_bytes == bytes && affine_bytes > bytes);
    void *packed = guarded(bytes), *affine = guarded(affine_bytes);
    OK(tersor_pack_int4(NULL, nibbles, N, K, K, 4, scales, NULL, packed, bytes));
    OK(tersor_pack_int4(NULL, moved, N, K, K, 4, scales, twos, affine, affine_bytes));
    run_f32(packed, bytes, 0.2f, 0);
    OK(tersor_packed_set_bias(bias, N, packed, bytes));
    OK(tersor_packed_set_input_float(packed, bytes));
    run_f32(packed, bytes, 0, 1);
    OK(tersor_packed_set_input_i8(0.25f, 0, packed, bytes));
    run_f32(packed, bytes, 0, 1);
    OK(tersor_packed_set_input_float(affine, affine_bytes));
    run_f32(affine, affine_bytes, 0, 0);
    REFUSED(TERSOR_E_LENGTH, "scratch", scratch_bytes,
            tersor_linear_forward_f32(NULL, x, M, K, affine, affine_bytes, NULL, 0, y, N));
    OK(tersor_packed_set_input_u8(0.25f, 64, affine, affine_bytes));
    run_f32(affine, affine_bytes, 0, 0);

    int32_t kept[M * N] = {7, 7, 7, 7, 7, 7};
    OK(tersor_linear_forward_size(NULL, packed, bytes, M, &scratch_bytes));
    void *scratch = guarded(scratch_bytes);
    REFUSED(TERSOR_E_UNSUPPORTED, "int4", kept,
            tersor_matmul_i8(NULL, nibbles, 1, K, NULL, 0, packed, bytes, scratch, scratch_bytes, kept, N));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "group_size is 0", bytes, tersor_pack_int4_size(NULL, N, K, 0, NULL, &bytes));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "n * k", bytes, tersor_pack_int4_size(NULL, SIZE_MAX / 2, 3, 4, NULL, &bytes));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "k is 1048576", bytes, tersor_pack_int4_size(NULL, 1, 1 << 20, 32, NULL, &bytes));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "group_size is 2", kept,
            tersor_pack_int4(NULL, nibbles, N, K, K, 2, scales, NULL, packed, bytes));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "codes[1, 1] is 30", kept,
            tersor_pack_int4(NULL, too_high, N, K, K, 4, scales, NULL, packed, bytes));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "zero_points[0, 1] is 8", kept,
            tersor_pack_int4(NULL, nibbles, N, K, K, 4, scales, far_away, affine, affine_bytes));
    REFUSED(TERSOR_E_NULL, "scales", kept, tersor_pack_int4(NULL, nibbles, N, K, K, 4, NULL, NULL, packed, bytes));
    REFUSED(TERSOR_E_LENGTH, "packed", kept,
            tersor_pack_int4(NULL, nibbles, N, K, K, 4, scales, NULL, packed, bytes - 1));
    release(scratch);
    release(packed);
    release(affine);
}

static void test_codes(void) {
    const int8_t a[M * K] = {1, -128, 127, 4, 5, -1, 7, 2, 0, 1};
    uint8_t a_u8[M * K], codes_u8[N * K];
    for (size_t i = 0; i < M * K; i++) a_u8[i] = (uint8_t)(a[i] + 128);
    for (size_t i = 0; i < N * K; i++) codes_u8[i] = (uint8_t)(codes[i] + 3);
    const int32_t zero128 = 128, three = 3, rows[M] = {1, -2};
    size_t bytes, affine_bytes, sparse_bytes, scratch_bytes;
    int32_t *sums = ARRAY(int32_t, M * N);

    OK(tersor_pack_i8_size(NULL, N, K, NULL, 0, &bytes));
    OK(tersor_pack_u8_size(NULL, N, K, &three, 1, &affine_bytes));
    void *packed = guarded(bytes), *affine = guarded(affine_bytes);
    OK(tersor_pack_i8(NULL, codes, N, K, K, NULL, NULL, 1, packed, bytes));
    OK(tersor_linear_forward_size(NULL, packed, bytes, M, &scratch_bytes));
    void *scratch = guarded(scratch_bytes);
    OK(tersor_matmul_i8(NULL, a, M, K, NULL, 0, packed, bytes, scratch, scratch_bytes, sums, N));
    check_sums(sums, a, 0, 0);
    OK(tersor_matmul_u8(NULL, a_u8, M, K, &zero128, 1, packed, bytes, scratch, scratch_bytes, sums, N));
    check_sums(sums, a, 0, 0);
    OK(tersor_matmul_i8(NULL, a, M, K, rows, M, packed, bytes, scratch, scratch_bytes, sums, N));
    CHECK(sums[0] == (1 - 1) + 2 * (4 - 1) - (5 - 1) && sums[N] == (-1 + 2) + 2 * (0 + 2) - (1 + 2));
    /* Codes 3 higher with a zero point of 3 are the same weights. */
    OK(tersor_pack_u8(NULL, codes_u8, N, K, K, NULL, &three, 1, affine, affine_bytes));
    size_t affine_scratch_bytes;
    OK(tersor_linear_forward_size(NULL, affine, affine_bytes, M, &affine_scratch_bytes));
    void *affine_scratch = guarded(affine_scratch_bytes);
    OK(tersor_matmul_i8(NULL, a, M, K, NULL, 0, affine, affine_bytes, affine_scratch, affine_scratch_bytes, sums, N));
    check_sums(sums, a, 0, 0);
    release(affine_scratch);

    OK(tersor_pack_sparse_i8_size(NULL, codes, N, K, K, NULL, 0, &sparse_bytes));
    void *sparse = guarded(sparse_bytes);
    OK(tersor_pack_sparse_i8(NULL, codes, N, K, K, NULL, 1, NULL, 0, sparse, sparse_bytes));
    size_t sparse_scratch_bytes;
    OK(tersor_linear_forward_size(NULL, sparse, sparse_bytes, M, &sparse_scratch_bytes));
    void *sparse_scratch = guarded(sparse_scratch_bytes);
    memset(sums, 0, M * N * sizeof *sums);
    OK(tersor_matmul_i8(NULL, a, M, K, NULL, 0, sparse, sparse_bytes, sparse_scratch, sparse_scratch_bytes, sums, N));
    check_sums(sums, a, 0, 0);
    release(sparse_scratch);

    /* Weights w as scaled codes: y within the rounding of x. Then with a fixed input scale that is exact. */
    int8_t quantized[N * K];
    float scales[N];
    OK(tersor_quantize_i8_per_channel(NULL, w, N, K, K, NULL, quantized, K, scales, NULL));
    OK(tersor_pack_i8(NULL, quantized, N, K, K, scales, NULL, N, packed, bytes));
    run_f32(packed, bytes, 0.2f, 0);
    OK(tersor_packed_set_bias(bias, N, packed, bytes));
    OK(tersor_packed_set_input_i8(0.25f, 0, packed, bytes));
    run_f32(packed, bytes, 0.1f, 1);
    OK(tersor_packed_set_input_u8(0.25f, 64, packed, bytes));
    run_f32(packed, bytes, 0.1f, 1);

    /* Refusals. */
    float y[M * N] = {7, 7, 7, 7, 7, 7};
    int32_t kept[M * N] = {7, 7, 7, 7, 7, 7};
    REFUSED(TERSOR_E_LENGTH, "scratch", kept,
            tersor_matmul_i8(NULL, a, M, K, NULL, 0, packed, bytes, scratch, scratch_bytes - 1, kept, N));
    const int32_t far_away = 300;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "a_zero_points[0] is 300", kept,
            tersor_matmul_u8(NULL, a_u8, M, K, &far_away, 1, packed, bytes, scratch, scratch_bytes, kept, N));
    REFUSED(TERSOR_E_NULL, "a is NULL", kept,
            tersor_matmul_i8(NULL, NULL, M, K, NULL, 0, packed, bytes, scratch, scratch_bytes, kept, N));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "zero_points[0]", y,
            tersor_pack_i8(NULL, codes, N, K, K, NULL, &far_away, 1, packed, bytes));
    REFUSED(TERSOR_E_LENGTH, "scales", y, tersor_pack_i8(NULL, codes, N, K, K, scales, NULL, 2, packed, bytes));
    REFUSED(TERSOR_E_NULL, "weights", y, tersor_pack_u8(NULL, NULL, N, K, K, NULL, NULL, 1, affine, affine_bytes));
    REFUSED(TERSOR_E_LENGTH, "packed", y, tersor_pack_sparse_i8(NULL, codes, N, K, K, NULL, 1, NULL, 0, sparse, 10));
    REFUSED(TERSOR_E_NULL, "out_bytes", y, tersor_pack_sparse_i8_size(NULL, codes, N, K, K, NULL, 0, NULL));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "k is 1048576", bytes, tersor_pack_i8_size(NULL, 1, 1 << 20, NULL, 0, &bytes));
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "n * k", bytes, tersor_pack_u8_size(NULL, SIZE_MAX / 2, 3, NULL, 0, &bytes));
    const int32_t several[2] = {1, 2};
    REFUSED(TERSOR_E_OUT_OF_RANGE, "channels is 2", bytes, tersor_pack_i8_size(NULL, N, K, several, 2, &bytes));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "channels is 2", bytes, tersor_pack_u8_size(NULL, N, K, several, 2, &bytes));
    /* No zero points: NULL, or none of them. The size is the same, and the one that packing wants. */
    size_t none_bytes;
    OK(tersor_pack_u8_size(NULL, N, K, NULL, 0, &affine_bytes));
    OK(tersor_pack_u8_size(NULL, N, K, &three, 0, &none_bytes));
    CHECK(none_bytes == affine_bytes);
    OK(tersor_pack_u8(NULL, codes_u8, N, K, K, NULL, &three, 0, affine, affine_bytes));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "zero_point", y, tersor_packed_set_input_i8(1.0f, 128, packed, bytes));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "scale", y, tersor_packed_set_input_u8(0.0f, 0, packed, bytes));

    release(packed);
    release(affine);
    release(sparse);
    release(scratch);
    release(sums);
}

/* The code of y, by its definition. */
static int code_of(float y, float scale, int zero_point, int low, int high) {
    int code = (int)lrintf(y / scale) + zero_point;
    return code < low ? low : code > high ? high : code;
}

/* Limits and codes behind a product: y is small enough to be exact, so its codes are known. */
static void test_epilogue(void) {
    size_t bytes, float_bytes, scratch_bytes;
    OK(tersor_pack_i8_size(NULL, N, K, NULL, 0, &bytes));
    OK(tersor_pack_f32_size(NULL, N, K, &float_bytes));
    void *packed = guarded(bytes), *floats = guarded(float_bytes);
    OK(tersor_pack_i8(NULL, codes, N, K, K, NULL, NULL, 1, packed, bytes));
    OK(tersor_pack_f32(NULL, w, N, K, K, NULL, 0, floats, float_bytes));
    OK(tersor_packed_set_bias(bias, N, packed, bytes));
    OK(tersor_packed_set_bias(bias, N, floats, float_bytes));
    OK(tersor_linear_forward_size(NULL, packed, bytes, M, &scratch_bytes));
    void *scratch = guarded(scratch_bytes);

    int8_t x_i8[M * K], *y_i8 = ARRAY(int8_t, M * N);
    uint8_t x_u8[M * K], *y_u8 = ARRAY(uint8_t, M * N);
    for (size_t i = 0; i < M * K; i++) x_i8[i] = (int8_t)(x[i] / 0.25f), x_u8[i] = (uint8_t)(x[i] / 0.25f + 64);
    float y[M * N], again[M * N], limited[M * N];
    memset(y_i8, 7, M * N);
    REFUSED(TERSOR_E_UNSUPPORTED, "x of i8 codes", *y_i8,
            tersor_linear_forward_i8(NULL, x_i8, M, K, packed, bytes, scratch, scratch_bytes, y_i8, N));
    OK(tersor_packed_set_input_i8(0.25f, 0, packed, bytes));
    REFUSED(TERSOR_E_UNSUPPORTED, "y of i8 codes", *y_i8,
            tersor_linear_forward_i8(NULL, x_i8, M, K, packed, bytes, scratch, scratch_bytes, y_i8, N));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "high is -1", *y_i8, tersor_packed_set_clamp(0, -1, packed, bytes));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "zero_point", *y_i8, tersor_packed_set_output_u8(0.5f, 256, packed, bytes));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "scale", *y_i8, tersor_packed_set_output_i8(-0.5f, 0, packed, bytes));

    OK(tersor_linear_forward_f32(NULL, x, M, K, packed, bytes, scratch, scratch_bytes, y, N));
    OK(tersor_linear_forward_i8_f32(NULL, x_i8, M, K, packed, bytes, scratch, scratch_bytes, again, N));
    CHECK(memcmp(y, again, sizeof y) == 0);
    OK(tersor_packed_set_output_i8(0.75f, -3, packed, bytes));
    OK(tersor_linear_forward_i8(NULL, x_i8, M, K, packed, bytes, scratch, scratch_bytes, y_i8, N));
    for (size_t i = 0; i < M * N; i++) CHECK(y_i8[i] == code_of(y[i], 0.75f, -3, -128, 127));
    memset(y_i8, 0, M * N);
    OK(tersor_linear_forward_f32_i8(NULL, x, M, K, packed, bytes, scratch, scratch_bytes, y_i8, N));
    for (size_t i = 0; i < M * N; i++) CHECK(y_i8[i] == code_of(y[i], 0.75f, -3, -128, 127));

    OK(tersor_packed_set_input_u8(0.25f, 64, packed, bytes));
    OK(tersor_packed_set_clamp(12, 25, packed, bytes));
    OK(tersor_packed_set_output_u8(0.1f, 0, packed, bytes));
    OK(tersor_linear_forward_u8_f32(NULL, x_u8, M, K, packed, bytes, scratch, scratch_bytes, limited, N));
    OK(tersor_linear_forward_u8(NULL, x_u8, M, K, packed, bytes, scratch, scratch_bytes, y_u8, N));
    int below = 0, above = 0;
    for (size_t i = 0; i < M * N; i++) {
        CHECK(limited[i] == fminf(fmaxf(y[i], 12), 25));
        CHECK(y_u8[i] == code_of(limited[i], 0.1f, 0, 0, 255));
        below += y[i] < 12, above += y[i] > 25;
    }
    CHECK(below > 0 && above > 0);

    OK(tersor_packed_set_clamp(0, INFINITY, floats, float_bytes));
    OK(tersor_packed_set_output_u8(0.2f, 5, floats, float_bytes));
    OK(tersor_linear_forward_size(NULL, floats, float_bytes, M, &scratch_bytes));
    void *float_scratch = guarded(scratch_bytes);
    OK(tersor_linear_forward_f32_u8(NULL, x, M, K, floats, float_bytes, float_scratch, scratch_bytes, y_u8, N));
    product(y, 1);
    for (size_t i = 0; i < M * N; i++) CHECK(y_u8[i] == code_of(fmaxf(y[i], 0), 0.2f, 5, 0, 255));
    release(float_scratch);
    release(y_i8);
    release(y_u8);
    release(packed);
    release(floats);
    release(scratch);
}

void test_linear(void) {
    test_epilogue();
    test_floats();
    test_codes();
    test_int4();

    const float a[2 * 3] = {1, 2, 3, 4, 5, 6}, b[3 * 2] = {1, 0, 0, 1, 1, 1};
    float *c = ARRAY(float, 5);
    c[2] = 99;
    OK(tersor_matmul_f32(NULL, a, 2, 3, 3, b, 2, 2, c, 3));
    CHECK(c[0] == 4 && c[1] == 5 && c[2] == 99 && c[3] == 10 && c[4] == 11);
    release(c);
    float kept[4] = {7, 7, 7, 7};
    REFUSED(TERSOR_E_NULL, "b is NULL", kept, tersor_matmul_f32(NULL, a, 2, 3, 3, NULL, 2, 2, kept, 2));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "stride of c", kept, tersor_matmul_f32(NULL, a, 2, 3, 3, b, 2, 2, kept, 1));
}
