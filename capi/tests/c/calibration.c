/* The cost model, with a calibration that was measured once. */
#include "check.h"

static tersor_calibration *saved(void) {
    FILE *file = fopen(CALIBRATION, "rb");
    CHECK(file != NULL);
    char *text = (char *)guarded(1 << 17);
    const size_t length = fread(text, 1, (1 << 17) - 1, file);
    CHECK(length > 0 && length < (1 << 17) - 1 && fclose(file) == 0);
    text[length] = '\0';
    tersor_calibration *calibration = NULL;
    OK(tersor_calibration_from_text(text, &calibration));

    /* A damaged line is named. */
    tersor_calibration *nothing = NULL;
    char *isa = strstr(text, "\nisa ");
    CHECK(isa != NULL);
    isa[1] = 'x';
    REFUSED(TERSOR_E_LAYOUT, "\"xsa ", nothing, tersor_calibration_from_text(text, &nothing));
    REFUSED(TERSOR_E_LAYOUT, "text: ", nothing, tersor_calibration_from_text("", &nothing));
    REFUSED(TERSOR_E_LAYOUT, "text: line 1 is \"garbage\"", nothing, tersor_calibration_from_text("garbage", &nothing));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "no text from byte 0 on, but must be UTF-8", nothing, tersor_calibration_from_text("\xff", &nothing));
    release(text);
    return calibration;
}

static void test_text(const tersor_calibration *calibration) {
    size_t length = 0, again = 0, threads = 0;
    OK(tersor_calibration_text(calibration, NULL, 0, &length));
    char *text = ARRAY(char, length + 1), few[8];
    OK(tersor_calibration_text(calibration, text, length + 1, &again));
    CHECK(again == length && strlen(text) == length);
    OK(tersor_calibration_text(calibration, few, sizeof few, &again));
    CHECK(again == length && strcmp(few, "tersor-") == 0);
    tersor_calibration *read = NULL, *merged = NULL, *other = NULL;
    OK(tersor_calibration_from_text(text, &read));
    OK(tersor_calibration_merge(calibration, read, &merged));
    char *same = ARRAY(char, length + 1);
    OK(tersor_calibration_text(merged, same, length + 1, &again));
    CHECK(strcmp(same, text) == 0);
    const char *isa = NULL;
    OK(tersor_calibration_isa(merged, &isa));
    OK(tersor_calibration_max_threads(merged, &threads));
    CHECK(strcmp(isa, "avx512") == 0 && threads == 2);

    char *name = strstr(text, "isa avx512");
    CHECK(name != NULL);
    memcpy(name, "isa scalar", 10);
    OK(tersor_calibration_from_text(text, &other));
    tersor_calibration *none = NULL;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "isa is scalar", none, tersor_calibration_merge(merged, other, &none));
    tersor_calibration_destroy(other);
    tersor_calibration_destroy(merged);
    tersor_calibration_destroy(read);
    release(same);
    release(text);
}

static void test_predictions(const tersor_calibration *calibration) {
    tersor_workload dense, sparse, of;
    tersor_prediction one, many, all[8];
    OK(tersor_workload_init(&dense, sizeof dense, TERSOR_FORMAT_I8, 512, 256));
    CHECK(dense.m == 1 && dense.n == 512 && dense.k == 256 && dense.threads == 1 && dense.group_size == 128);
    CHECK(dense.sparsity == 0 && dense.block_outputs == 1 && dense.block_inputs == 1 && dense.zero_points == 0);
    OK(tersor_calibration_predict(calibration, &dense, &one));
    dense.m = 64;
    OK(tersor_calibration_predict(calibration, &dense, &many));
    CHECK(one.format == TERSOR_FORMAT_I8 && one.bytes == many.bytes);
    CHECK(one.seconds > 0 && one.seconds < many.seconds && many.seconds < 1);
    size_t bytes = 0;
    OK(tersor_pack_i8_size(NULL, 512, 256, NULL, 0, &bytes));
    CHECK(one.bytes == bytes);

    OK(tersor_workload_init(&sparse, sizeof sparse, TERSOR_FORMAT_SPARSE_I8, 512, 256));
    CHECK(sparse.block_outputs == 16 && sparse.block_inputs == 4);
    sparse.m = 64;
    double from = -1;
    OK(tersor_calibration_pays_from(calibration, &dense, &sparse, &from));
    CHECK(from > 0 && from < 1);
    sparse.sparsity = from + (1 - from) / 2;
    OK(tersor_calibration_predict(calibration, &sparse, &one));
    CHECK(one.seconds < many.seconds);
    /* A layer of 64 times as many weights pays only with next to none of them left, and the small one against it at once. */
    sparse.n *= 8, sparse.k *= 8;
    OK(tersor_calibration_pays_from(calibration, &dense, &sparse, &from));
    CHECK(from > 0.9);
    OK(tersor_calibration_pays_from(calibration, &sparse, &dense, &from));
    CHECK(from == 0);
    dense.m = 6400;
    OK(tersor_calibration_pays_from(calibration, &sparse, &dense, &from));
    CHECK(from == 2);
    dense.m = 64;

    size_t count = 0;
    OK(tersor_calibration_compare(calibration, &dense, NULL, 0, &count));
    CHECK(count == 8);
    memset(all, 0, sizeof all);
    OK(tersor_calibration_compare(calibration, &dense, all, 3, &count));
    CHECK(count == 8 && all[2].seconds > 0 && all[3].seconds == 0);
    OK(tersor_calibration_compare(calibration, &dense, all, 8, &count));
    for (size_t i = 1; i < count; i++) CHECK(all[i - 1].seconds <= all[i].seconds);

    /* Of a layer that exists. */
    void *packed = guarded(bytes);
    int8_t *weights = ARRAY(int8_t, 512 * 256);
    memset(weights, 1, 512 * 256);
    OK(tersor_pack_i8(NULL, weights, 512, 256, 256, NULL, NULL, 1, packed, bytes));
    OK(tersor_workload_of_packed(packed, bytes, 64, &of, sizeof of));
    CHECK(memcmp(&of, &dense, sizeof of) == 0);
    REFUSED(TERSOR_E_LAYOUT, "packed", of, tersor_workload_of_packed(packed, bytes - 1, 64, &of, sizeof of));
    REFUSED(TERSOR_E_NULL, "packed is NULL", of, tersor_workload_of_packed(NULL, bytes, 64, &of, sizeof of));
    REFUSED(TERSOR_E_STRUCT_SIZE, "workload", of, tersor_workload_of_packed(packed, bytes, 64, &of, 8));
    release(weights);
    release(packed);
}

static void test_refusals(const tersor_calibration *calibration) {
    tersor_workload good, bad;
    tersor_prediction out = {0, 0, 0, 0};
    tersor_calibration *nothing = NULL;
    double from = 7;
    size_t size = 7;
    const char *name = "unchanged";
    OK(tersor_workload_init(&good, sizeof good, TERSOR_FORMAT_SPARSE_I8, 64, 64));
    bad = good;
#define BAD(field, value, status, text)                                                                                \
    bad.field = (value);                                                                                               \
    REFUSED(status, text, out, tersor_calibration_predict(calibration, &bad, &out));                                   \
    REFUSED(status, text, size, tersor_calibration_compare(calibration, &bad, NULL, 0, &size));                        \
    bad = good
    BAD(format, 0, TERSOR_E_OUT_OF_RANGE, "workload.format is 0");
    BAD(format, 9, TERSOR_E_OUT_OF_RANGE, "workload.format is 9, but must be 1 to 8");
    BAD(sparsity, -0.5, TERSOR_E_OUT_OF_RANGE, "workload.sparsity is -0.5, but must be 0 to 1");
    BAD(sparsity, 1.5, TERSOR_E_OUT_OF_RANGE, "0 to 1");
    BAD(threads, 0, TERSOR_E_OUT_OF_RANGE, "workload.threads is 0");
    BAD(threads, 3, TERSOR_E_OUT_OF_RANGE, "1 to 2");
    BAD(block_inputs, 0, TERSOR_E_OUT_OF_RANGE, "workload.block_outputs x workload.block_inputs is 16x0");
    BAD(k, 100000, TERSOR_E_OUT_OF_RANGE, "workload.k is 100000");
    BAD(n, SIZE_MAX, TERSOR_E_SIZE_OVERFLOW, "workload.n x workload.k: [");
    BAD(m, SIZE_MAX, TERSOR_E_SIZE_OVERFLOW, "workload.m x workload.k: [");
    bad.format = TERSOR_FORMAT_SPARSE_F32, bad.sparsity = 0, bad.n = 1 << 20;
    BAD(k, 65536, TERSOR_E_OUT_OF_RANGE, "workload.n x workload.k is 4294967296");
    BAD(reserved, 1, TERSOR_E_OUT_OF_RANGE, "workload.reserved is 1");
    BAD(struct_size, 4, TERSOR_E_STRUCT_SIZE, "workload.struct_size is 4");

    bad.threads = 3;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "sparse.threads is 3, but must be 1 to 2", from, tersor_calibration_pays_from(calibration, &good, &bad, &from));
    REFUSED(TERSOR_E_OUT_OF_RANGE, "dense.threads is 3", from, tersor_calibration_pays_from(calibration, &bad, &good, &from));
    bad.threads = 2, bad.sparsity = 7;
    double answer = -1;
    OK(tersor_calibration_pays_from(calibration, &good, &bad, &answer));
    CHECK(answer >= 0);

    REFUSED(TERSOR_E_OUT_OF_RANGE, "format is 9", bad, tersor_workload_init(&bad, sizeof bad, 9, 1, 1));
    REFUSED(TERSOR_E_STRUCT_SIZE, "workload", bad, tersor_workload_init(&bad, 3, TERSOR_FORMAT_F32, 1, 1));
    REFUSED(TERSOR_E_NULL, "workload", bad, tersor_workload_init(NULL, sizeof bad, TERSOR_FORMAT_F32, 1, 1));
    REFUSED(TERSOR_E_NULL, "calibration is NULL", out, tersor_calibration_predict(NULL, &good, &out));
    REFUSED(TERSOR_E_NULL, "workload is NULL", out, tersor_calibration_predict(calibration, NULL, &out));
    REFUSED(TERSOR_E_NULL, "out_prediction", out, tersor_calibration_predict(calibration, &good, NULL));
    REFUSED(TERSOR_E_NULL, "calibration is NULL", size, tersor_calibration_compare(NULL, &good, &out, 1, &size));
    REFUSED(TERSOR_E_NULL, "out_predictions", size, tersor_calibration_compare(calibration, &good, NULL, 1, &size));
    REFUSED(TERSOR_E_NULL, "out_count", out, tersor_calibration_compare(calibration, &good, &out, 1, NULL));
    REFUSED(TERSOR_E_NULL, "calibration is NULL", from, tersor_calibration_pays_from(NULL, &good, &good, &from));
    REFUSED(TERSOR_E_NULL, "dense is NULL", from, tersor_calibration_pays_from(calibration, NULL, &good, &from));
    REFUSED(TERSOR_E_NULL, "sparse is NULL", from, tersor_calibration_pays_from(calibration, &good, NULL, &from));
    REFUSED(TERSOR_E_NULL, "out_sparsity", from, tersor_calibration_pays_from(calibration, &good, &good, NULL));
    REFUSED(TERSOR_E_NULL, "text is NULL", nothing, tersor_calibration_from_text(NULL, &nothing));
    REFUSED(TERSOR_E_NULL, "out_calibration", nothing, tersor_calibration_from_text("", NULL));
    REFUSED(TERSOR_E_NULL, "out_calibration", nothing, tersor_calibration_measure(NULL, NULL));
    REFUSED(TERSOR_E_NULL, "a is NULL", nothing, tersor_calibration_merge(NULL, calibration, &nothing));
    REFUSED(TERSOR_E_NULL, "b is NULL", nothing, tersor_calibration_merge(calibration, NULL, &nothing));
    REFUSED(TERSOR_E_NULL, "out_calibration", nothing, tersor_calibration_merge(calibration, calibration, NULL));
    REFUSED(TERSOR_E_NULL, "calibration is NULL", size, tersor_calibration_text(NULL, NULL, 0, &size));
    REFUSED(TERSOR_E_NULL, "out_length", size, tersor_calibration_text(calibration, NULL, 0, NULL));
    REFUSED(TERSOR_E_NULL, "calibration is NULL", name, tersor_calibration_isa(NULL, &name));
    REFUSED(TERSOR_E_NULL, "out_name", name, tersor_calibration_isa(calibration, NULL));
    REFUSED(TERSOR_E_NULL, "calibration is NULL", size, tersor_calibration_max_threads(NULL, &size));
    REFUSED(TERSOR_E_NULL, "out_threads", size, tersor_calibration_max_threads(calibration, NULL));
    tersor_calibration_destroy(NULL);
}

void test_calibration(void) {
    tersor_calibration *calibration = saved();
    test_text(calibration);
    test_predictions(calibration);
    test_refusals(calibration);
    tersor_calibration_destroy(calibration);
}
