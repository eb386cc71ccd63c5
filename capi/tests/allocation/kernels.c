/* Linked with --wrap=malloc and its like: what runs over and over allocates nothing. Prints "ok". */
#include "../c/check.h"

static size_t allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);

void *__wrap_malloc(size_t size) { return allocations++, __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) { return allocations++, __real_calloc(count, size); }
void *__wrap_realloc(void *memory, size_t size) { return allocations++, __real_realloc(memory, size); }
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size) {
    return allocations++, __real_posix_memalign(memory, alignment, size);
}

/* Twice: the first call may ask the processor and the environment what they have. */
#define WITHOUT(call)                                                                                                  \
    do {                                                                                                               \
        OK(call);                                                                                                      \
        size_t before_ = allocations;                                                                                  \
        OK(call);                                                                                                      \
        if (allocations != before_) {                                                                                  \
            fprintf(stderr, "%s:%d: %s allocates %d times\n", __FILE__, __LINE__, #call, (int)(allocations - before_)); \
            failed = 1;                                                                                                \
        }                                                                                                              \
    } while (0)

enum { N = 70, K = 130, M = 9 };

static float w[N * K], x[M * K], y[M * N], dx[N * K];
static uint16_t w16[N * K], x16[M * K], y16[M * N];
static int8_t codes[N * K], a[M * K];
static uint8_t ucodes[N * K], mask[(N * K + 7) / 8];
static int32_t sums[M * N], zeros[K];
static int8_t y8[M * N];
static float scales[K], m1[N * K], m2[N * K];
static int failed;

static void run_layer(const void *packed, size_t bytes) {
    size_t scratch_bytes;
    OK(tersor_linear_forward_size(NULL, packed, bytes, M, &scratch_bytes));
    void *scratch = malloc(scratch_bytes + 1);
    CHECK(scratch != NULL);
    WITHOUT(tersor_linear_forward_size(NULL, packed, bytes, M, &scratch_bytes));
    WITHOUT(tersor_linear_forward_f32(NULL, x, M, K, packed, bytes, scratch, scratch_bytes, y, N));
    WITHOUT(tersor_linear_forward_f16(NULL, x16, M, K, packed, bytes, scratch, scratch_bytes, y16, N));
    WITHOUT(tersor_linear_forward_f32(NULL, x, 1, K, packed, bytes, scratch, scratch_bytes, y, N));
    if (tersor_linear_forward_i8(NULL, a, M, K, packed, bytes, scratch, scratch_bytes, y8, N) == TERSOR_OK)
        WITHOUT(tersor_linear_forward_i8(NULL, a, M, K, packed, bytes, scratch, scratch_bytes, y8, N));
    if (tersor_matmul_i8(NULL, a, M, K, NULL, 0, packed, bytes, scratch, scratch_bytes, sums, N) == TERSOR_OK)
        WITHOUT(tersor_matmul_i8(NULL, a, M, K, NULL, 0, packed, bytes, scratch, scratch_bytes, sums, N));
    free(scratch);
}

/* The rows of x as an image of 3 x 3 pixels. */
static void run_images(const void *packed, size_t bytes, const tersor_conv2d_options *options) {
    size_t scratch_bytes;
    OK(tersor_conv2d_forward_size(NULL, 1, 3, 3, packed, bytes, options, &scratch_bytes));
    void *scratch = malloc(scratch_bytes + 1);
    CHECK(scratch != NULL);
    WITHOUT(tersor_conv2d_forward_size(NULL, 1, 3, 3, packed, bytes, options, &scratch_bytes));
    WITHOUT(tersor_conv2d_forward_f32(NULL, x, 1, 3, 3, K, packed, bytes, options, scratch, scratch_bytes, y, N));
    if (tersor_conv2d_forward_i8(NULL, a, 1, 3, 3, K, packed, bytes, options, scratch, scratch_bytes, y8, N) == TERSOR_OK)
        WITHOUT(tersor_conv2d_forward_i8(NULL, a, 1, 3, 3, K, packed, bytes, options, scratch, scratch_bytes, y8, N));
    free(scratch);
}

int main(void) {
    size_t bytes;
    static unsigned char packed[1 << 17];
    for (size_t i = 0; i < N * K; i++) w[i] = sinf((float)i);
    for (size_t i = 0; i < M * K; i++) x[i] = cosf((float)i);
    void *volatile probe = malloc(1);
    free(probe);
    CHECK(allocations == 1); /* they are counted */
    OK(tersor_prune_magnitude(NULL, w, N, K, K, NULL, 0, NULL, mask, sizeof mask));
    OK(tersor_quantize_i8_per_channel(NULL, w, N, K, K, NULL, codes, K, scales, NULL));

    WITHOUT(tersor_cast_f32_to_f16(NULL, w, N * K, w16));
    WITHOUT(tersor_cast_f32_to_f16(NULL, x, M * K, x16));
    WITHOUT(tersor_cast_f16_to_f32(NULL, w16, N * K, dx));
    const size_t shape[2] = {N, K};
    static unsigned char saved[24 + 2 * 8 + sizeof mask];
    size_t sizes[2], axes;
    WITHOUT(tersor_mask_save(mask, sizeof mask, shape, 2, saved, sizeof saved));
    WITHOUT(tersor_mask_load_shape(saved, sizeof saved, 2, sizes, &axes));
    WITHOUT(tersor_mask_load(saved, sizeof saved, mask, sizeof mask));
    WITHOUT(tersor_mask_apply_f32(NULL, mask, sizeof mask, N, K, dx, K));
    WITHOUT(tersor_mask_apply_f16(NULL, mask, sizeof mask, N, K - 1, w16, K));
    WITHOUT(tersor_mask_decay_f32(NULL, mask, sizeof mask, N, K, 0.5f, dx, K));
    WITHOUT(tersor_mask_decay_f16(NULL, mask, sizeof mask, N, K - 1, 0.5f, w16, K));
    WITHOUT(tersor_quantize_i8_with_params(NULL, w, N, K, K, scales, zeros, N, NULL, codes, K));
    WITHOUT(tersor_quantize_u8_with_params(NULL, w, N, K, K, scales, zeros, N, NULL, ucodes, K));
    WITHOUT(tersor_quantize_i8_with_params(NULL, w, N, K - 1, K, scales, NULL, N, NULL, codes, K));
    WITHOUT(tersor_dequantize_i8(NULL, codes, N, K, K, scales, zeros, N, NULL, dx, K));
    WITHOUT(tersor_dequantize_i8(NULL, codes, N, K, K, scales, NULL, N, NULL, dx, K));
    WITHOUT(tersor_dequantize_u8(NULL, ucodes, N, K, K, scales, NULL, N, NULL, dx, K));
    WITHOUT(tersor_fake_quantize_i8(NULL, w, N, K, K, scales, NULL, N, NULL, dx, K));
    WITHOUT(tersor_fake_quantize_u8(NULL, w, N, K - 1, K, scales, zeros, N, NULL, dx, K));
    WITHOUT(tersor_fake_quantize_backward_i8(NULL, w, N, K, K, w, K, scales, NULL, N, NULL, dx, K));
    WITHOUT(tersor_fake_quantize_backward_u8(NULL, w, N, K - 1, K, w, K, scales, zeros, N, NULL, dx, K));
    WITHOUT(tersor_quantize_i8_along_axis_with_params(NULL, w, 10, 7, K, scales, NULL, NULL, codes));
    WITHOUT(tersor_quantize_u8_along_axis_with_params(NULL, w, K, N, 1, scales, zeros, NULL, ucodes));
    WITHOUT(tersor_dequantize_i8_along_axis(NULL, codes, 10, 7, K, scales, NULL, dx));
    WITHOUT(tersor_fake_quantize_u8_along_axis(NULL, w, 10, 7, K, scales, NULL, NULL, dx));
    WITHOUT(tersor_fake_quantize_backward_i8_along_axis(NULL, w, w, 10, 7, K, scales, zeros, NULL, dx));
    OK(tersor_quantize_i8_per_channel(NULL, w, N, K, K, NULL, codes, K, scales, NULL));

    OK(tersor_pack_f32_size(NULL, N, K, &bytes));
    CHECK(bytes <= sizeof packed);
    WITHOUT(tersor_pack_f32(NULL, w, N, K, K, NULL, 0, packed, bytes));
    run_layer(packed, bytes);
    OK(tersor_pack_f16_size(NULL, N, K, &bytes));
    WITHOUT(tersor_pack_f16(NULL, w16, N, K, K, NULL, 0, packed, bytes));
    run_layer(packed, bytes);
    OK(tersor_pack_bf16_dot_size(NULL, N, K, &bytes));
    CHECK(bytes <= sizeof packed);
    WITHOUT(tersor_pack_bf16_dot(NULL, w16, N, K, K, NULL, 0, packed, bytes));
    run_layer(packed, bytes);
    OK(tersor_pack_i8_size(NULL, N, K, NULL, 0, &bytes));
    WITHOUT(tersor_pack_i8(NULL, codes, N, K, K, scales, NULL, N, packed, bytes));
    run_layer(packed, bytes);
    WITHOUT(tersor_packed_set_bias(w, N, packed, bytes));
    OK(tersor_packed_set_input_i8(0.01f, 0, packed, bytes));
    OK(tersor_packed_set_output_i8(0.01f, 0, packed, bytes));
    WITHOUT(tersor_packed_set_clamp(0, 6, packed, bytes));
    run_layer(packed, bytes);
    run_images(packed, bytes, NULL);
    tersor_conv2d_options window;
    OK(tersor_conv2d_options_init(&window, sizeof window));
    window.window_width = 2;
    window.padding_left = 1;
    run_images(packed, bytes, &window);
    window.depthwise = 1;
    OK(tersor_pack_i8_size(NULL, N, 2, NULL, 0, &bytes));
    OK(tersor_pack_i8(NULL, codes, N, 2, K, scales, NULL, N, packed, bytes));
    OK(tersor_packed_set_input_i8(0.01f, 0, packed, bytes));
    OK(tersor_packed_set_output_i8(0.01f, 0, packed, bytes));
    run_images(packed, bytes, &window);
    OK(tersor_pack_sparse_f32_size(NULL, w, N, K, K, mask, sizeof mask, &bytes));
    OK(tersor_pack_sparse_f32(NULL, w, N, K, K, mask, sizeof mask, packed, bytes));
    run_layer(packed, bytes);
    OK(tersor_pack_sparse_i8_size(NULL, codes, N, K, K, mask, sizeof mask, &bytes));
    OK(tersor_pack_sparse_i8(NULL, codes, N, K, K, scales, N, mask, sizeof mask, packed, bytes));
    run_layer(packed, bytes);

    tersor_overflow overflow;
    tersor_loss_scaler scaler;
    OK(tersor_loss_scaler_init(TERSOR_SCALE_BOUNDED, &scaler, sizeof scaler));
    WITHOUT(tersor_loss_scaler_update(0, &scaler));
    OK(tersor_cast_f32_to_f16(NULL, w, N * K, w16));
    WITHOUT(tersor_adam_step_f16(NULL, w16, N * K, 1, 1024.0f, NULL, w, m1, m2, w16, &overflow));
    WITHOUT(tersor_sgd_step_f32(NULL, w, N * K, 1, 1.0f, NULL, dx, NULL, &overflow));
    tersor_gradient gradient;
    tersor_parameter parameter;
    memset(&gradient, 0, sizeof gradient);
    memset(&parameter, 0, sizeof parameter);
    gradient.elements = dx;
    gradient.count = parameter.count = N * K;
    parameter.master = w;
    parameter.state1 = m1;
    parameter.state2 = m2;
    parameter.mask = mask;
    parameter.mask_bytes = sizeof mask;
    WITHOUT(tersor_adamw_step_tensors(NULL, &gradient, 1, 1.0, NULL, &scaler, &parameter, &overflow, NULL));
    if (failed) return 1;
    puts("ok");
    return 0;
}
