/* Checks of the C test program. A failure says where and ends the program: it is a test, and the first failure counts. */
#ifndef CHECK_H
#define CHECK_H

#include "tersor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s is not so\n", __FILE__, __LINE__, #condition);                                  \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The call succeeds. */
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        tersor_status status_ = (call);                                                                                \
        if (status_ != TERSOR_OK) {                                                                                    \
            char message_[512];                                                                                        \
            tersor_last_error(message_, sizeof message_);                                                              \
            fprintf(stderr, "%s:%d: %s gives %s: %s\n", __FILE__, __LINE__, #call, tersor_status_name(status_),        \
                    message_);                                                                                         \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The call is refused with that status, the message contains that text, and the output (an array or a struct, not a
 * pointer) has not changed. */
#define REFUSED(expected, text, output, call)                                                                          \
    do {                                                                                                               \
        void *before_ = malloc(sizeof(output));                                                                        \
        CHECK(before_ != NULL);                                                                                        \
        memcpy(before_, &(output), sizeof(output));                                                                    \
        tersor_status status_ = (call);                                                                                \
        char message_[512];                                                                                            \
        tersor_last_error(message_, sizeof message_);                                                                  \
        if (status_ != (expected) || strstr(message_, (text)) == NULL) {                                               \
            fprintf(stderr, "%s:%d: %s gives %s: %s\n", __FILE__, __LINE__, #call, tersor_status_name(status_),        \
                    message_);                                                                                         \
            exit(1);                                                                                                   \
        }                                                                                                              \
        CHECK(memcmp(before_, &(output), sizeof(output)) == 0);                                                        \
        free(before_);                                                                                                 \
    } while (0)

/* `count` elements between guard bytes that nobody may touch. Ends the program when memory ends. */
void *guarded(size_t bytes);
/* Checks the guard bytes, and frees. */
void release(void *memory);

#define ARRAY(type, count) ((type *)guarded((count) * sizeof(type)))

void test_status(void);
void test_contexts(void);
void test_masks(void);
void test_pruning(void);
void test_quantization(void);
void test_observers(void);
void test_casts(void);
void test_training(void);
void test_linear(void);
void test_conv(void);
void test_calibration(void);
void test_threads(void);
void test_hostile(void);

#endif
