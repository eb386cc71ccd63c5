/* Shapes that no matrix has, and matrices without elements: a status and a message at once, never a panic, never a loop over
 * rows that are not there, and nothing is written. */
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

void test_hostile(void) {
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
