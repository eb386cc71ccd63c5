/* Calibrates the machine that it runs on, with a context's threads and instruction set, and predicts from that. */
#include "tersor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            char message_[512];                                                                                        \
            tersor_last_error(message_, sizeof message_);                                                              \
            fprintf(stderr, "%s:%d: %s is not so; the last message is: %s\n", __FILE__, __LINE__, #condition,          \
                    message_);                                                                                         \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

enum { OUTPUTS = 512, INPUTS = 512, ROWS = 64 };

static tersor_calibration *measured(const char *isa, uint32_t threads) {
    tersor_context_options options;
    CHECK(tersor_context_options_init(&options, sizeof options) == TERSOR_OK);
    options.isa = isa;
    options.threads = threads;
    tersor_context *context = NULL;
    CHECK(tersor_context_create(&options, &context) == TERSOR_OK);
    const char *expected = NULL, *found = NULL;
    size_t most = 0;
    CHECK(tersor_context_isa(context, &expected) == TERSOR_OK);
    tersor_calibration *calibration = NULL;
    CHECK(tersor_calibration_measure(context, &calibration) == TERSOR_OK && calibration != NULL);
    CHECK(tersor_calibration_isa(calibration, &found) == TERSOR_OK && strcmp(found, expected) == 0);
    CHECK(tersor_calibration_max_threads(calibration, &most) == TERSOR_OK && most == threads);
    /* It needs the context no longer. */
    tersor_context_destroy(context);
    return calibration;
}

static double seconds(const tersor_calibration *calibration, tersor_format format, size_t rows, size_t threads) {
    tersor_workload workload;
    tersor_prediction prediction;
    CHECK(tersor_workload_init(&workload, sizeof workload, format, OUTPUTS, INPUTS) == TERSOR_OK);
    workload.m = rows;
    workload.threads = threads;
    CHECK(tersor_calibration_predict(calibration, &workload, &prediction) == TERSOR_OK);
    /* A product takes a picosecond at least, and a microsecond at most on whatever is slow. */
    const double products = (double)rows * OUTPUTS * INPUTS;
    CHECK(prediction.seconds > 1e-12 * products / 256 && prediction.seconds < 1e-6 * products);
    return prediction.seconds;
}

int main(void) {
    tersor_calibration *one = measured(NULL, 1), *two = measured(NULL, 2), *plain = measured("scalar", 1);
    for (tersor_format format = TERSOR_FORMAT_F32; format <= TERSOR_FORMAT_BF16_DOT; format++) {
        /* Measured, not made up: so many rows take longer than one. How much threads gain is up to whoever else runs here. */
        CHECK(seconds(one, format, ROWS, 1) > seconds(one, format, 1, 1));
        CHECK(seconds(two, format, ROWS, 2) > 0);
    }

    /* As text, and back. */
    size_t length = 0, again = 0;
    CHECK(tersor_calibration_text(two, NULL, 0, &length) == TERSOR_OK);
    char *text = malloc(length + 1), *same = malloc(length + 1);
    CHECK(text != NULL && same != NULL);
    CHECK(tersor_calibration_text(two, text, length + 1, &again) == TERSOR_OK && again == length);
    tersor_calibration *read = NULL, *merged = NULL;
    CHECK(tersor_calibration_from_text(text, &read) == TERSOR_OK);
    CHECK(tersor_calibration_text(read, same, length + 1, &again) == TERSOR_OK && strcmp(text, same) == 0);

    /* Another second of the same machine joins it; another instruction set does not. */
    tersor_calibration *second = measured(NULL, 2);
    CHECK(tersor_calibration_merge(two, second, &merged) == TERSOR_OK);
    CHECK(seconds(merged, TERSOR_FORMAT_I8, ROWS, 1) <= 1.01 * seconds(two, TERSOR_FORMAT_I8, ROWS, 1));
    tersor_calibration *none = NULL;
    CHECK(tersor_calibration_merge(two, one, &none) == TERSOR_E_OUT_OF_RANGE && none == NULL);
    const char *isa = NULL;
    CHECK(tersor_calibration_isa(plain, &isa) == TERSOR_OK && strcmp(isa, "scalar") == 0);

    tersor_calibration *all[] = {one, two, plain, read, merged, second};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) tersor_calibration_destroy(all[i]);
    free(text);
    free(same);
    puts("ok");
    return 0;
}
