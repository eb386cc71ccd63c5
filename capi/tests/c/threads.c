/* One context, used by several threads at the same time: each gets the bytes of the serial run, and its own message. */
#include "check.h"

#include <pthread.h>

enum { THREADS = 8, ROUNDS = 20, ROWS = 64, COLS = 1031 };

static const tersor_context *shared;
static float values[ROWS * COLS];
static int8_t expected[ROWS * COLS];
static float expected_scales[ROWS];

static void *hammer(void *argument) {
    int8_t *codes = ARRAY(int8_t, ROWS * COLS);
    float scales[ROWS];
    char message[256];
    size_t number = *(const size_t *)argument, count;
    for (int round = 0; round < ROUNDS; round++) {
        memset(codes, 0, ROWS * COLS);
        OK(tersor_quantize_i8_per_channel(shared, values, ROWS, COLS, COLS, NULL, codes, COLS, scales, NULL));
        CHECK(memcmp(codes, expected, sizeof expected) == 0);
        CHECK(memcmp(scales, expected_scales, sizeof scales) == 0);
        uint8_t mask = 0;
        CHECK(tersor_mask_count(&mask, 0, number + 1, &count) == TERSOR_E_LENGTH);
        tersor_last_error(message, sizeof message);
        char wanted[64];
        snprintf(wanted, sizeof wanted, "each of %d weights", (int)number + 1);
        CHECK(strstr(message, wanted) != NULL);
    }
    release(codes);
    return NULL;
}

void test_threads(void) {
    for (size_t i = 0; i < ROWS * COLS; i++) values[i] = sinf((float)i) * (float)(1 + i % 17);
    OK(tersor_quantize_i8_per_channel(NULL, values, ROWS, COLS, COLS, NULL, expected, COLS, expected_scales, NULL));
    tersor_context_options options;
    OK(tersor_context_options_init(&options, sizeof options));
    options.threads = 3;
    tersor_context *context;
    OK(tersor_context_create(&options, &context));
    shared = context;
    pthread_t threads[THREADS];
    size_t numbers[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, hammer, &numbers[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    tersor_context_destroy(context);
}
