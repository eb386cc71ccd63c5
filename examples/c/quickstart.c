#include <stdio.h>
#include <stdlib.h>
#include "tersor.h"

/* Prune half of a layer's weights, quantize the rest to int8, pack them, and run the layer. */
int main(void) {
    enum { N = 2, K = 4 }; /* outputs, inputs */
    const float weights[N * K] = {0.1f, -5.0f, 0.3f, 4.0f, -0.2f, 2.0f, 3.0f, -0.4f};
    const float bias[N] = {0.5f, -0.5f};
    const float x[K] = {1.0f, 2.0f, 3.0f, 4.0f};

    uint8_t mask[(N * K + 7) / 8]; /* a bit per weight */
    int8_t codes[N * K];
    float scales[N], y[N];
    size_t bytes = 0, scratch_bytes = 0;
    void *packed = NULL, *scratch = NULL;

    /* Of every 4 weights the 2 largest survive. NULL is the default context: this thread, the best instructions. */
    tersor_status s = tersor_prune_magnitude_nm(NULL, weights, N, K, K, 2, 4, mask, sizeof mask);
    /* A scale for each row; symmetric, so no zero points. */
    if (!s) s = tersor_quantize_i8_per_channel(NULL, weights, N, K, K, NULL, codes, K, scales, NULL);
    /* Every buffer is the caller's: ask for the size, then pack. */
    if (!s) s = tersor_pack_sparse_i8_size(NULL, codes, N, K, K, mask, sizeof mask, &bytes);
    if (!s && !(packed = malloc(bytes))) return 2;
    if (!s) s = tersor_pack_sparse_i8(NULL, codes, N, K, K, scales, N, mask, sizeof mask, packed, bytes);
    if (!s) s = tersor_packed_set_bias(bias, N, packed, bytes);
    if (!s) s = tersor_linear_forward_size(NULL, packed, bytes, 1, &scratch_bytes);
    if (!s && !(scratch = malloc(scratch_bytes + 1))) return 2;
    if (!s) s = tersor_linear_forward_f32(NULL, x, 1, K, packed, bytes, scratch, scratch_bytes, y, N);

    if (s) { /* the message names the argument, its value and the limit */
        char message[256];
        tersor_last_error(message, sizeof message);
        fprintf(stderr, "%s: %s\n", tersor_status_name(s), message);
    } else {
        printf("%.1f %.1f\n", y[0], y[1]); /* 6.6 12.5; in f32 6.5 12.5 */
    }
    free(packed);
    free(scratch);
    return s != TERSOR_OK;
}
