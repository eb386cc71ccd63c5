/* Shapes that no matrix has, and matrices without elements: a status and a message at once, never a panic, never a loop over
 * rows that are not there, and nothing is written. And layers whose bytes were damaged. */
#include "check.h"

#define HALF (SIZE_MAX / 2 + 1)

typedef struct {
    size_t rows, cols, stride;
} shape;

static const shape shapes[] = {
    {0, 0, 0},           {0, 4, 4},        {4, 0, 0},        {0, SIZE_MAX, SIZE_MAX}, {SIZE_MAX, 0, 0},
    {SIZE_MAX / 8, 0, 0}, {SIZE_MAX / 64, 0, 0}, {0, 4, SIZE_MAX}, {3, 0, SIZE_MAX / 2},    {1, 4, SIZE_MAX},
    {0, HALF, HALF},     {HALF, 0, 0},     {HALF, HALF, HALF}, {SIZE_MAX, SIZE_MAX, SIZE_MAX},
};

static struct {
    float values[4], scales[2];
    int32_t zeros[2];
    int8_t codes[4];
    uint8_t ucodes[4], mask[2];
    uint16_t halves[4];
    unsigned char packed[256];
    size_t size;
    tersor_observer observer;
} out, before;

#define CALM(call)                                                                                                     \
    do {                                                                                                               \
        tersor_status status_ = (call);                                                                                \
        if (status_ != TERSOR_OK && status_ != TERSOR_E_EMPTY && status_ != TERSOR_E_SIZE_OVERFLOW &&                  \
            status_ != TERSOR_E_OUT_OF_RANGE && status_ != TERSOR_E_LENGTH) {                                          \
            char message_[512];                                                                                        \
            tersor_last_error(message_, sizeof message_);                                                              \
            fprintf(stderr, "%s:%d: shape %d: %s gives %s: %s\n", __FILE__, __LINE__, (int)i, #call,                   \
                    tersor_status_name(status_), message_);                                                            \
            exit(1);                                                                                                   \
        }                                                                                                              \
        if (memcmp(&out, &before, sizeof out) != 0) {                                                                  \
            fprintf(stderr, "%s:%d: shape %d: %s has written\n", __FILE__, __LINE__, (int)i, #call);                   \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

enum { LAYER_N = 40, LAYER_K = 72 };

/* A product with damaged bytes, into memory that held something: the status, and y. */
static tersor_status damaged_product(int integer, const unsigned char *packed, size_t bytes, int held, void *y) {
    static float x[2 * LAYER_K];
    static uint8_t codes[2 * LAYER_K];
    for (size_t i = 0; i < 2 * LAYER_K; i++) x[i] = (float)(i % 7), codes[i] = (uint8_t)(11 * i);
    size_t n = 0, k = 0, scratch_bytes = 0;
    tersor_status status = tersor_packed_shape(packed, bytes, &n, &k);
    if (status != TERSOR_OK) return status;
    CHECK(n == LAYER_N && k == LAYER_K);
    OK(tersor_linear_forward_size(NULL, packed, bytes, 2, &scratch_bytes));
    void *scratch = guarded(scratch_bytes);
    memset(scratch, held, scratch_bytes);
    memset(y, held, 2 * LAYER_N * 4);
    if (integer)
        status = tersor_matmul_u8(NULL, codes, 2, k, NULL, 0, packed, bytes, scratch, scratch_bytes, (int32_t *)y, n);
    else
        status = tersor_linear_forward_f32(NULL, x, 2, k, packed, bytes, scratch, scratch_bytes, (float *)y, n);
    release(scratch);
    return status;
}

/* Every byte of a sparse layer, damaged: an error, or numbers that depend on nothing but the bytes. What is refused when it
 * is used is refused by the check; that finds more. */
static void damaged_layer(int integer, unsigned char height, const void *weights) {
    size_t bytes = 0, only_checked = 0;
    if (integer)
        OK(tersor_pack_sparse_i8_size(NULL, (const int8_t *)weights, LAYER_N, LAYER_K, LAYER_K, NULL, 0, &bytes));
    else
        OK(tersor_pack_sparse_f32_size(NULL, (const float *)weights, LAYER_N, LAYER_K, LAYER_K, NULL, 0, &bytes));
    unsigned char *packed = ARRAY(unsigned char, bytes);
    if (integer)
        OK(tersor_pack_sparse_i8(NULL, (const int8_t *)weights, LAYER_N, LAYER_K, LAYER_K, NULL, 1, NULL, 0, packed,
                                 bytes));
    else
        OK(tersor_pack_sparse_f32(NULL, (const float *)weights, LAYER_N, LAYER_K, LAYER_K, NULL, 0, packed, bytes));
    OK(tersor_packed_check(packed, bytes));
    CHECK(packed[80] == height); /* outputs of a block: this is the layout that was meant */
    void *y = guarded(2 * LAYER_N * 4), *again = guarded(2 * LAYER_N * 4);
    for (size_t at = 0; at < bytes; at++) {
        const unsigned char good = packed[at], other[3] = {0xFF, 0, (unsigned char)(good ^ 1)};
        for (size_t i = 0; i < sizeof other; i++) {
            packed[at] = other[i];
            const tersor_status checked = tersor_packed_check(packed, bytes);
            const tersor_status status = damaged_product(integer, packed, bytes, 0, y);
            CHECK(checked == TERSOR_OK || checked == TERSOR_E_LAYOUT);
            CHECK(status == TERSOR_OK || (status == TERSOR_E_LAYOUT && checked == TERSOR_E_LAYOUT));
            CHECK(damaged_product(integer, packed, bytes, 0xFF, again) == status);
            CHECK(status != TERSOR_OK || memcmp(y, again, 2 * LAYER_N * 4) == 0);
            only_checked += status == TERSOR_OK && checked != TERSOR_OK;
        }
        packed[at] = good;
    }
    CHECK(only_checked > 20);
    OK(tersor_packed_check(packed, bytes));
    REFUSED(TERSOR_E_LAYOUT, "needs", *packed, tersor_packed_check(packed, bytes - 1));
    REFUSED(TERSOR_E_NULL, "packed", *packed, tersor_packed_check(NULL, bytes));
    release(packed);
    release(y);
    release(again);
}

static void test_damaged_layers(void) {
    static float few[LAYER_N * LAYER_K], tall[LAYER_N * LAYER_K];
    static int8_t single[LAYER_N * LAYER_K], low[LAYER_N * LAYER_K], high[LAYER_N * LAYER_K];
    for (size_t n = 0; n < LAYER_N; n++)
        for (size_t k = 0; k < LAYER_K; k++) {
            const size_t i = n * LAYER_K + k;
            few[i] = (n + k) % 5 == 0 ? 1.5f : 0;
            tall[i] = k % 4 == 0 ? 0.5f : 0;
            single[i] = (int8_t)((n + k) % 4 < 2);
            low[i] = (int8_t)((n + k / 4) % 9 == 0);
            high[i] = (int8_t)(k % 16 < 4);
        }
    damaged_layer(0, 1, few);
    damaged_layer(0, 16, tall);
    damaged_layer(1, 32, single);
    damaged_layer(1, 1, low);
    damaged_layer(1, 16, high);
}

void test_hostile(void) {
    test_damaged_layers();
    const float src[4] = {1, 2, 3, 4}, one = 1, ones[2] = {1, 1};
    const uint8_t within[2] = {0xFF, 0xFF};
    OK(tersor_observer_init(TERSOR_OBSERVER_MIN_MAX, &out.observer, sizeof out.observer));
    before = out;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const size_t r = shapes[i].rows, c = shapes[i].cols, s = shapes[i].stride;
        /* The one shape of an ordinary row; only its stride is not. */
        if (r == 1) {
            CHECK(tersor_mask_apply_f32(NULL, within, 2, r, c, out.values, s) == TERSOR_E_SIZE_OVERFLOW);
            continue;
        }
        CALM(tersor_mask_apply_f32(NULL, within, 2, r, c, out.values, s));
        CALM(tersor_mask_decay_bf16(NULL, within, 2, r, c, 0.5f, out.halves, s));
        CALM(tersor_prune_magnitude(NULL, src, r, c, s, NULL, 0, NULL, out.mask, 2));
        CALM(tersor_prune_magnitude(NULL, src, r, c, s, within, 2, NULL, out.mask, 2));
        CALM(tersor_prune_magnitude_nm(NULL, src, r, c, s, 2, 4, out.mask, 2));
        CALM(tersor_prune_gradient(NULL, src, r, c, s, src, s, NULL, 0, NULL, out.mask, 2));
        CALM(tersor_prune_distribution(NULL, src, r, c, s, NULL, 0, NULL, out.mask, 2));
        CALM(tersor_prune_random(NULL, src, r, c, s, 1, NULL, 0, NULL, out.mask, 2));
        tersor_prune_tensor tensor;
        memset(&tensor, 0, sizeof tensor);
        tensor.weights = tensor.gradients = src;
        tensor.rows = r;
        tensor.cols = c;
        tensor.stride = tensor.gradients_stride = s;
        tensor.mask = out.mask;
        tensor.mask_bytes = 2;
        CALM(tersor_prune_magnitude_tensors(NULL, &tensor, 1, NULL));
        CALM(tersor_prune_gradient_tensors(NULL, &tensor, 1, NULL));
        CALM(tersor_quantize_i8(NULL, src, r, c, s, NULL, out.codes, s, out.scales, out.zeros));
        CALM(tersor_choose_params_u8(NULL, src, r, c, s, NULL, out.scales, out.zeros));
        if (r == 0) CALM(tersor_quantize_u8_per_channel(NULL, src, r, c, s, NULL, out.ucodes, s, out.scales, out.zeros));
        CALM(tersor_quantize_i8_with_params(NULL, src, r, c, s, &one, NULL, 1, NULL, out.codes, s));
        CALM(tersor_dequantize_u8(NULL, within, r, c, s, &one, NULL, 1, NULL, out.values, s));
        CALM(tersor_fake_quantize_i8(NULL, src, r, c, s, &one, NULL, 1, NULL, out.values, s));
        CALM(tersor_fake_quantize_backward_u8(NULL, src, r, c, s, src, s, &one, NULL, 1, NULL, out.values, s));
        /* No more channels than there are scales, which is for the caller to know. */
        const size_t channels = c < 2 ? c : 2;
        CALM(tersor_quantize_i8_along_axis(NULL, src, r, channels, s, NULL, out.codes, out.scales, out.zeros));
        CALM(tersor_quantize_u8_along_axis_with_params(NULL, src, r, channels, s, ones, NULL, NULL, out.ucodes));
        CALM(tersor_dequantize_i8_along_axis(NULL, (const int8_t *)within, s, channels, r, ones, NULL, out.values));
        CALM(tersor_fake_quantize_i8_along_axis(NULL, src, s, channels, r, ones, NULL, NULL, out.values));
        CALM(tersor_fake_quantize_backward_u8_along_axis(NULL, src, src, r, channels, s, ones, NULL, NULL, out.values));
        CALM(tersor_min_max_observe(NULL, src, r, channels, s, out.values, out.scales));
        CALM(tersor_observer_observe(NULL, src, r, c, s, &out.observer));
        CALM(tersor_pack_f32(NULL, src, r, c, s, NULL, 0, out.packed, 1));
        CALM(tersor_pack_i8(NULL, (const int8_t *)within, r, c, s, NULL, NULL, 0, out.packed, 1));
        CALM(tersor_pack_int4(NULL, (const int8_t *)within, r, c, s, 32, src, NULL, out.packed, 1));
        CALM(tersor_pack_sparse_f32(NULL, src, r, c, s, NULL, 0, out.packed, 1));
        CALM(tersor_pack_sparse_i8(NULL, (const int8_t *)within, r, c, s, NULL, 0, NULL, 0, out.packed, 1));
        CALM(tersor_matmul_f32(NULL, src, r, c, s, src, 0, 0, out.values, 0));
        CALM(tersor_matmul_f32(NULL, src, 0, c, s, src, 0, 0, out.values, 0));
        /* Sizes are written where there is one, which is not the same for every shape. */
        size_t bytes = 0;
        before = out;
        CALM(tersor_pack_f32_size(NULL, r, c, &bytes));
        CALM(tersor_pack_u8_size(NULL, r, c, NULL, 0, &bytes));
        CALM(tersor_pack_int4_size(NULL, r, c, c, NULL, &bytes));
        CALM(tersor_pack_sparse_f32_size(NULL, src, r, c, s, NULL, 0, &bytes));
        CALM(tersor_pack_sparse_i8_size(NULL, (const int8_t *)within, r, c, s, NULL, 0, &bytes));
    }

    /* A layer without inputs gives its bias; with an input of more rows than memory holds, a refusal. */
    size_t bytes, scratch_bytes = 7;
    const float bias[2] = {3, 4};
    OK(tersor_pack_f32_size(NULL, 2, 0, &bytes));
    void *packed = guarded(bytes);
    OK(tersor_pack_f32(NULL, NULL, 2, 0, 0, NULL, 0, packed, bytes));
    OK(tersor_packed_set_bias(bias, 2, packed, bytes));
    OK(tersor_linear_forward_size(NULL, packed, bytes, 1, &scratch_bytes));
    void *scratch = guarded(scratch_bytes);
    OK(tersor_linear_forward_f32(NULL, NULL, 1, 0, packed, bytes, scratch, scratch_bytes, out.values, 2));
    CHECK(out.values[0] == 3 && out.values[1] == 4);
    REFUSED(TERSOR_E_SIZE_OVERFLOW, "y", out,
            tersor_linear_forward_f32(NULL, NULL, SIZE_MAX / 4, 0, packed, bytes, scratch, scratch_bytes, out.values, 2));
    release(scratch);
    release(packed);
}
