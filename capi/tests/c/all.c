/* Uses every function of tersor.h, and misuses it. Prints "ok" when everything was as the header says. */
#include "check.h"

#if defined(__linux__)
#include <dirent.h>
#endif

enum { GUARD = 64 };

typedef struct {
    size_t bytes;
    unsigned char *start;
} header;

void *guarded(size_t bytes) {
    header *block = (header *)malloc(sizeof(header) + bytes + 2 * GUARD + 64);
    if (block == NULL) exit(2);
    block->bytes = bytes;
    unsigned char *start = (unsigned char *)(block + 1);
    while ((size_t)start % 64 != 0) start++;
    block->start = start;
    memset(start, 0xA5, bytes + 2 * GUARD);
    /* The user's pointer comes after the guard, which ends with the way back. */
    memcpy(start + GUARD - sizeof block, &block, sizeof block);
    return start + GUARD;
}

void release(void *memory) {
    header *block;
    memcpy(&block, (unsigned char *)memory - sizeof block, sizeof block);
    for (size_t i = 0; i < GUARD - sizeof block; i++) CHECK(block->start[i] == 0xA5);
    for (size_t i = 0; i < GUARD; i++) CHECK(block->start[GUARD + block->bytes + i] == 0xA5);
    free(block);
}

void test_status(void) {
    CHECK(tersor_version() ==
          TERSOR_VERSION_MAJOR * 1000000u + TERSOR_VERSION_MINOR * 1000u + TERSOR_VERSION_PATCH);
    CHECK(strcmp(tersor_status_name(TERSOR_OK), "TERSOR_OK") == 0);
    CHECK(strcmp(tersor_status_name(TERSOR_E_LAYOUT), "TERSOR_E_LAYOUT") == 0);
    CHECK(strcmp(tersor_status_name(-1), "unknown status") == 0);
    for (tersor_status s = TERSOR_OK; s <= TERSOR_E_OTHER; s++)
        CHECK(strncmp(tersor_status_name(s), "TERSOR_", 7) == 0);

    /* snprintf's rule. */
    size_t count = 7;
    REFUSED(TERSOR_E_NULL, "mask is NULL", count, tersor_mask_count(NULL, 1, 8, &count));
    const char *whole = "mask is NULL, but must not be";
    char buffer[64];
    CHECK(tersor_last_error(NULL, 0) == strlen(whole));
    memset(buffer, 'x', sizeof buffer);
    CHECK(tersor_last_error(buffer, 5) == strlen(whole));
    CHECK(memcmp(buffer, "mask\0x", 6) == 0);
    CHECK(tersor_last_error(buffer, 1) == strlen(whole) && buffer[0] == '\0' && buffer[1] == 'a');
    CHECK(tersor_last_error(buffer, sizeof buffer) == strlen(whole) && strcmp(buffer, whole) == 0);
    /* A call that succeeds does not change it. */
    uint8_t mask = 0xFF;
    OK(tersor_mask_count(&mask, 1, 8, &count));
    CHECK(count == 8 && tersor_last_error(NULL, 0) == strlen(whole));
}

/* How many threads this process has; 0 where nobody says. */
static size_t threads(void) {
#if defined(__linux__)
    size_t found = 0;
    DIR *directory = opendir("/proc/self/task");
    if (directory == NULL) return 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
        found += entry->d_name[0] != '.';
    closedir(directory);
    return found;
#else
    return 0;
#endif
}

static size_t loops, shares;

/* A host that runs every second share, backwards, on its only thread; the library does the rest. */
static void careless_host(void *user, size_t count, tersor_task task, const void *data) {
    CHECK(user == &loops);
    loops++;
    for (size_t i = count; i > 0; i -= i > 1 ? 2 : 1) {
        task(data, i - 1);
        shares++;
    }
}

void test_contexts(void) {
    enum { COUNT = 1 << 17 };
    float *src = ARRAY(float, COUNT);
    tersor_f16 *expected = ARRAY(tersor_f16, COUNT), *found = ARRAY(tersor_f16, COUNT);
    for (size_t i = 0; i < COUNT; i++) src[i] = (float)i / 7.0f - 3000.0f;
    size_t alone = threads();
    OK(tersor_cast_f32_to_f16(NULL, src, COUNT, expected));
    CHECK(threads() == alone);
    CHECK(tersor_context_threads(NULL) == 1);

    const char *name = NULL;
    CHECK(strcmp(tersor_isa_name(0), "scalar") == 0);
    CHECK(tersor_isa_name(1000) == NULL);

    tersor_context *context = NULL;
    tersor_context_options options;
    OK(tersor_context_options_init(&options, sizeof options));
    CHECK(options.struct_size == sizeof options && options.threads == 1 && options.isa == NULL);

    /* Every instruction set gives the same bytes. */
    for (size_t i = 0; tersor_isa_name(i) != NULL; i++) {
        options.isa = tersor_isa_name(i);
        OK(tersor_context_create(&options, &context));
        OK(tersor_context_isa(context, &name));
        CHECK(strcmp(name, tersor_isa_name(i)) == 0);
        memset(found, 0, COUNT * sizeof *found);
        OK(tersor_cast_f32_to_f16(context, src, COUNT, found));
        CHECK(memcmp(found, expected, COUNT * sizeof *found) == 0);
        CHECK(tersor_context_threads(context) == 1 && threads() == alone);
        tersor_context_destroy(context);
    }
    options.isa = NULL;

    /* Threads of its own, which end with the context. */
    options.threads = 4;
    OK(tersor_context_create(&options, &context));
    CHECK(tersor_context_threads(context) == 4);
    CHECK(alone == 0 || threads() == alone + 3);
    for (int round = 0; round < 50; round++) {
        memset(found, 0, COUNT * sizeof *found);
        OK(tersor_cast_f32_to_f16(context, src, COUNT, found));
        CHECK(memcmp(found, expected, COUNT * sizeof *found) == 0);
    }
    tersor_context_destroy(context);
    CHECK(threads() == alone);

    /* The host's threads. */
    options.parallel_for = careless_host;
    options.user = &loops;
    OK(tersor_context_create(&options, &context));
    memset(found, 0, COUNT * sizeof *found);
    OK(tersor_cast_f32_to_f16(context, src, COUNT, found));
    CHECK(memcmp(found, expected, COUNT * sizeof *found) == 0);
    CHECK(loops == 1 && shares >= 2 && threads() == alone);
    tersor_context_destroy(context);
    tersor_context_destroy(NULL);

    OK(tersor_context_isa(NULL, &name));
    CHECK(name != NULL);
    OK(tersor_context_create(NULL, &context));
    tersor_context_destroy(context);

    /* Refusals. */
    context = NULL;
    OK(tersor_context_options_init(&options, sizeof options));
    REFUSED(TERSOR_E_NULL, "out_context", options, tersor_context_create(&options, NULL));
    options.isa = "altivec";
    REFUSED(TERSOR_E_ISA, "options.isa asks for the instruction set \"altivec\"", context, tersor_context_create(&options, &context));
    options.isa = NULL;
    options.threads = 1025;
    REFUSED(TERSOR_E_OUT_OF_RANGE, "options.threads is 1025", context, tersor_context_create(&options, &context));
    options.threads = 1;
    options.struct_size = 3;
    REFUSED(TERSOR_E_STRUCT_SIZE, "struct_size is 3", context, tersor_context_create(&options, &context));
    options.struct_size = 0xA5A5A5A5u;
    REFUSED(TERSOR_E_STRUCT_SIZE, "struct_size", context, tersor_context_create(&options, &context));
    REFUSED(TERSOR_E_NULL, "options", options, tersor_context_options_init(NULL, sizeof options));
    REFUSED(TERSOR_E_STRUCT_SIZE, "struct_size is 0", options, tersor_context_options_init(&options, 0));
    REFUSED(TERSOR_E_NULL, "out_name", options, tersor_context_isa(NULL, NULL));

    /* A struct of a newer header: its additional fields are cleared, and accepted as long as they stay so. */
    struct {
        tersor_context_options known;
        uint64_t newer;
    } grown;
    memset(&grown, 0xFF, sizeof grown);
    OK(tersor_context_options_init(&grown.known, sizeof grown));
    CHECK(grown.known.struct_size == sizeof grown && grown.newer == 0);
    OK(tersor_context_create(&grown.known, &context));
    tersor_context_destroy(context);
    context = NULL;
    grown.newer = 1;
    REFUSED(TERSOR_E_STRUCT_SIZE, "are set", context, tersor_context_create(&grown.known, &context));

    release(src);
    release(expected);
    release(found);
}

int main(void) {
    test_status();
    test_contexts();
    test_masks();
    test_pruning();
    test_quantization();
    test_observers();
    test_casts();
    test_training();
    test_linear();
    test_conv();
    test_calibration();
    test_threads();
    test_hostile();
    puts("ok");
    return 0;
}
