/* tersor: neural networks smaller and faster on CPUs. The C API.
 *
 * Generated from capi/src by `TERSOR_BLESS=1 cargo test -p tersor-capi --test header`; do not edit.
 *
 * Conventions. What they say holds for every function, and is not repeated there:
 *
 * - Names. Functions are tersor_verb_noun[_type], types tersor_x, constants TERSOR_X.
 * - Status. Every function that can fail returns a tersor_status: TERSOR_OK, which is 0, or TERSOR_E_*. Then
 *   tersor_last_error() has a message that names the argument, its value and the limit. A comment lists the statuses that
 *   say something about that function; any function can also return TERSOR_E_NULL, TERSOR_E_ALIGNMENT and
 *   TERSOR_E_SIZE_OVERFLOW for a pointer or a size that cannot be, TERSOR_E_PANIC, which is a bug in tersor, and, when it
 *   runs without a context, TERSOR_E_ISA, where the environment variable TERSOR_ISA names an instruction set that does not
 *   exist or that this machine lacks.
 * - Outputs are written only on success: when a function fails, nothing has changed (except after TERSOR_E_PANIC).
 * - Order of arguments. Context; inputs (pointer, sizes, stride); options; outputs.
 * - NULL. Where a comment does not allow NULL, it is TERSOR_E_NULL. A length of 0 makes its pointer ignored. A NULL
 *   context runs on the calling thread, with the best instruction set of the machine. NULL options are the defaults.
 * - Memory. The caller owns every buffer. No pointer is kept after the call (except those of a context). Exactly the
 *   described bytes are touched, never one beyond. A typed pointer has the alignment of its type, a void pointer any.
 *   Casts, masks, quantizing with given parameters, dequantizing, fake quantization, running packed layers and training
 *   steps allocate nothing; other functions may, and free it again.
 * - Shapes. Matrices are row-major: row i begins at pointer + i * stride. Strides are in elements, and at least the
 *   number of columns (of channels, for images). What lies between the rows is not touched.
 * - Aliasing. An output overlaps no other argument, except where a comment says that it may.
 * - Masks are a bit per weight: 1 survives, 0 is pruned. Bit i belongs to the weight with row-major index i (rows * cols
 *   bits, whatever the stride), and is bit i % 8, from the least significant, of byte i / 8. A mask of n weights takes
 *   (n + 7) / 8 bytes; unused bits of the last byte are written as 0 and ignored when read. The argument mask_bytes,
 *   which follows every mask, is the size of the buffer and at least that.
 * - 16-bit floats are passed as their bits: tersor_f16 (IEEE binary16) and tersor_bf16 (the upper half of a binary32).
 * - Options begin with struct_size. Fill them with tersor_x_init(&x, sizeof x), then change fields. Fields are only
 *   appended, and programs that were compiled with an older header keep working. A field called reserved is 0.
 * - Threads. No thread is started unless a context asks for it. A const tersor_context may be used by any number of
 *   threads at the same time, and any function may be called on any thread.
 * - Process. What the machine has is found out once. On Linux with AMX that asks for the use of its registers
 *   (arch_prctl), after which sigaltstack refuses stacks of less than AT_MINSIGSTKSZ, some 12 KiB. Where that may not
 *   be, set TERSOR_ISA to another instruction set, such as avx512, and do not call tersor_isa_name, which finds out all.
 * - Reproducibility. Integer results, masks, 16-bit conversions and optimizer updates are the same bits on every
 *   instruction set and at any number of threads.
 */

#ifndef TERSOR_H
#define TERSOR_H

#include <stddef.h>
#include <stdint.h>

/* Define TERSOR_SHARED where a program links the DLL; elsewhere it changes nothing. */
#ifndef TERSOR_API
#if defined(_WIN32) && defined(TERSOR_SHARED)
#define TERSOR_API __declspec(dllimport)
#else
#define TERSOR_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ============================================================================================================
 * Version. Functions and types of a minor version stay; each comment says since when it is there.
 * ============================================================================================================ */

/**
 * The major version of this header. Since 0.1.
 */
#define TERSOR_VERSION_MAJOR 0

/**
 * The minor version of this header. Since 0.1.
 */
#define TERSOR_VERSION_MINOR 1

/**
 * The patch version of this header. Since 0.1.
 */
#define TERSOR_VERSION_PATCH 0

/**
 * The version of the library that is linked: `major * 1000000 + minor * 1000 + patch`.
 *
 * It differs from the header's constants when a program was compiled with another version's header.
 *
 * Since 0.1.
 */
TERSOR_API
uint32_t tersor_version(void);

/* ============================================================================================================
 * Status codes. Every function that can fail returns one; 0 is success. When it is not 0, no output was written, and
 * `tersor_last_error` says which argument was refused, its value, and the limit that it broke.
 * ============================================================================================================ */

/**
 * The outcome of a call: `TERSOR_OK` or one of `TERSOR_E_*`. Numbers are never reused.
 *
 * Since 0.1.
 */
typedef int32_t tersor_status;

/**
 * Success. Since 0.1.
 */
#define TERSOR_OK 0

/**
 * A pointer is NULL where the function's comment does not allow it. Since 0.1.
 */
#define TERSOR_E_NULL 1

/**
 * An array has another shape than the call needs. Since 0.1.
 */
#define TERSOR_E_SHAPE 2

/**
 * A buffer has another length than the call needs. Since 0.1.
 */
#define TERSOR_E_LENGTH 3

/**
 * An array that must hold something is empty. Since 0.1.
 */
#define TERSOR_E_EMPTY 4

/**
 * A NaN or an infinity where only finite numbers make sense. Since 0.1.
 */
#define TERSOR_E_NOT_FINITE 5

/**
 * A number is outside of what it may be. Since 0.1.
 */
#define TERSOR_E_OUT_OF_RANGE 6

/**
 * Sizes whose product does not fit into memory. Since 0.1.
 */
#define TERSOR_E_SIZE_OVERFLOW 7

/**
 * A combination that has a meaning, but that the function cannot do. Since 0.1.
 */
#define TERSOR_E_UNSUPPORTED 8

/**
 * Bytes that do not hold what they should: foreign, truncated, damaged, or written by another version. Since 0.1.
 */
#define TERSOR_E_LAYOUT 9

/**
 * An instruction set was asked for that does not exist or that this machine lacks. Since 0.1.
 */
#define TERSOR_E_ISA 10

/**
 * A pointer is not aligned for its type. Since 0.1.
 */
#define TERSOR_E_ALIGNMENT 11

/**
 * The `struct_size` of an options struct is not one that this version knows; call its `_init` function first.
 * Since 0.1.
 */
#define TERSOR_E_STRUCT_SIZE 12

/**
 * The system refused to start a thread. Since 0.1.
 */
#define TERSOR_E_THREAD 13

/**
 * A bug in tersor. The call's outputs are undefined; nothing else is. Since 0.1.
 */
#define TERSOR_E_PANIC 14

/**
 * A reason that has no number in this version. Since 0.1.
 */
#define TERSOR_E_OTHER 15

/**
 * The name of a status, for instance `"TERSOR_E_NULL"`; `"unknown status"` for a number that is none. Never NULL; do
 * not free it.
 *
 * Since 0.1.
 */
TERSOR_API
const char *tersor_status_name(tersor_status status);

/**
 * The message of the calling thread's last call that failed; empty when none has. Calls that succeed do not change it.
 *
 * Works as `snprintf` does: at most `capacity` bytes are written, always with a terminating 0, and the length of the
 * whole message (UTF-8, without the 0) is returned, so that `tersor_last_error(NULL, 0)` asks for it.
 *
 * Since 0.1.
 */
TERSOR_API
size_t tersor_last_error(char *buffer,
                         size_t capacity);

/* ============================================================================================================
 * Context: which instruction set runs a call, and on whose threads. NULL is a context too: the best instruction set of
 * the machine (or the one that the environment variable `TERSOR_ISA` names), on the calling thread alone.
 * ============================================================================================================ */

/**
 * The instruction set and the threads that calls use. Any number of threads may use one at the same time.
 *
 * Since 0.1.
 */
typedef struct tersor_context tersor_context;

/**
 * One share of a call's work, which a host's `parallel_for` runs: `task(data, index)`.
 *
 * Since 0.1.
 */
typedef void (*tersor_task)(const void *data,
                            size_t index);

/**
 * A host's loop: calls `task(data, i)` for each `i` below `count`, in any order, on any threads, and returns when all
 * these calls have returned. It may make fewer calls than asked (the calling thread does the rest). No call may be made
 * after it returned, and it must not throw. Threads that use a context at the same time call it at the same time.
 *
 * Since 0.1.
 */
typedef void (*tersor_parallel_for)(void *user,
                                    size_t count,
                                    tersor_task task,
                                    const void *data);

/**
 * What a context is made of. Fill it with `tersor_context_options_init`, then change fields.
 *
 * Since 0.1.
 */
typedef struct tersor_context_options {
    /**
     * The size of this struct, set by `tersor_context_options_init`.
     */
    uint32_t struct_size;
    /**
     * How many threads work on a call, the calling one included. Without `parallel_for`: 0 and 1 mean the calling
     * thread alone, N that N - 1 threads are started, which `tersor_context_destroy` joins. With it: how many shares
     * the host's threads can run at the same time. At most 1024. Default 1.
     */
    uint32_t threads;
    /**
     * The name of an instruction set (see `tersor_isa_name`), or NULL for the best. Default NULL.
     */
    const char *isa;
    /**
     * The host's loop, or NULL. Default NULL.
     */
    tersor_parallel_for parallel_for;
    /**
     * Passed to `parallel_for`. Default NULL.
     */
    void *user;
} tersor_context_options;

/**
 * Fills `options` with the defaults.
 *
 * @param options      the struct to fill
 * @param struct_size  `sizeof *options`
 * @return `TERSOR_E_NULL`, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_context_options_init(struct tersor_context_options *options,
                                          size_t struct_size);

/**
 * Makes a context. Nothing of `options` is kept but `parallel_for` and `user`.
 *
 * @param options      NULL means the defaults: no threads, the best instruction set
 * @param out_context  receives the context; pass it to `tersor_context_destroy` at the end
 * @return `TERSOR_E_NULL`, `TERSOR_E_STRUCT_SIZE`, `TERSOR_E_OUT_OF_RANGE` (too many threads), `TERSOR_E_ISA`,
 *         `TERSOR_E_THREAD`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_context_create(const struct tersor_context_options *options,
                                    struct tersor_context **out_context);

/**
 * Joins the context's own threads and frees it. No call may be using it. NULL is fine.
 *
 * Since 0.1.
 */
TERSOR_API
void tersor_context_destroy(struct tersor_context *context);

/**
 * How many threads work on a call with this context, the calling one included. 1 for NULL.
 *
 * Since 0.1.
 */
TERSOR_API
size_t tersor_context_threads(const struct tersor_context *context);

/**
 * The name of the instruction set that calls with this context use.
 *
 * @param context   NULL is allowed
 * @param out_name  receives the name; never freed
 * @return `TERSOR_E_NULL`; `TERSOR_E_ISA` when the context is NULL and `TERSOR_ISA` names none of this machine's
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_context_isa(const struct tersor_context *context,
                                 const char **out_name);

/**
 * The instruction sets of this machine, from the plainest ("scalar", the reference) to the best.
 *
 * @param index  0, 1, ...
 * @return the name, or NULL past the last one; never freed
 *
 * Since 0.1.
 */
TERSOR_API
const char *tersor_isa_name(size_t index);

/* ============================================================================================================
 * Masks: a bit per weight, made by pruning, obeyed by training steps and packing. Their layout is in the conventions at
 * the top.
 * ============================================================================================================ */

/**
 * The bits of an IEEE 754 binary16. Since 0.1.
 */
typedef uint16_t tersor_f16;

/**
 * The bits of a bfloat16: the upper half of a binary32. Since 0.1.
 */
typedef uint16_t tersor_bf16;

/**
 * How many bytes a mask of `count` weights takes: (count + 7) / 8.
 *
 * Since 0.1.
 */
TERSOR_API
size_t tersor_mask_size(size_t count);

/**
 * How many weights survive.
 *
 * @param mask           a mask of `count` weights
 * @param out_survivors  receives the number of bits that are 1
 * @return `TERSOR_E_LENGTH` when `mask_bytes` is too small
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_count(const uint8_t *mask,
                                size_t mask_bytes,
                                size_t count,
                                size_t *out_survivors);

/**
 * What survives in both `a` and `b`.
 *
 * @param mask_bytes  the size of each of `a`, `b` and `out_mask`
 * @param out_mask    receives the mask. It may be `a` or `b` itself
 * @return `TERSOR_E_LENGTH` when `mask_bytes` is too small
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_and(const uint8_t *a,
                              const uint8_t *b,
                              size_t mask_bytes,
                              size_t count,
                              uint8_t *out_mask);

/**
 * What survives in `a`, in `b` or in both.
 *
 * @param mask_bytes  the size of each of `a`, `b` and `out_mask`
 * @param out_mask    receives the mask. It may be `a` or `b` itself
 * @return `TERSOR_E_LENGTH` when `mask_bytes` is too small
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_or(const uint8_t *a,
                             const uint8_t *b,
                             size_t mask_bytes,
                             size_t count,
                             uint8_t *out_mask);

/**
 * The complement: what `mask` condemns.
 *
 * @param mask_bytes  the size of each of `mask` and `out_mask`
 * @param out_mask    receives the mask. It may be `mask` itself
 * @return `TERSOR_E_LENGTH` when `mask_bytes` is too small
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_not(const uint8_t *mask,
                              size_t mask_bytes,
                              size_t count,
                              uint8_t *out_mask);

/**
 * Sets every condemned value to +0, whatever it was (also NaN and infinity); survivors keep their bits.
 *
 * @param mask    a mask of `rows * cols` weights
 * @param values  weights or gradients, changed in place; row i begins at values + i * stride
 * @return `TERSOR_E_LENGTH` when `mask_bytes` is too small, `TERSOR_E_OUT_OF_RANGE` when `stride < cols`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_apply_f32(const tersor_context *context,
                                    const uint8_t *mask,
                                    size_t mask_bytes,
                                    size_t rows,
                                    size_t cols,
                                    float *values,
                                    size_t stride);

/**
 * As `tersor_mask_apply_f32`, for f16 values.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_apply_f16(const tersor_context *context,
                                    const uint8_t *mask,
                                    size_t mask_bytes,
                                    size_t rows,
                                    size_t cols,
                                    tersor_f16 *values,
                                    size_t stride);

/**
 * As `tersor_mask_apply_f32`, for bf16 values.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_apply_bf16(const tersor_context *context,
                                     const uint8_t *mask,
                                     size_t mask_bytes,
                                     size_t rows,
                                     size_t cols,
                                     tersor_bf16 *values,
                                     size_t stride);

/**
 * Soft pruning: multiplies every condemned value by `factor` (one minus learning rate times weight decay, say);
 * survivors keep their bits. A factor of 0 is `tersor_mask_apply_f32`.
 *
 * @param mask    a mask of `rows * cols` weights
 * @param factor  0 to 1
 * @param values  weights, changed in place
 * @return `TERSOR_E_LENGTH` when `mask_bytes` is too small, `TERSOR_E_OUT_OF_RANGE` for the factor or the stride
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_decay_f32(const tersor_context *context,
                                    const uint8_t *mask,
                                    size_t mask_bytes,
                                    size_t rows,
                                    size_t cols,
                                    float factor,
                                    float *values,
                                    size_t stride);

/**
 * As `tersor_mask_decay_f32`, for f16 values. The product is computed in f32 and rounded once.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_decay_f16(const tersor_context *context,
                                    const uint8_t *mask,
                                    size_t mask_bytes,
                                    size_t rows,
                                    size_t cols,
                                    float factor,
                                    tersor_f16 *values,
                                    size_t stride);

/**
 * As `tersor_mask_decay_f32`, for bf16 values. The product is computed in f32 and rounded once.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_decay_bf16(const tersor_context *context,
                                     const uint8_t *mask,
                                     size_t mask_bytes,
                                     size_t rows,
                                     size_t cols,
                                     float factor,
                                     tersor_bf16 *values,
                                     size_t stride);

/**
 * How many bytes a mask is saved in: a header with the shape, then the bits.
 *
 * @param shape      `axes` sizes, of which the weights' number is the product
 * @param axes       0 to 64
 * @param out_bytes  receives the size
 * @return `TERSOR_E_OUT_OF_RANGE` for `axes`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_save_size(const size_t *shape,
                                    size_t axes,
                                    size_t *out_bytes);

/**
 * Saves a mask with its shape, as bytes that are the same on every machine.
 *
 * @param mask         a mask of as many weights as the product of `shape`
 * @param shape        `axes` sizes; `{rows, cols}` for a matrix
 * @param axes         0 to 64
 * @param saved        receives the bytes; any alignment
 * @param saved_bytes  exactly what `tersor_mask_save_size` says
 * @return `TERSOR_E_LENGTH` for `mask_bytes` or `saved_bytes`, `TERSOR_E_OUT_OF_RANGE` for `axes`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_save(const uint8_t *mask,
                               size_t mask_bytes,
                               const size_t *shape,
                               size_t axes,
                               void *saved,
                               size_t saved_bytes);

/**
 * The shape of a saved mask. A first call with a NULL `shape` asks for the number of axes.
 *
 * @param saved     what `tersor_mask_save` wrote; any alignment
 * @param capacity  how many sizes `shape` has room for. Ignored where that is NULL
 * @param shape     receives the sizes. NULL is allowed
 * @param out_axes  receives how many they are
 * @return `TERSOR_E_LAYOUT` when the bytes are foreign, truncated, too long or damaged; `TERSOR_E_LENGTH` for `capacity`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_load_shape(const void *saved,
                                     size_t saved_bytes,
                                     size_t capacity,
                                     size_t *shape,
                                     size_t *out_axes);

/**
 * The bits of a saved mask.
 *
 * @param saved  what `tersor_mask_save` wrote; any alignment
 * @param mask   receives the mask, of as many weights as the product of the shape
 * @return `TERSOR_E_LAYOUT` when the bytes are foreign, truncated, too long or damaged; `TERSOR_E_LENGTH` when `mask_bytes`
 *         is too small
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_mask_load(const void *saved,
                               size_t saved_bytes,
                               uint8_t *mask,
                               size_t mask_bytes);

/* ============================================================================================================
 * Pruning: criterion x pattern x scope -> a mask. The function is the criterion (what makes a weight worth keeping); the
 * options say which weights live and die together, who competes with whom, and how many survive. Where scores tie, the
 * lower row-major index survives. Masks are the same on every machine.
 * ============================================================================================================ */

/**
 * Which weights live and die together: one of `TERSOR_PATTERN_*`.
 *
 * Since 0.1.
 */
typedef uint32_t tersor_pattern;

/**
 * How the scores of the weights of a block, row or column become one: one of `TERSOR_POOLING_*`.
 *
 * Since 0.1.
 */
typedef uint32_t tersor_pooling;

/**
 * Who competes with whom: one of `TERSOR_SCOPE_*`.
 *
 * Since 0.1.
 */
typedef uint32_t tersor_scope;

/**
 * How many survive: one of `TERSOR_AMOUNT_*`. What is counted are single weights, blocks, rows or columns.
 *
 * Since 0.1.
 */
typedef uint32_t tersor_amount;

/**
 * Which magnitude `tersor_prune_magnitude` means: one of `TERSOR_NORM_*`.
 *
 * Since 0.1.
 */
typedef uint32_t tersor_norm;

/**
 * How to prune. Fill it with `tersor_prune_options_init`, then change fields.
 *
 * Since 0.1.
 */
typedef struct tersor_prune_options {
    /**
     * The size of this struct, set by `tersor_prune_options_init`.
     */
    uint32_t struct_size;
    /**
     * Default `TERSOR_PATTERN_SINGLE`.
     */
    tersor_pattern pattern;
    /**
     * For blocks, rows and columns. Default `TERSOR_POOLING_MEAN`.
     */
    tersor_pooling pooling;
    /**
     * Default `TERSOR_SCOPE_ALL`.
     */
    tersor_scope scope;
    /**
     * Default `TERSOR_AMOUNT_SPARSITY`.
     */
    tersor_amount amount;
    /**
     * For `tersor_prune_magnitude` and `tersor_prune_magnitude_tensors`. Default `TERSOR_NORM_L1`.
     */
    tersor_norm norm;
    /**
     * For `TERSOR_PATTERN_N_OF_M`: 1 <= n <= m. Default 2.
     */
    uint32_t n;
    /**
     * For `TERSOR_PATTERN_N_OF_M`: at most 32. Default 4.
     */
    uint32_t m;
    /**
     * For `TERSOR_PATTERN_BLOCK`. Default 1.
     */
    size_t block_rows;
    /**
     * For `TERSOR_PATTERN_BLOCK`. Default 1.
     */
    size_t block_cols;
    /**
     * For `TERSOR_AMOUNT_SPARSITY`, `_SPARSITY_OF_LIVING` and `_TFMOT`: 0 to 1. Default 0.5.
     */
    double sparsity;
    /**
     * For `TERSOR_AMOUNT_THRESHOLD`. Default 0.
     */
    double threshold;
    /**
     * For `TERSOR_AMOUNT_SURVIVORS` and `_CONDEMNED`. Default 0.
     */
    size_t count;
} tersor_prune_options;

/**
 * One of several tensors that are pruned together.
 *
 * Since 0.1.
 */
typedef struct tersor_prune_tensor {
    /**
     * `rows` x `cols`, all finite.
     */
    const float *weights;
    /**
     * How many rows there are.
     */
    size_t rows;
    /**
     * How many columns there are.
     */
    size_t cols;
    /**
     * From row to row, in elements; at least `cols`.
     */
    size_t stride;
    /**
     * For `tersor_prune_gradient_tensors`: `rows` x `cols`. Ignored by the others.
     */
    const float *gradients;
    /**
     * From row to row of the gradients, in elements; at least `cols`. Ignored where they are.
     */
    size_t gradients_stride;
    /**
     * A mask to stay inside, or NULL for none. Either all tensors have one or none has.
     */
    const uint8_t *within;
    /**
     * The size of `within`.
     */
    size_t within_bytes;
    /**
     * Receives the mask of `rows * cols` weights.
     */
    uint8_t *mask;
    /**
     * The size of `mask`.
     */
    size_t mask_bytes;
} tersor_prune_tensor;

/**
 * Every weight for itself. Since 0.1.
 */
#define TERSOR_PATTERN_SINGLE 0

/**
 * Of every `m` consecutive weights of a row, the best `n` survive. Takes no amount, and every scope gives the same.
 * Since 0.1.
 */
#define TERSOR_PATTERN_N_OF_M 1

/**
 * Blocks of `block_rows` x `block_cols`; those at the lower and right edge are as large as what is left. Since 0.1.
 */
#define TERSOR_PATTERN_BLOCK 2

/**
 * Whole rows: the outputs of a layer. Since 0.1.
 */
#define TERSOR_PATTERN_ROWS 3

/**
 * Whole columns: the inputs of a layer. Since 0.1.
 */
#define TERSOR_PATTERN_COLUMNS 4

/**
 * Their mean. Since 0.1.
 */
#define TERSOR_POOLING_MEAN 0

/**
 * The largest. Since 0.1.
 */
#define TERSOR_POOLING_MAX 1

/**
 * All weights that are passed, over several tensors where there are several. Since 0.1.
 */
#define TERSOR_SCOPE_ALL 0

/**
 * The weights of a tensor. Since 0.1.
 */
#define TERSOR_SCOPE_TENSOR 1

/**
 * The weights of a row; for blocks, those of a row of blocks. Since 0.1.
 */
#define TERSOR_SCOPE_ROWS 2

/**
 * round(sparsity * n) of all n are condemned, those that were dead before included. Halves round to even. Since 0.1.
 */
#define TERSOR_AMOUNT_SPARSITY 0

/**
 * round(sparsity * n) of the n that are still alive are condemned: a fraction in `torch.nn.utils.prune`. Since 0.1.
 */
#define TERSOR_AMOUNT_SPARSITY_OF_LIVING 1

/**
 * Exactly `count` survive. Since 0.1.
 */
#define TERSOR_AMOUNT_SURVIVORS 2

/**
 * Exactly `count` of the living are condemned: an integer in `torch.nn.utils.prune`. Since 0.1.
 */
#define TERSOR_AMOUNT_CONDEMNED 3

/**
 * Those with a score of at least `threshold` survive, however many they are. Since 0.1.
 */
#define TERSOR_AMOUNT_THRESHOLD 4

/**
 * The rule of TensorFlow Model Optimization: max(round(n * (1 - sparsity)), 1) in f32, and all that tie with the last.
 * Since 0.1.
 */
#define TERSOR_AMOUNT_TFMOT 5

/**
 * |w|. Since 0.1.
 */
#define TERSOR_NORM_L1 0

/**
 * w * w: structures are ranked by their L2 norm; a threshold is compared with the square. Since 0.1.
 */
#define TERSOR_NORM_L2 1

/**
 * Fills `options` with the defaults: the half with the smallest magnitude is pruned.
 *
 * @param struct_size  `sizeof *options`
 * @return `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_prune_options_init(struct tersor_prune_options *options,
                                        size_t struct_size);

/**
 * By magnitude: what is smallest is condemned.
 *
 * @param weights     `rows` x `cols`, all finite
 * @param within      a mask to stay inside: what is dead there stays dead. NULL: everything lives. May not overlap `mask`
 * @param within_bytes  the size of `within`
 * @param options     NULL means the defaults
 * @param mask        receives the mask of `rows * cols` weights
 * @return `TERSOR_E_EMPTY`; `TERSOR_E_NOT_FINITE` naming the weight; `TERSOR_E_LENGTH` when a mask is too small;
 *         `TERSOR_E_OUT_OF_RANGE` for an option; `TERSOR_E_UNSUPPORTED` for a combination of options that means
 *         nothing; `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_prune_magnitude(const tersor_context *context,
                                     const float *weights,
                                     size_t rows,
                                     size_t cols,
                                     size_t stride,
                                     const uint8_t *within,
                                     size_t within_bytes,
                                     const struct tersor_prune_options *options,
                                     uint8_t *mask,
                                     size_t mask_bytes);

/**
 * By magnitude, n of every m consecutive weights of a row survive: 2 of 4 for sparse tensor cores, say. The same as
 * `tersor_prune_magnitude` with `TERSOR_PATTERN_N_OF_M`.
 *
 * @param weights  `rows` x `cols`, all finite
 * @param n        1 <= n <= m
 * @param m        at most 32; a row whose length is no multiple of m ends in a shorter group
 * @param mask     receives the mask of `rows * cols` weights
 * @return `TERSOR_E_EMPTY`, `TERSOR_E_NOT_FINITE`, `TERSOR_E_LENGTH`, `TERSOR_E_OUT_OF_RANGE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_prune_magnitude_nm(const tersor_context *context,
                                        const float *weights,
                                        size_t rows,
                                        size_t cols,
                                        size_t stride,
                                        uint32_t n,
                                        uint32_t m,
                                        uint8_t *mask,
                                        size_t mask_bytes);

/**
 * By |w * g|: how much the loss changes, to first order, when the weight becomes 0.
 *
 * @param gradients  `rows` x `cols`, of the loss with respect to `weights`
 * @return as `tersor_prune_magnitude`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_prune_gradient(const tersor_context *context,
                                    const float *weights,
                                    size_t rows,
                                    size_t cols,
                                    size_t stride,
                                    const float *gradients,
                                    size_t gradients_stride,
                                    const uint8_t *within,
                                    size_t within_bytes,
                                    const struct tersor_prune_options *options,
                                    uint8_t *mask,
                                    size_t mask_bytes);

/**
 * By distribution: how many standard deviations the weight lies from the mean of all weights. What is close to the mean
 * is condemned.
 *
 * @return as `tersor_prune_magnitude`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_prune_distribution(const tersor_context *context,
                                        const float *weights,
                                        size_t rows,
                                        size_t cols,
                                        size_t stride,
                                        const uint8_t *within,
                                        size_t within_bytes,
                                        const struct tersor_prune_options *options,
                                        uint8_t *mask,
                                        size_t mask_bytes);

/**
 * At random, reproducibly: scores depend on the seed and the index only. The baseline that a criterion should beat.
 *
 * @param seed  any number
 * @return as `tersor_prune_magnitude`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_prune_random(const tersor_context *context,
                                  const float *weights,
                                  size_t rows,
                                  size_t cols,
                                  size_t stride,
                                  uint64_t seed,
                                  const uint8_t *within,
                                  size_t within_bytes,
                                  const struct tersor_prune_options *options,
                                  uint8_t *mask,
                                  size_t mask_bytes);

/**
 * By magnitude, over several tensors: with `TERSOR_SCOPE_ALL` (the default) all their weights compete with each other.
 *
 * @param tensors       `tensor_count` tensors; their masks are written
 * @param tensor_count  how many tensors there are, at least 1
 * @param options       NULL means the defaults
 * @return as `tersor_prune_magnitude`; then no mask was written
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_prune_magnitude_tensors(const tersor_context *context,
                                             const struct tersor_prune_tensor *tensors,
                                             size_t tensor_count,
                                             const struct tersor_prune_options *options);

/**
 * As `tersor_prune_gradient`, over several tensors: see `tersor_prune_magnitude_tensors`.
 *
 * @param tensors       `tensor_count` tensors with their gradients; their masks are written
 * @param tensor_count  how many tensors there are, at least 1
 * @param options       NULL means the defaults
 * @return as `tersor_prune_magnitude`; then no mask was written
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_prune_gradient_tensors(const tersor_context *context,
                                            const struct tersor_prune_tensor *tensors,
                                            size_t tensor_count,
                                            const struct tersor_prune_options *options);

/**
 * As `tersor_prune_distribution`, over several tensors: see `tersor_prune_magnitude_tensors`. Mean and standard deviation
 * are those of the tensor that a weight is in.
 *
 * @param tensors       `tensor_count` tensors; their masks are written
 * @param tensor_count  how many tensors there are, at least 1
 * @param options       NULL means the defaults
 * @return as `tersor_prune_magnitude`; then no mask was written
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_prune_distribution_tensors(const tersor_context *context,
                                                const struct tersor_prune_tensor *tensors,
                                                size_t tensor_count,
                                                const struct tersor_prune_options *options);

/**
 * As `tersor_prune_random`, over several tensors: see `tersor_prune_magnitude_tensors`. Scores depend on the seed, the
 * place of the tensor among `tensors` and the index.
 *
 * @param tensors       `tensor_count` tensors; their masks are written
 * @param tensor_count  how many tensors there are, at least 1
 * @param seed          any number
 * @param options       NULL means the defaults
 * @return as `tersor_prune_magnitude`; then no mask was written
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_prune_random_tensors(const tersor_context *context,
                                          const struct tersor_prune_tensor *tensors,
                                          size_t tensor_count,
                                          uint64_t seed,
                                          const struct tersor_prune_options *options);

/* ============================================================================================================
 * Pruning schedules: how sparse a network should be at which training step, and at which steps its masks are made anew.
 * ============================================================================================================ */

/**
 * How the sparsity follows the steps: one of `TERSOR_CURVE_*`.
 *
 * Since 0.1.
 */
typedef uint32_t tersor_curve;

/**
 * A schedule. Fill it with `tersor_schedule_options_init`, then change fields.
 *
 * Since 0.1.
 */
typedef struct tersor_schedule_options {
    /**
     * The size of this struct, set by `tersor_schedule_options_init`.
     */
    uint32_t struct_size;
    /**
     * Default `TERSOR_CURVE_CONSTANT`.
     */
    tersor_curve curve;
    /**
     * 1: the rules of TensorFlow Model Optimization to the bit: in f32, and the end is missed when it is no multiple of
     * the frequency after the beginning. 0 (the default): in f64, and the end is always reached.
     */
    uint32_t tfmot;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * 0 to 1. Default 0.
     */
    double initial_sparsity;
    /**
     * 0 to 1. Default 0.5.
     */
    double final_sparsity;
    /**
     * The exponent of the polynomial. Default 3.
     */
    double power;
    /**
     * The first step at which anything is pruned. Default 0.
     */
    uint64_t begin;
    /**
     * The last step at which masks are made anew; UINT64_MAX (the default) means no end, which a polynomial must have.
     */
    uint64_t end;
    /**
     * From `begin` on, masks are made anew every so many steps, and at `end`. Default 100.
     */
    uint64_t frequency;
} tersor_schedule_options;

/**
 * `final_sparsity` from `begin` on. Since 0.1.
 */
#define TERSOR_CURVE_CONSTANT 0

/**
 * From `initial_sparsity` at `begin` to `final_sparsity` at `end`, quickly at first:
 * final + (initial - final) * (1 - p)^power, where p is the part of the way that is done. Since 0.1.
 */
#define TERSOR_CURVE_POLYNOMIAL 1

/**
 * Fills `options` with the defaults: half of the weights, from the start, without end.
 *
 * @param struct_size  `sizeof *options`
 * @return `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_schedule_options_init(struct tersor_schedule_options *options,
                                           size_t struct_size);

/**
 * What the schedule wants at a step.
 *
 * @param step          the training step
 * @param options       NULL means the defaults
 * @param out_sparsity  receives the sparsity that the network should have, 0 to 1
 * @param out_update    receives 1 when masks are to be made anew at this step, else 0. NULL is allowed
 * @return `TERSOR_E_OUT_OF_RANGE` for an option, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_schedule_sparsity(uint64_t step,
                                       const struct tersor_schedule_options *options,
                                       double *out_sparsity,
                                       int32_t *out_update);

/* ============================================================================================================
 * Quantization: values become 8-bit codes and back, value = (code - zero_point) * scale. A scale and a zero point are for
 * all values, or for each row or column ("per channel"); for channels of arrays with more axes see the functions that end
 * in `_along_axis`. Zero always has an exact code, so a pruned weight stays zero.
 * ============================================================================================================ */

/**
 * Whose rules make scales and zero points, and round: one of `TERSOR_RULES_*`.
 *
 * Since 0.1.
 */
typedef uint32_t tersor_rules;

/**
 * How to quantize. Fill it with `tersor_quantize_options_init`, then change fields.
 *
 * Since 0.1.
 */
typedef struct tersor_quantize_options {
    /**
     * The size of this struct, set by `tersor_quantize_options_init`.
     */
    uint32_t struct_size;
    /**
     * Default `TERSOR_RULES_TERSOR`.
     */
    tersor_rules rules;
    /**
     * 1: the zero point lies in the middle (0 of int8, 128 of uint8), and values are represented as far to one side as
     * to the other. 0 (the default): it lies where the range of the values, widened to hold 0, wastes no code.
     */
    uint32_t symmetric;
    /**
     * Per channel: 0 (the default) for a scale for each row, 1 for each column.
     */
    uint32_t axis;
    /**
     * The lowest code in use. When it equals `highest` (both are 0 by default), the rules choose both.
     */
    int32_t lowest;
    /**
     * The highest code in use.
     */
    int32_t highest;
} tersor_quantize_options;

/**
 * tersor's own: half to even, true division; symmetric int8 in -127..127 with scale max|x| / 127. Since 0.1.
 */
#define TERSOR_RULES_TERSOR 0

/**
 * torch's observers and fake quantization: symmetric scale max|x| / 127.5, and x * (1 / scale) is rounded. Since 0.1.
 */
#define TERSOR_RULES_TORCH 1

/**
 * onnxruntime's quantization tool. Since 0.1.
 */
#define TERSOR_RULES_ONNXRUNTIME 2

/**
 * The ONNX operator DynamicQuantizeLinear as onnxruntime runs it. Affine only. Since 0.1.
 */
#define TERSOR_RULES_ONNX_DYNAMIC 3

/**
 * TensorFlow's fake_quant_with_min_max_vars. Affine only. Since 0.1.
 */
#define TERSOR_RULES_TENSORFLOW 4

/**
 * Fills `options` with the defaults.
 *
 * @param struct_size  `sizeof *options`
 * @return `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_quantize_options_init(struct tersor_quantize_options *options,
                                           size_t struct_size);

/**
 * Chooses the scale and zero point that represent every one of the values, and quantizes them to int8.
 *
 * @param src             `rows` x `cols`, all finite
 * @param options         NULL means the defaults
 * @param dst             receives the codes
 * @param out_scale       receives the scale
 * @param out_zero_point  receives the zero point; NULL means symmetric: it is 0
 * @return `TERSOR_E_EMPTY`; `TERSOR_E_NOT_FINITE` naming the value; `TERSOR_E_OUT_OF_RANGE` for an option or a stride;
 *         `TERSOR_E_UNSUPPORTED` for rules that cannot be symmetric; `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_quantize_i8(const tersor_context *context,
                                 const float *src,
                                 size_t rows,
                                 size_t cols,
                                 size_t src_stride,
                                 const struct tersor_quantize_options *options,
                                 int8_t *dst,
                                 size_t dst_stride,
                                 float *out_scale,
                                 int32_t *out_zero_point);

/**
 * As `tersor_quantize_i8`, with a scale and a zero point for each row (or column, see `options`).
 *
 * @param dst          receives the codes
 * @param scales       receives a scale for each row
 * @param zero_points  receives a zero point for each row; NULL means symmetric: all are 0
 * @return as `tersor_quantize_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_quantize_i8_per_channel(const tersor_context *context,
                                             const float *src,
                                             size_t rows,
                                             size_t cols,
                                             size_t src_stride,
                                             const struct tersor_quantize_options *options,
                                             int8_t *dst,
                                             size_t dst_stride,
                                             float *scales,
                                             int32_t *zero_points);

/**
 * As `tersor_quantize_i8`, to uint8. `out_zero_point` may not be NULL: it is 128 when `options->symmetric` is 1.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_quantize_u8(const tersor_context *context,
                                 const float *src,
                                 size_t rows,
                                 size_t cols,
                                 size_t src_stride,
                                 const struct tersor_quantize_options *options,
                                 uint8_t *dst,
                                 size_t dst_stride,
                                 float *out_scale,
                                 int32_t *out_zero_point);

/**
 * As `tersor_quantize_i8_per_channel`, to uint8. `zero_points` may not be NULL.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_quantize_u8_per_channel(const tersor_context *context,
                                             const float *src,
                                             size_t rows,
                                             size_t cols,
                                             size_t src_stride,
                                             const struct tersor_quantize_options *options,
                                             uint8_t *dst,
                                             size_t dst_stride,
                                             float *scales,
                                             int32_t *zero_points);

/**
 * Quantizes to int8 with given scales and zero points. What is too large saturates, infinities too; a NaN becomes zero.
 *
 * @param src          `rows` x `cols`
 * @param scales       `channels` scales, finite and above 0
 * @param zero_points  `channels` zero points, each a code; NULL means all are 0
 * @param channels     1, or the number of rows (of columns, if `options->axis` is 1)
 * @param options      `rules` say how to round, `lowest` and `highest` which codes to use (all, by default). NULL means
 *                     the defaults
 * @param dst          receives the codes
 * @return `TERSOR_E_SHAPE` or `TERSOR_E_LENGTH` when there are not that many channels, `TERSOR_E_OUT_OF_RANGE`,
 *         `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_quantize_i8_with_params(const tersor_context *context,
                                             const float *src,
                                             size_t rows,
                                             size_t cols,
                                             size_t src_stride,
                                             const float *scales,
                                             const int32_t *zero_points,
                                             size_t channels,
                                             const struct tersor_quantize_options *options,
                                             int8_t *dst,
                                             size_t dst_stride);

/**
 * As `tersor_quantize_i8_with_params`, to uint8.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_quantize_u8_with_params(const tersor_context *context,
                                             const float *src,
                                             size_t rows,
                                             size_t cols,
                                             size_t src_stride,
                                             const float *scales,
                                             const int32_t *zero_points,
                                             size_t channels,
                                             const struct tersor_quantize_options *options,
                                             uint8_t *dst,
                                             size_t dst_stride);

/**
 * The values of int8 codes: (code - zero_point) * scale.
 *
 * @param src       `rows` x `cols`
 * @param channels  1, or the number of rows (of columns, if `options->axis` is 1)
 * @param options   only `axis` is read. NULL means the defaults
 * @param dst       receives the values
 * @return as `tersor_quantize_i8_with_params`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_dequantize_i8(const tersor_context *context,
                                   const int8_t *src,
                                   size_t rows,
                                   size_t cols,
                                   size_t src_stride,
                                   const float *scales,
                                   const int32_t *zero_points,
                                   size_t channels,
                                   const struct tersor_quantize_options *options,
                                   float *dst,
                                   size_t dst_stride);

/**
 * As `tersor_dequantize_i8`, of uint8 codes.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_dequantize_u8(const tersor_context *context,
                                   const uint8_t *src,
                                   size_t rows,
                                   size_t cols,
                                   size_t src_stride,
                                   const float *scales,
                                   const int32_t *zero_points,
                                   size_t channels,
                                   const struct tersor_quantize_options *options,
                                   float *dst,
                                   size_t dst_stride);

/* ============================================================================================================
 * Choosing scales and zero points without making codes: of values, or of a range.
 * ============================================================================================================ */

/**
 * The scale and zero point of `tersor_quantize_i8`, without codes.
 *
 * @param out_zero_point  NULL means symmetric
 * @return as `tersor_quantize_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_choose_params_i8(const tersor_context *context,
                                      const float *src,
                                      size_t rows,
                                      size_t cols,
                                      size_t src_stride,
                                      const tersor_quantize_options *options,
                                      float *out_scale,
                                      int32_t *out_zero_point);

/**
 * The scales and zero points of `tersor_quantize_i8_per_channel`, without codes.
 *
 * @param zero_points  NULL means symmetric
 * @return as `tersor_quantize_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_choose_params_i8_per_channel(const tersor_context *context,
                                                  const float *src,
                                                  size_t rows,
                                                  size_t cols,
                                                  size_t src_stride,
                                                  const tersor_quantize_options *options,
                                                  float *scales,
                                                  int32_t *zero_points);

/**
 * The scale and zero point of `tersor_quantize_u8`, without codes.
 *
 * @return as `tersor_quantize_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_choose_params_u8(const tersor_context *context,
                                      const float *src,
                                      size_t rows,
                                      size_t cols,
                                      size_t src_stride,
                                      const tersor_quantize_options *options,
                                      float *out_scale,
                                      int32_t *out_zero_point);

/**
 * The scales and zero points of `tersor_quantize_u8_per_channel`, without codes.
 *
 * @return as `tersor_quantize_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_choose_params_u8_per_channel(const tersor_context *context,
                                                  const float *src,
                                                  size_t rows,
                                                  size_t cols,
                                                  size_t src_stride,
                                                  const tersor_quantize_options *options,
                                                  float *scales,
                                                  int32_t *zero_points);

/**
 * The scale and zero point that represent the values from `min` to `max` as int8.
 *
 * @param min             finite
 * @param max             finite, at least `min`
 * @param options         NULL means the defaults
 * @param out_zero_point  NULL means symmetric
 * @return `TERSOR_E_OUT_OF_RANGE`, `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_choose_params_i8_from_range(float min,
                                                 float max,
                                                 const tersor_quantize_options *options,
                                                 float *out_scale,
                                                 int32_t *out_zero_point);

/**
 * As `tersor_choose_params_i8_from_range`, for uint8. `out_zero_point` may not be NULL.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_choose_params_u8_from_range(float min,
                                                 float max,
                                                 const tersor_quantize_options *options,
                                                 float *out_scale,
                                                 int32_t *out_zero_point);

/* ============================================================================================================
 * Observers: statistics of what flows through a network, from which activations get their parameters. They see batch
 * after batch and remember a fixed amount, in a plain struct or in bytes that the caller owns; saving those saves them.
 * ============================================================================================================ */

/**
 * What an observer remembers: one of `TERSOR_OBSERVER_*`.
 *
 * Since 0.1.
 */
typedef uint32_t tersor_observer_kind;

/**
 * An observer of minima and maxima of whole tensors. Fill it with `tersor_observer_init`.
 *
 * Since 0.1.
 */
typedef struct tersor_observer {
    /**
     * The size of this struct, set by `tersor_observer_init`.
     */
    uint32_t struct_size;
    /**
     * One of `TERSOR_OBSERVER_*`.
     */
    tersor_observer_kind kind;
    /**
     * For `TERSOR_OBSERVER_MOVING_AVERAGE`: the weight of the newest batch, above 0 to 1. Default 0.01.
     */
    float constant;
    /**
     * State: the minimum.
     */
    float min;
    /**
     * State: the maximum.
     */
    float max;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * State: how many batches were seen.
     */
    uint64_t batches;
    /**
     * State of `TERSOR_OBSERVER_MEAN`: the sum of the minima, an integer of 2^-149 in digits of 32 bits, the lowest first.
     */
    int64_t min_sum[11];
    /**
     * State of `TERSOR_OBSERVER_MEAN`: the sum of the maxima.
     */
    int64_t max_sum[11];
} tersor_observer;

/**
 * How a histogram's statistics become the limits of what is represented: one of `TERSOR_RANGE_*`.
 *
 * Since 0.1.
 */
typedef uint32_t tersor_range;

/**
 * The smallest and the largest value of all batches. Since 0.1.
 */
#define TERSOR_OBSERVER_MIN_MAX 0

/**
 * torch's moving average of the batches' minima and maxima: min += constant * (batch_min - min). Depends on their order.
 * Since 0.1.
 */
#define TERSOR_OBSERVER_MOVING_AVERAGE 1

/**
 * The mean of the batches' minima and that of their maxima, summed exactly, so in any order: what onnxruntime's calibrator
 * calls moving average. Since 0.1.
 */
#define TERSOR_OBSERVER_MEAN 2

/**
 * Everything that was seen. Since 0.1.
 */
#define TERSOR_RANGE_MIN_MAX 0

/**
 * The central `percentile` percent, above 50 to 100. Since 0.1.
 */
#define TERSOR_RANGE_PERCENTILE 1

/**
 * What minimizes the squared error of clipping and rounding together. Since 0.1.
 */
#define TERSOR_RANGE_MSE 2

/**
 * What loses the least information: the least Kullback-Leibler divergence. Since 0.1.
 */
#define TERSOR_RANGE_ENTROPY 3

/**
 * Makes an observer that has seen nothing.
 *
 * @param kind         one of `TERSOR_OBSERVER_*`
 * @param observer     the struct to fill
 * @param struct_size  `sizeof *observer`
 * @return `TERSOR_E_OUT_OF_RANGE` for the kind, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_observer_init(tersor_observer_kind kind,
                                   struct tersor_observer *observer,
                                   size_t struct_size);

/**
 * Takes a batch into account.
 *
 * @param values    `rows` x `cols`, all finite
 * @param observer  changed in place
 * @return `TERSOR_E_EMPTY`; `TERSOR_E_NOT_FINITE` naming the value; `TERSOR_E_OUT_OF_RANGE` for a field of the observer;
 *         `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_observer_observe(const tersor_context *context,
                                      const float *values,
                                      size_t rows,
                                      size_t cols,
                                      size_t stride,
                                      struct tersor_observer *observer);

/**
 * Takes into account what another observer has seen.
 *
 * @param other     of the same kind as `observer`
 * @param observer  changed in place
 * @return `TERSOR_E_UNSUPPORTED` for moving averages, which depend on the order of batches, and for different kinds;
 *         `TERSOR_E_OUT_OF_RANGE`; `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_observer_merge(const struct tersor_observer *other,
                                    struct tersor_observer *observer);

/**
 * The scale and zero point for int8 codes of what was observed.
 *
 * @param options         NULL means the defaults
 * @param out_scale       receives the scale
 * @param out_zero_point  NULL means symmetric
 * @return `TERSOR_E_EMPTY` before the first batch; `TERSOR_E_OUT_OF_RANGE`, `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_observer_params_i8(const struct tersor_observer *observer,
                                        const tersor_quantize_options *options,
                                        float *out_scale,
                                        int32_t *out_zero_point);

/**
 * The scale and zero point for uint8 codes of what was observed.
 *
 * @param options         NULL means the defaults
 * @param out_scale       receives the scale
 * @param out_zero_point  receives the zero point
 * @return `TERSOR_E_EMPTY` before the first batch; `TERSOR_E_OUT_OF_RANGE`, `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_observer_params_u8(const struct tersor_observer *observer,
                                        const tersor_quantize_options *options,
                                        float *out_scale,
                                        int32_t *out_zero_point);

/**
 * How many bytes a histogram takes: 65,536 bins, about 1 MB, however much is observed.
 *
 * Since 0.1.
 */
TERSOR_API
size_t tersor_histogram_size(void);

/**
 * Makes a histogram that has seen nothing.
 *
 * @param histogram        receives the histogram; any alignment
 * @param histogram_bytes  exactly `tersor_histogram_size()`
 * @return `TERSOR_E_LENGTH`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_histogram_init(void *histogram,
                                    size_t histogram_bytes);

/**
 * Takes a batch into account. The result does not depend on the order of batches, nor on how they were split. Each call
 * allocates as much again as the histogram takes, and frees it: few large batches are better than many small ones.
 *
 * @param values     `rows` x `cols`, all finite
 * @param histogram  changed in place
 * @return `TERSOR_E_EMPTY`; `TERSOR_E_NOT_FINITE` naming the value; `TERSOR_E_LAYOUT` when the bytes are no histogram
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_histogram_observe(const tersor_context *context,
                                       const float *values,
                                       size_t rows,
                                       size_t cols,
                                       size_t stride,
                                       void *histogram,
                                       size_t histogram_bytes);

/**
 * Takes into account what another histogram has seen: the same as having seen it here.
 *
 * @param other      a histogram; may not overlap `histogram`
 * @param histogram  changed in place
 * @return `TERSOR_E_LAYOUT` when the bytes are no histogram; `TERSOR_E_OUT_OF_RANGE` above 2^47 numbers in all
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_histogram_merge(const void *other,
                                     size_t other_bytes,
                                     void *histogram,
                                     size_t histogram_bytes);

/**
 * The scale and zero point for int8 codes of what was observed.
 *
 * @param range           one of `TERSOR_RANGE_*`
 * @param percentile      for `TERSOR_RANGE_PERCENTILE`; else ignored
 * @param options         NULL means the defaults
 * @param out_scale       receives the scale
 * @param out_zero_point  NULL means symmetric
 * @return `TERSOR_E_EMPTY` before the first batch; `TERSOR_E_LAYOUT` when the bytes are no histogram;
 *         `TERSOR_E_OUT_OF_RANGE`, `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_histogram_params_i8(const void *histogram,
                                         size_t histogram_bytes,
                                         tersor_range range,
                                         double percentile,
                                         const tersor_quantize_options *options,
                                         float *out_scale,
                                         int32_t *out_zero_point);

/**
 * The scale and zero point for uint8 codes of what was observed.
 *
 * @param range           one of `TERSOR_RANGE_*`
 * @param percentile      for `TERSOR_RANGE_PERCENTILE`; else ignored
 * @param options         NULL means the defaults
 * @param out_scale       receives the scale
 * @param out_zero_point  receives the zero point
 * @return `TERSOR_E_EMPTY` before the first batch; `TERSOR_E_LAYOUT` when the bytes are no histogram;
 *         `TERSOR_E_OUT_OF_RANGE`, `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_histogram_params_u8(const void *histogram,
                                         size_t histogram_bytes,
                                         tersor_range range,
                                         double percentile,
                                         const tersor_quantize_options *options,
                                         float *out_scale,
                                         int32_t *out_zero_point);

/* ============================================================================================================
 * Fake quantization: training against the rounding of quantization, with a straight-through gradient.
 * ============================================================================================================ */

/**
 * The value of the int8 code of each `x`: what `tersor_quantize_i8_with_params` and `tersor_dequantize_i8`, one after the other, give.
 *
 * @param x         `rows` x `cols`. A NaN becomes 0, an infinity the value of the last code
 * @param scales    `channels` scales, finite and above 0
 * @param zero_points  `channels` zero points, each a code; NULL means all are 0
 * @param channels  1, or the number of rows (of columns, if `options->axis` is 1)
 * @param options   `rules` say how to round, `lowest` and `highest` which codes to use. NULL means the defaults
 * @param y         receives the values
 * @return `TERSOR_E_SHAPE` or `TERSOR_E_LENGTH` when there are not that many channels, `TERSOR_E_OUT_OF_RANGE`,
 *         `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_fake_quantize_i8(const tersor_context *context,
                                      const float *x,
                                      size_t rows,
                                      size_t cols,
                                      size_t x_stride,
                                      const float *scales,
                                      const int32_t *zero_points,
                                      size_t channels,
                                      const tersor_quantize_options *options,
                                      float *y,
                                      size_t y_stride);

/**
 * The gradient of `tersor_fake_quantize_i8`: `dy` where the code of `x` lies within the limits before it is saturated,
 * else 0 (also where `x` is a NaN).
 *
 * @param x   what the forward pass was given
 * @param dy  the gradient with respect to its `y`
 * @param dx  receives the gradient with respect to `x`
 * @return as `tersor_fake_quantize_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_fake_quantize_backward_i8(const tersor_context *context,
                                               const float *x,
                                               size_t rows,
                                               size_t cols,
                                               size_t x_stride,
                                               const float *dy,
                                               size_t dy_stride,
                                               const float *scales,
                                               const int32_t *zero_points,
                                               size_t channels,
                                               const tersor_quantize_options *options,
                                               float *dx,
                                               size_t dx_stride);

/**
 * The value of the uint8 code of each `x`: what `tersor_quantize_u8_with_params` and `tersor_dequantize_u8`, one after the other, give.
 *
 * @param x         `rows` x `cols`. A NaN becomes 0, an infinity the value of the last code
 * @param scales    `channels` scales, finite and above 0
 * @param zero_points  `channels` zero points, each a code; NULL means all are 0
 * @param channels  1, or the number of rows (of columns, if `options->axis` is 1)
 * @param options   `rules` say how to round, `lowest` and `highest` which codes to use. NULL means the defaults
 * @param y         receives the values
 * @return `TERSOR_E_SHAPE` or `TERSOR_E_LENGTH` when there are not that many channels, `TERSOR_E_OUT_OF_RANGE`,
 *         `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_fake_quantize_u8(const tersor_context *context,
                                      const float *x,
                                      size_t rows,
                                      size_t cols,
                                      size_t x_stride,
                                      const float *scales,
                                      const int32_t *zero_points,
                                      size_t channels,
                                      const tersor_quantize_options *options,
                                      float *y,
                                      size_t y_stride);

/**
 * The gradient of `tersor_fake_quantize_u8`: `dy` where the code of `x` lies within the limits before it is saturated,
 * else 0 (also where `x` is a NaN).
 *
 * @param x   what the forward pass was given
 * @param dy  the gradient with respect to its `y`
 * @param dx  receives the gradient with respect to `x`
 * @return as `tersor_fake_quantize_u8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_fake_quantize_backward_u8(const tersor_context *context,
                                               const float *x,
                                               size_t rows,
                                               size_t cols,
                                               size_t x_stride,
                                               const float *dy,
                                               size_t dy_stride,
                                               const float *scales,
                                               const int32_t *zero_points,
                                               size_t channels,
                                               const tersor_quantize_options *options,
                                               float *dx,
                                               size_t dx_stride);

/* ============================================================================================================
 * Quantization per channel along any axis of an array with any number of axes, contiguous and row-major. To these
 * functions it is `outer` x `channels` x `inner`: the axis has `channels` indices, `outer` is the product of the sizes of
 * the axes before it and `inner` of those after it (1 where there are none). Of convolution weights
 * [outputs, inputs, height, width], for instance, the outputs are 1 x outputs x (inputs * height * width), and the inputs
 * are outputs x inputs x (height * width). The `axis` of the options is not read.
 * ============================================================================================================ */

/**
 * Chooses, for each channel, the scale and zero point that represent every one of its values, and quantizes to int8.
 *
 * @param src          `outer` x `channels` x `inner`, all finite
 * @param options      NULL means the defaults
 * @param dst          receives the codes
 * @param scales       receives `channels` scales
 * @param zero_points  receives `channels` zero points; NULL means symmetric: all are 0
 * @return as `tersor_quantize_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_quantize_i8_along_axis(const tersor_context *context,
                                            const float *src,
                                            size_t outer,
                                            size_t channels,
                                            size_t inner,
                                            const tersor_quantize_options *options,
                                            int8_t *dst,
                                            float *scales,
                                            int32_t *zero_points);

/**
 * As `tersor_quantize_i8_along_axis`, to uint8. `zero_points` may not be NULL: they are 128 when `options->symmetric` is 1.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_quantize_u8_along_axis(const tersor_context *context,
                                            const float *src,
                                            size_t outer,
                                            size_t channels,
                                            size_t inner,
                                            const tersor_quantize_options *options,
                                            uint8_t *dst,
                                            float *scales,
                                            int32_t *zero_points);

/**
 * The scales and zero points of `tersor_quantize_i8_along_axis`, without codes.
 *
 * @param zero_points  NULL means symmetric
 * @return as `tersor_quantize_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_choose_params_i8_along_axis(const tersor_context *context,
                                                 const float *src,
                                                 size_t outer,
                                                 size_t channels,
                                                 size_t inner,
                                                 const tersor_quantize_options *options,
                                                 float *scales,
                                                 int32_t *zero_points);

/**
 * The scales and zero points of `tersor_quantize_u8_along_axis`, without codes.
 *
 * @return as `tersor_quantize_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_choose_params_u8_along_axis(const tersor_context *context,
                                                 const float *src,
                                                 size_t outer,
                                                 size_t channels,
                                                 size_t inner,
                                                 const tersor_quantize_options *options,
                                                 float *scales,
                                                 int32_t *zero_points);

/**
 * Quantizes to int8 with given scales and zero points. What is too large saturates, infinities too; a NaN becomes zero.
 *
 * @param src          `outer` x `channels` x `inner`
 * @param scales       `channels` scales, finite and above 0
 * @param zero_points  `channels` zero points, each a code; NULL means all are 0
 * @param options      `rules` say how to round, `lowest` and `highest` which codes to use (all, by default). NULL means the
 *                     defaults
 * @param dst          receives the codes
 * @return `TERSOR_E_EMPTY` when there are no channels, `TERSOR_E_OUT_OF_RANGE`, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_quantize_i8_along_axis_with_params(const tersor_context *context,
                                                        const float *src,
                                                        size_t outer,
                                                        size_t channels,
                                                        size_t inner,
                                                        const float *scales,
                                                        const int32_t *zero_points,
                                                        const tersor_quantize_options *options,
                                                        int8_t *dst);

/**
 * As `tersor_quantize_i8_along_axis_with_params`, to uint8.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_quantize_u8_along_axis_with_params(const tersor_context *context,
                                                        const float *src,
                                                        size_t outer,
                                                        size_t channels,
                                                        size_t inner,
                                                        const float *scales,
                                                        const int32_t *zero_points,
                                                        const tersor_quantize_options *options,
                                                        uint8_t *dst);

/**
 * The values of int8 codes: (code - zero_point) * scale.
 *
 * @param src          `outer` x `channels` x `inner`
 * @param scales       `channels` scales, finite and above 0
 * @param zero_points  `channels` zero points, each a code; NULL means all are 0
 * @param dst          receives the values
 * @return `TERSOR_E_EMPTY` when there are no channels, `TERSOR_E_OUT_OF_RANGE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_dequantize_i8_along_axis(const tersor_context *context,
                                              const int8_t *src,
                                              size_t outer,
                                              size_t channels,
                                              size_t inner,
                                              const float *scales,
                                              const int32_t *zero_points,
                                              float *dst);

/**
 * As `tersor_dequantize_i8_along_axis`, of uint8 codes.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_dequantize_u8_along_axis(const tersor_context *context,
                                              const uint8_t *src,
                                              size_t outer,
                                              size_t channels,
                                              size_t inner,
                                              const float *scales,
                                              const int32_t *zero_points,
                                              float *dst);

/**
 * The value of the int8 code of each `x`: what `tersor_quantize_i8_along_axis_with_params` and
 * `tersor_dequantize_i8_along_axis`, one after the other, give.
 *
 * @param x            `outer` x `channels` x `inner`. A NaN becomes 0, an infinity the value of the last code
 * @param scales       `channels` scales, finite and above 0
 * @param zero_points  `channels` zero points, each a code; NULL means all are 0
 * @param options      `rules` say how to round, `lowest` and `highest` which codes to use. NULL means the defaults
 * @param y            receives the values
 * @return as `tersor_quantize_i8_along_axis_with_params`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_fake_quantize_i8_along_axis(const tersor_context *context,
                                                 const float *x,
                                                 size_t outer,
                                                 size_t channels,
                                                 size_t inner,
                                                 const float *scales,
                                                 const int32_t *zero_points,
                                                 const tersor_quantize_options *options,
                                                 float *y);

/**
 * As `tersor_fake_quantize_i8_along_axis`, of the uint8 codes.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_fake_quantize_u8_along_axis(const tersor_context *context,
                                                 const float *x,
                                                 size_t outer,
                                                 size_t channels,
                                                 size_t inner,
                                                 const float *scales,
                                                 const int32_t *zero_points,
                                                 const tersor_quantize_options *options,
                                                 float *y);

/**
 * The gradient of `tersor_fake_quantize_i8_along_axis`: `dy` where the code of `x` lies within the limits before it is
 * saturated, else 0 (also where `x` is a NaN).
 *
 * @param x   what the forward pass was given
 * @param dy  the gradient with respect to its `y`
 * @param dx  receives the gradient with respect to `x`
 * @return as `tersor_quantize_i8_along_axis_with_params`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_fake_quantize_backward_i8_along_axis(const tersor_context *context,
                                                          const float *x,
                                                          const float *dy,
                                                          size_t outer,
                                                          size_t channels,
                                                          size_t inner,
                                                          const float *scales,
                                                          const int32_t *zero_points,
                                                          const tersor_quantize_options *options,
                                                          float *dx);

/**
 * As `tersor_fake_quantize_backward_i8_along_axis`, the gradient of `tersor_fake_quantize_u8_along_axis`.
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_fake_quantize_backward_u8_along_axis(const tersor_context *context,
                                                          const float *x,
                                                          const float *dy,
                                                          size_t outer,
                                                          size_t channels,
                                                          size_t inner,
                                                          const float *scales,
                                                          const int32_t *zero_points,
                                                          const tersor_quantize_options *options,
                                                          float *dx);

/* ============================================================================================================
 * Observers per channel: the smallest and the largest value of each index along an axis, over all batches, in two arrays
 * that the caller owns. How an array becomes `outer` x `channels` x `inner` is said at quantization along an axis.
 * ============================================================================================================ */

/**
 * Makes the limits of channels that have seen nothing: every minimum is infinity, every maximum minus infinity.
 *
 * @param channels  how many there are
 * @param min       receives `channels` minima
 * @param max       receives `channels` maxima
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_min_max_init(size_t channels,
                                  float *min,
                                  float *max);

/**
 * Takes a batch into account. The result does not depend on the order of batches.
 *
 * @param values  `outer` x `channels` x `inner`, all finite
 * @param min     `channels` minima, changed in place
 * @param max     `channels` maxima, changed in place
 * @return `TERSOR_E_EMPTY`; `TERSOR_E_NOT_FINITE` naming the value; `TERSOR_E_OUT_OF_RANGE` for limits that cannot be
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_min_max_observe(const tersor_context *context,
                                     const float *values,
                                     size_t outer,
                                     size_t channels,
                                     size_t inner,
                                     float *min,
                                     float *max);

/**
 * Takes into account what other limits of the same channels have seen.
 *
 * @param other_min  `channels` minima
 * @param other_max  `channels` maxima
 * @param min        `channels` minima, changed in place
 * @param max        `channels` maxima, changed in place
 * @return `TERSOR_E_OUT_OF_RANGE` for limits that cannot be
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_min_max_merge(const float *other_min,
                                   const float *other_max,
                                   size_t channels,
                                   float *min,
                                   float *max);

/**
 * The scales and zero points for int8 codes of what was observed.
 *
 * @param min          `channels` minima
 * @param max          `channels` maxima
 * @param options      NULL means the defaults; its `axis` is not read
 * @param scales       receives `channels` scales
 * @param zero_points  receives `channels` zero points; NULL means symmetric: all are 0
 * @return `TERSOR_E_EMPTY` where a channel has seen nothing, or there are none; `TERSOR_E_OUT_OF_RANGE`,
 *         `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_min_max_params_i8(const float *min,
                                       const float *max,
                                       size_t channels,
                                       const tersor_quantize_options *options,
                                       float *scales,
                                       int32_t *zero_points);

/**
 * The scales and zero points for uint8 codes of what was observed.
 *
 * @param min          `channels` minima
 * @param max          `channels` maxima
 * @param options      NULL means the defaults; its `axis` is not read
 * @param scales       receives `channels` scales
 * @param zero_points  receives `channels` zero points
 * @return `TERSOR_E_EMPTY` where a channel has seen nothing, or there are none; `TERSOR_E_OUT_OF_RANGE`,
 *         `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_min_max_params_u8(const float *min,
                                       const float *max,
                                       size_t channels,
                                       const tersor_quantize_options *options,
                                       float *scales,
                                       int32_t *zero_points);

/* ============================================================================================================
 * 16-bit casts. f32 to 16 bits rounds to nearest, ties to even; subnormals are kept; what is too large becomes infinity;
 * a NaN stays a (quiet) NaN. 16 bits to f32 is exact.
 * ============================================================================================================ */

/**
 * f32 to f16.
 *
 * @param src    `count` values
 * @param count  how many
 * @param dst    receives `count` values
 * @return nothing beyond the conventions
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_cast_f32_to_f16(const tersor_context *context,
                                     const float *src,
                                     size_t count,
                                     tersor_f16 *dst);

/**
 * f32 to bf16.
 *
 * @param src    `count` values
 * @param count  how many
 * @param dst    receives `count` values
 * @return nothing beyond the conventions
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_cast_f32_to_bf16(const tersor_context *context,
                                      const float *src,
                                      size_t count,
                                      tersor_bf16 *dst);

/**
 * f16 to f32.
 *
 * @param src    `count` values
 * @param count  how many
 * @param dst    receives `count` values
 * @return nothing beyond the conventions
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_cast_f16_to_f32(const tersor_context *context,
                                     const tersor_f16 *src,
                                     size_t count,
                                     float *dst);

/**
 * bf16 to f32.
 *
 * @param src    `count` values
 * @param count  how many
 * @param dst    receives `count` values
 * @return nothing beyond the conventions
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_cast_bf16_to_f32(const tersor_context *context,
                                      const tersor_bf16 *src,
                                      size_t count,
                                      float *dst);

/* ============================================================================================================
 * Loss scaling: by how much the loss is multiplied so that small 16-bit gradients survive, and how that number follows
 * the overflows it causes. A `tersor_loss_scaler` is plain data: saving its bytes saves its state.
 * ============================================================================================================ */

/**
 * Whose rule moves the scale: one of `TERSOR_SCALE_*`.
 *
 * Since 0.1.
 */
typedef uint32_t tersor_scale_rule;

/**
 * A loss scaler: its options and its state. Fill it with `tersor_loss_scaler_init`, then change options.
 *
 * Since 0.1.
 */
typedef struct tersor_loss_scaler {
    /**
     * The size of this struct, set by `tersor_loss_scaler_init`.
     */
    uint32_t struct_size;
    /**
     * One of `TERSOR_SCALE_*`.
     */
    tersor_scale_rule rule;
    /**
     * State: what to multiply the loss by before the backward pass.
     */
    float scale;
    /**
     * State: how many steps in a row have had no overflow since the scale last moved.
     */
    uint32_t growth_tracker;
    /**
     * After how many steps in a row without overflow the scale grows. At least 1.
     */
    uint32_t growth_interval;
    /**
     * For `TERSOR_SCALE_BOUNDED`: no overflow leaves a smaller scale. Default 1.
     */
    float floor;
    /**
     * For `TERSOR_SCALE_BOUNDED`: no growth leaves a larger scale. Default 2^24.
     */
    float ceiling;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * What a growth multiplies the scale by. Above 1.
     */
    double growth_factor;
    /**
     * What an overflow multiplies the scale by. Between 0 and 1.
     */
    double backoff_factor;
} tersor_loss_scaler;

/**
 * tersor's own: as torch's, but never below `floor` and never above `ceiling`. Since 0.1.
 */
#define TERSOR_SCALE_BOUNDED 0

/**
 * The scale never moves; an overflow still skips the step. Since 0.1.
 */
#define TERSOR_SCALE_STATIC 1

/**
 * torch.amp.GradScaler: from 2^16, times 2 after 2000 steps without overflow, times 0.5 after one. Since 0.1.
 */
#define TERSOR_SCALE_TORCH 2

/**
 * keras 3's LossScaleOptimizer: from 2^15; the scale may grow to infinity. Since 0.1.
 */
#define TERSOR_SCALE_KERAS 3

/**
 * tf-keras's LossScaleOptimizer: from 2^15, never below 1. Since 0.1.
 */
#define TERSOR_SCALE_TF_KERAS 4

/**
 * Fills `scaler` with the defaults of a rule, at its first scale.
 *
 * @param rule         one of `TERSOR_SCALE_*`; for `TERSOR_SCALE_STATIC` the scale is 65536, and may be changed
 * @param scaler       the struct to fill
 * @param struct_size  `sizeof *scaler`
 * @return `TERSOR_E_OUT_OF_RANGE` for the rule, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_loss_scaler_init(tersor_scale_rule rule,
                                      struct tersor_loss_scaler *scaler,
                                      size_t struct_size);

/**
 * Moves the scale after a step. The `_step_tensors` functions do this by themselves.
 *
 * @param overflow  1 when any gradient was not finite (then the step must be skipped), else 0
 * @param scaler    changed in place: `scale` and `growth_tracker`
 * @return `TERSOR_E_OUT_OF_RANGE` for `overflow` or a field of the scaler, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_loss_scaler_update(int32_t overflow,
                                        struct tersor_loss_scaler *scaler);

/* ============================================================================================================
 * Training steps, as torch or keras computes them: unscale, check, clip, update, round, in one fused pass over f32 weights and
 * state, with 16-bit weights beside them where they are wanted. A step is a transaction: when a gradient is not finite,
 * nothing has changed and `tersor_overflow` says where; the call itself has succeeded.
 *
 * The functions that end in a type take one tensor and a loss scale. Those that end in `_tensors` take all tensors of a
 * network, clip by their global norm, obey masks and move a loss scaler.
 * ============================================================================================================ */

/**
 * A type of floats: one of `TERSOR_F32`, `TERSOR_F16`, `TERSOR_BF16`.
 *
 * Since 0.1.
 */
typedef uint32_t tersor_dtype;

/**
 * Whose update rules an optimizer follows, which are not the same algorithms: one of `TERSOR_OPTIMIZER_*`.
 *
 * Since 0.1.
 */
typedef uint32_t tersor_optimizer_rules;

/**
 * Whether and where a gradient was not finite, so that the step was skipped.
 *
 * Since 0.1.
 */
typedef struct tersor_overflow {
    /**
     * 1 when the step was skipped, 0 when it was applied (then the other fields are 0).
     */
    uint32_t found;
    /**
     * The first value that is not finite: an infinity or a NaN.
     */
    float value;
    /**
     * Which tensor it is in, from 0.
     */
    size_t tensor;
    /**
     * Its row-major index in that tensor.
     */
    size_t index;
    /**
     * How many there are in all tensors together.
     */
    size_t count;
} tersor_overflow;

/**
 * What else a step did.
 *
 * Since 0.1.
 */
typedef struct tersor_step_report {
    /**
     * The global L2 norm of the unscaled gradients before clipping; 0 when the step was skipped.
     */
    double grad_norm;
    /**
     * How many weights kept their value and state because the update left the range of f32.
     */
    size_t held;
    /**
     * How many weights had a master beyond the range of their 16-bit type, and were stored as its largest finite value.
     */
    size_t saturated;
} tersor_step_report;

/**
 * The gradient of one tensor.
 *
 * Since 0.1.
 */
typedef struct tersor_gradient {
    /**
     * `count` elements of the type `dtype`, of the loss times the loss scale.
     */
    const void *elements;
    /**
     * As many as the parameter has.
     */
    size_t count;
    /**
     * The type of the elements.
     */
    tersor_dtype dtype;
    /**
     * 0.
     */
    uint32_t reserved;
} tersor_gradient;

/**
 * A tensor that is trained. Everything is changed in place.
 *
 * Since 0.1.
 */
typedef struct tersor_parameter {
    /**
     * What messages call the tensor. NULL: "a tensor".
     */
    const char *name;
    /**
     * How many weights there are.
     */
    size_t count;
    /**
     * `count` weights in f32.
     */
    float *master;
    /**
     * `count` numbers of the optimizer's first state: momentum, first moment or sum of squares. Ignored where the
     * optimizer has none.
     */
    float *state1;
    /**
     * `count` numbers of the second moment. Ignored where the optimizer has none.
     */
    float *state2;
    /**
     * `count` weights in the type `stored_dtype`, into which every new master is rounded. Ignored for `TERSOR_F32`.
     */
    void *stored;
    /**
     * `TERSOR_F32` means that the masters are the weights.
     */
    tersor_dtype stored_dtype;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * What is condemned here becomes and stays 0, and its gradient counts as 0, whatever it is. NULL: nothing is.
     */
    const uint8_t *mask;
    /**
     * The size of `mask`.
     */
    size_t mask_bytes;
    /**
     * How many steps this tensor has taken, 0 at first. Skipped steps do not count.
     */
    uint64_t steps;
} tersor_parameter;

/**
 * `float`. Since 0.1.
 */
#define TERSOR_F32 0

/**
 * `tersor_f16`. Since 0.1.
 */
#define TERSOR_F16 1

/**
 * `tersor_bf16`. Since 0.1.
 */
#define TERSOR_BF16 2

/**
 * torch's. Since 0.1.
 */
#define TERSOR_OPTIMIZER_TORCH 0

/**
 * keras 3's: weight decay is decoupled in all of them (w -= w * weight_decay * lr before the step), epsilon and the
 * learning rate have other places, and the state means something else, so rules cannot change between steps. Since 0.1.
 */
#define TERSOR_OPTIMIZER_KERAS 1

/* ============================================================================================================
 * SGD.
 * ============================================================================================================ */

/**
 * Stochastic gradient descent: without a momentum w -= lr * g. With one, by torch's rules,
 * b = momentum * b + (1 - dampening) * g, b = g in the first step, then w -= lr * b, or with Nesterov's look-ahead
 * w -= lr * (g + momentum * b). By keras's rules b = momentum * b - lr * g, then w += b, or w += momentum * b - lr * g.
 *
 * Fill it with `tersor_sgd_options_init` or `tersor_keras_sgd_options_init`, then change fields.
 *
 * Since 0.1.
 */
typedef struct tersor_sgd_options {
    /**
     * The size of this struct, set by the `_init` function.
     */
    uint32_t struct_size;
    /**
     * 1 to look ahead, which needs a momentum and no dampening. Default 0.
     */
    uint32_t nesterov;
    /**
     * Whose rules. Set by the `_init` function.
     */
    tersor_optimizer_rules rules;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Not negative. Default 1e-3, by keras's rules 1e-2.
     */
    double learning_rate;
    /**
     * At least 0 and below 1. Default 0: no state is kept.
     */
    double momentum;
    /**
     * Default 0, which is all that keras's rules have.
     */
    double dampening;
    /**
     * Added to the gradient as weight_decay * w; decoupled by keras's rules. Not negative. Default 0.
     */
    double weight_decay;
} tersor_sgd_options;

/**
 * Fills `options` with the defaults.
 *
 * @param struct_size  `sizeof *options`
 * @return `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_sgd_options_init(struct tersor_sgd_options *options,
                                      size_t struct_size);

/**
 * Fills `options` with the defaults of keras's SGD.
 *
 * @param struct_size  `sizeof *options`
 * @return `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_keras_sgd_options_init(struct tersor_sgd_options *options,
                                            size_t struct_size);

/**
 * One step of SGD on one tensor in f32.
 *
 * @param grads          `count` gradients of the loss times `loss_scale`
 * @param step           the number of this step, from 1; a skipped step's number is used again
 * @param loss_scale     1 without loss scaling
 * @param options        NULL means the defaults
 * @param params         `count` weights, changed in place
 * @param momentum_buffer `count` numbers, 0 before the first step; ignored when the momentum is 0
 * @param out_overflow   receives whether the step was skipped; must be looked at
 * @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_sgd_step_f32(const tersor_context *context,
                                  const float *grads,
                                  size_t count,
                                  uint64_t step,
                                  float loss_scale,
                                  const struct tersor_sgd_options *options,
                                  float *params,
                                  float *momentum_buffer,
                                  tersor_overflow *out_overflow);

/**
 * One step of SGD on one tensor with f16 gradients and weights and f32 masters.
 *
 * @param grads          `count` gradients of the loss times `loss_scale`
 * @param step           the number of this step, from 1; a skipped step's number is used again
 * @param loss_scale     what the loss was multiplied by
 * @param options        NULL means the defaults
 * @param master         `count` weights, changed in place
 * @param momentum_buffer `count` numbers, 0 before the first step; ignored when the momentum is 0
 * @param params         receives the masters, rounded to f16
 * @param out_overflow   receives whether the step was skipped; must be looked at
 * @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_sgd_step_f16(const tersor_context *context,
                                  const tersor_f16 *grads,
                                  size_t count,
                                  uint64_t step,
                                  float loss_scale,
                                  const struct tersor_sgd_options *options,
                                  float *master,
                                  float *momentum_buffer,
                                  tersor_f16 *params,
                                  tersor_overflow *out_overflow);

/**
 * One step of SGD on one tensor with bf16 gradients and weights and f32 masters.
 *
 * @param grads          `count` gradients of the loss times `loss_scale`
 * @param step           the number of this step, from 1; a skipped step's number is used again
 * @param loss_scale     what the loss was multiplied by
 * @param options        NULL means the defaults
 * @param master         `count` weights, changed in place
 * @param momentum_buffer `count` numbers, 0 before the first step; ignored when the momentum is 0
 * @param params         receives the masters, rounded to bf16
 * @param out_overflow   receives whether the step was skipped; must be looked at
 * @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_sgd_step_bf16(const tersor_context *context,
                                   const tersor_bf16 *grads,
                                   size_t count,
                                   uint64_t step,
                                   float loss_scale,
                                   const struct tersor_sgd_options *options,
                                   float *master,
                                   float *momentum_buffer,
                                   tersor_bf16 *params,
                                   tersor_overflow *out_overflow);

/**
 * One step of SGD on all tensors of a network, as one transaction.
 *
 * @param gradients       `tensor_count` gradients, of the loss times `scaler->scale`
 * @param tensor_count    how many tensors there are
 * @param max_norm        where the global L2 norm of the unscaled gradients is above this, all are scaled down together;
 *                        0: no clipping
 * @param options         NULL means the defaults
 * @param scaler          moved after the step. NULL: the gradients are not scaled
 * @param parameters      `tensor_count` tensors, changed in place
 * @param out_overflow    receives whether the step was skipped
 * @param out_report      receives what else happened. NULL is allowed
 * @return `TERSOR_E_LENGTH` when a gradient has another length than its parameter; `TERSOR_E_OUT_OF_RANGE` for an option, a
 *         type, the scaler or `max_norm`; `TERSOR_E_STRUCT_SIZE`. Then nothing has changed, the scaler included
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_sgd_step_tensors(const tersor_context *context,
                                      const tersor_gradient *gradients,
                                      size_t tensor_count,
                                      double max_norm,
                                      const struct tersor_sgd_options *options,
                                      tersor_loss_scaler *scaler,
                                      tersor_parameter *parameters,
                                      tersor_overflow *out_overflow,
                                      tersor_step_report *out_report);

/* ============================================================================================================
 * Adam and AdamW.
 * ============================================================================================================ */

/**
 * Adam and AdamW: m = b1 * m + (1 - b1) * g, v = b2 * v + (1 - b2) * g * g, then by torch's rules
 * w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + epsilon), by keras's
 * w -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon).
 *
 * Fill it with `tersor_adam_options_init`, `tersor_adamw_options_init`, `tersor_keras_adam_options_init` or
 * `tersor_keras_adamw_options_init`, then change fields.
 *
 * Since 0.1.
 */
typedef struct tersor_adam_options {
    /**
     * The size of this struct, set by the `_init` function.
     */
    uint32_t struct_size;
    /**
     * Whose rules. Set by the `_init` function.
     */
    tersor_optimizer_rules rules;
    /**
     * Not negative. Default 1e-3.
     */
    double learning_rate;
    /**
     * At least 0 and below 1. Default 0.9.
     */
    double beta1;
    /**
     * At least 0 and below 1. Default 0.999.
     */
    double beta2;
    /**
     * Not negative. Default 1e-8, by keras's rules 1e-7.
     */
    double epsilon;
    /**
     * Not negative. Adam adds weight_decay * w to the gradient, default 0; AdamW takes lr * weight_decay * w from the
     * weight before the step, default 1e-2. By keras's rules both do that, and the default of AdamW is 4e-3.
     */
    double weight_decay;
} tersor_adam_options;

/**
 * Fills `options` with the defaults.
 *
 * @param struct_size  `sizeof *options`
 * @return `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adam_options_init(struct tersor_adam_options *options,
                                       size_t struct_size);

/**
 * One step of Adam on one tensor in f32.
 *
 * @param grads          `count` gradients of the loss times `loss_scale`
 * @param step           the number of this step, from 1; a skipped step's number is used again
 * @param loss_scale     1 without loss scaling
 * @param options        NULL means the defaults
 * @param params         `count` weights, changed in place
 * @param moment1        `count` numbers, 0 before the first step
 * @param moment2        `count` numbers, 0 before the first step
 * @param out_overflow   receives whether the step was skipped; must be looked at
 * @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adam_step_f32(const tersor_context *context,
                                   const float *grads,
                                   size_t count,
                                   uint64_t step,
                                   float loss_scale,
                                   const struct tersor_adam_options *options,
                                   float *params,
                                   float *moment1,
                                   float *moment2,
                                   tersor_overflow *out_overflow);

/**
 * One step of Adam on one tensor with f16 gradients and weights and f32 masters.
 *
 * @param grads          `count` gradients of the loss times `loss_scale`
 * @param step           the number of this step, from 1; a skipped step's number is used again
 * @param loss_scale     what the loss was multiplied by
 * @param options        NULL means the defaults
 * @param master         `count` weights, changed in place
 * @param moment1        `count` numbers, 0 before the first step
 * @param moment2        `count` numbers, 0 before the first step
 * @param params         receives the masters, rounded to f16
 * @param out_overflow   receives whether the step was skipped; must be looked at
 * @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adam_step_f16(const tersor_context *context,
                                   const tersor_f16 *grads,
                                   size_t count,
                                   uint64_t step,
                                   float loss_scale,
                                   const struct tersor_adam_options *options,
                                   float *master,
                                   float *moment1,
                                   float *moment2,
                                   tersor_f16 *params,
                                   tersor_overflow *out_overflow);

/**
 * One step of Adam on one tensor with bf16 gradients and weights and f32 masters.
 *
 * @param grads          `count` gradients of the loss times `loss_scale`
 * @param step           the number of this step, from 1; a skipped step's number is used again
 * @param loss_scale     what the loss was multiplied by
 * @param options        NULL means the defaults
 * @param master         `count` weights, changed in place
 * @param moment1        `count` numbers, 0 before the first step
 * @param moment2        `count` numbers, 0 before the first step
 * @param params         receives the masters, rounded to bf16
 * @param out_overflow   receives whether the step was skipped; must be looked at
 * @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adam_step_bf16(const tersor_context *context,
                                    const tersor_bf16 *grads,
                                    size_t count,
                                    uint64_t step,
                                    float loss_scale,
                                    const struct tersor_adam_options *options,
                                    float *master,
                                    float *moment1,
                                    float *moment2,
                                    tersor_bf16 *params,
                                    tersor_overflow *out_overflow);

/**
 * One step of Adam on all tensors of a network, as one transaction.
 *
 * @param gradients       `tensor_count` gradients, of the loss times `scaler->scale`
 * @param tensor_count    how many tensors there are
 * @param max_norm        where the global L2 norm of the unscaled gradients is above this, all are scaled down together;
 *                        0: no clipping
 * @param options         NULL means the defaults
 * @param scaler          moved after the step. NULL: the gradients are not scaled
 * @param parameters      `tensor_count` tensors, changed in place
 * @param out_overflow    receives whether the step was skipped
 * @param out_report      receives what else happened. NULL is allowed
 * @return `TERSOR_E_LENGTH` when a gradient has another length than its parameter; `TERSOR_E_OUT_OF_RANGE` for an option, a
 *         type, the scaler or `max_norm`; `TERSOR_E_STRUCT_SIZE`. Then nothing has changed, the scaler included
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adam_step_tensors(const tersor_context *context,
                                       const tersor_gradient *gradients,
                                       size_t tensor_count,
                                       double max_norm,
                                       const struct tersor_adam_options *options,
                                       tersor_loss_scaler *scaler,
                                       tersor_parameter *parameters,
                                       tersor_overflow *out_overflow,
                                       tersor_step_report *out_report);

/**
 * Fills `options` with the defaults of AdamW.
 *
 * @param struct_size  `sizeof *options`
 * @return `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adamw_options_init(struct tersor_adam_options *options,
                                        size_t struct_size);

/**
 * Fills `options` with the defaults of keras's Adam.
 *
 * @param struct_size  `sizeof *options`
 * @return `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_keras_adam_options_init(struct tersor_adam_options *options,
                                             size_t struct_size);

/**
 * Fills `options` with the defaults of keras's AdamW, which is its Adam with another weight decay.
 *
 * @param struct_size  `sizeof *options`
 * @return `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_keras_adamw_options_init(struct tersor_adam_options *options,
                                              size_t struct_size);

/**
 * One step of AdamW on one tensor in f32.
 *
 * @param grads          `count` gradients of the loss times `loss_scale`
 * @param step           the number of this step, from 1; a skipped step's number is used again
 * @param loss_scale     1 without loss scaling
 * @param options        NULL means the defaults
 * @param params         `count` weights, changed in place
 * @param moment1        `count` numbers, 0 before the first step
 * @param moment2        `count` numbers, 0 before the first step
 * @param out_overflow   receives whether the step was skipped; must be looked at
 * @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adamw_step_f32(const tersor_context *context,
                                    const float *grads,
                                    size_t count,
                                    uint64_t step,
                                    float loss_scale,
                                    const struct tersor_adam_options *options,
                                    float *params,
                                    float *moment1,
                                    float *moment2,
                                    tersor_overflow *out_overflow);

/**
 * One step of AdamW on one tensor with f16 gradients and weights and f32 masters.
 *
 * @param grads          `count` gradients of the loss times `loss_scale`
 * @param step           the number of this step, from 1; a skipped step's number is used again
 * @param loss_scale     what the loss was multiplied by
 * @param options        NULL means the defaults
 * @param master         `count` weights, changed in place
 * @param moment1        `count` numbers, 0 before the first step
 * @param moment2        `count` numbers, 0 before the first step
 * @param params         receives the masters, rounded to f16
 * @param out_overflow   receives whether the step was skipped; must be looked at
 * @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adamw_step_f16(const tersor_context *context,
                                    const tersor_f16 *grads,
                                    size_t count,
                                    uint64_t step,
                                    float loss_scale,
                                    const struct tersor_adam_options *options,
                                    float *master,
                                    float *moment1,
                                    float *moment2,
                                    tersor_f16 *params,
                                    tersor_overflow *out_overflow);

/**
 * One step of AdamW on one tensor with bf16 gradients and weights and f32 masters.
 *
 * @param grads          `count` gradients of the loss times `loss_scale`
 * @param step           the number of this step, from 1; a skipped step's number is used again
 * @param loss_scale     what the loss was multiplied by
 * @param options        NULL means the defaults
 * @param master         `count` weights, changed in place
 * @param moment1        `count` numbers, 0 before the first step
 * @param moment2        `count` numbers, 0 before the first step
 * @param params         receives the masters, rounded to bf16
 * @param out_overflow   receives whether the step was skipped; must be looked at
 * @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adamw_step_bf16(const tersor_context *context,
                                     const tersor_bf16 *grads,
                                     size_t count,
                                     uint64_t step,
                                     float loss_scale,
                                     const struct tersor_adam_options *options,
                                     float *master,
                                     float *moment1,
                                     float *moment2,
                                     tersor_bf16 *params,
                                     tersor_overflow *out_overflow);

/**
 * One step of AdamW on all tensors of a network, as one transaction.
 *
 * @param gradients       `tensor_count` gradients, of the loss times `scaler->scale`
 * @param tensor_count    how many tensors there are
 * @param max_norm        where the global L2 norm of the unscaled gradients is above this, all are scaled down together;
 *                        0: no clipping
 * @param options         NULL means the defaults
 * @param scaler          moved after the step. NULL: the gradients are not scaled
 * @param parameters      `tensor_count` tensors, changed in place
 * @param out_overflow    receives whether the step was skipped
 * @param out_report      receives what else happened. NULL is allowed
 * @return `TERSOR_E_LENGTH` when a gradient has another length than its parameter; `TERSOR_E_OUT_OF_RANGE` for an option, a
 *         type, the scaler or `max_norm`; `TERSOR_E_STRUCT_SIZE`. Then nothing has changed, the scaler included
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adamw_step_tensors(const tersor_context *context,
                                        const tersor_gradient *gradients,
                                        size_t tensor_count,
                                        double max_norm,
                                        const struct tersor_adam_options *options,
                                        tersor_loss_scaler *scaler,
                                        tersor_parameter *parameters,
                                        tersor_overflow *out_overflow,
                                        tersor_step_report *out_report);

/* ============================================================================================================
 * Adagrad.
 * ============================================================================================================ */

/**
 * Adagrad: s += g * g, then by torch's rules w -= lr / (1 + (t - 1) * learning_rate_decay) * g / (sqrt(s) + epsilon), by
 * keras's w -= lr * g / sqrt(s + epsilon).
 *
 * Fill it with `tersor_adagrad_options_init` or `tersor_keras_adagrad_options_init`, then change fields.
 *
 * Since 0.1.
 */
typedef struct tersor_adagrad_options {
    /**
     * The size of this struct, set by the `_init` function.
     */
    uint32_t struct_size;
    /**
     * Whose rules. Set by the `_init` function.
     */
    tersor_optimizer_rules rules;
    /**
     * Not negative. Default 1e-2, by keras's rules 1e-3.
     */
    double learning_rate;
    /**
     * Not negative. Default 0, which is all that keras's rules have.
     */
    double learning_rate_decay;
    /**
     * Added to the gradient as weight_decay * w; decoupled by keras's rules. Not negative. Default 0.
     */
    double weight_decay;
    /**
     * The sum of squares that the caller starts from, to which a mask resets. Not negative. Default 0, by keras's rules 0.1.
     */
    double initial_accumulator;
    /**
     * Not negative. Default 1e-10, by keras's rules 1e-7.
     */
    double epsilon;
} tersor_adagrad_options;

/**
 * Fills `options` with the defaults.
 *
 * @param struct_size  `sizeof *options`
 * @return `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adagrad_options_init(struct tersor_adagrad_options *options,
                                          size_t struct_size);

/**
 * Fills `options` with the defaults of keras's Adagrad, whose sums of squares start at 0.1.
 *
 * @param struct_size  `sizeof *options`
 * @return `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_keras_adagrad_options_init(struct tersor_adagrad_options *options,
                                                size_t struct_size);

/**
 * One step of Adagrad on one tensor in f32.
 *
 * @param grads          `count` gradients of the loss times `loss_scale`
 * @param step           the number of this step, from 1; a skipped step's number is used again
 * @param loss_scale     1 without loss scaling
 * @param options        NULL means the defaults
 * @param params         `count` weights, changed in place
 * @param sum            `count` numbers, `initial_accumulator` before the first step
 * @param out_overflow   receives whether the step was skipped; must be looked at
 * @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adagrad_step_f32(const tersor_context *context,
                                      const float *grads,
                                      size_t count,
                                      uint64_t step,
                                      float loss_scale,
                                      const struct tersor_adagrad_options *options,
                                      float *params,
                                      float *sum,
                                      tersor_overflow *out_overflow);

/**
 * One step of Adagrad on one tensor with f16 gradients and weights and f32 masters.
 *
 * @param grads          `count` gradients of the loss times `loss_scale`
 * @param step           the number of this step, from 1; a skipped step's number is used again
 * @param loss_scale     what the loss was multiplied by
 * @param options        NULL means the defaults
 * @param master         `count` weights, changed in place
 * @param sum            `count` numbers, `initial_accumulator` before the first step
 * @param params         receives the masters, rounded to f16
 * @param out_overflow   receives whether the step was skipped; must be looked at
 * @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adagrad_step_f16(const tersor_context *context,
                                      const tersor_f16 *grads,
                                      size_t count,
                                      uint64_t step,
                                      float loss_scale,
                                      const struct tersor_adagrad_options *options,
                                      float *master,
                                      float *sum,
                                      tersor_f16 *params,
                                      tersor_overflow *out_overflow);

/**
 * One step of Adagrad on one tensor with bf16 gradients and weights and f32 masters.
 *
 * @param grads          `count` gradients of the loss times `loss_scale`
 * @param step           the number of this step, from 1; a skipped step's number is used again
 * @param loss_scale     what the loss was multiplied by
 * @param options        NULL means the defaults
 * @param master         `count` weights, changed in place
 * @param sum            `count` numbers, `initial_accumulator` before the first step
 * @param params         receives the masters, rounded to bf16
 * @param out_overflow   receives whether the step was skipped; must be looked at
 * @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adagrad_step_bf16(const tersor_context *context,
                                       const tersor_bf16 *grads,
                                       size_t count,
                                       uint64_t step,
                                       float loss_scale,
                                       const struct tersor_adagrad_options *options,
                                       float *master,
                                       float *sum,
                                       tersor_bf16 *params,
                                       tersor_overflow *out_overflow);

/**
 * One step of Adagrad on all tensors of a network, as one transaction.
 *
 * @param gradients       `tensor_count` gradients, of the loss times `scaler->scale`
 * @param tensor_count    how many tensors there are
 * @param max_norm        where the global L2 norm of the unscaled gradients is above this, all are scaled down together;
 *                        0: no clipping
 * @param options         NULL means the defaults
 * @param scaler          moved after the step. NULL: the gradients are not scaled
 * @param parameters      `tensor_count` tensors, changed in place
 * @param out_overflow    receives whether the step was skipped
 * @param out_report      receives what else happened. NULL is allowed
 * @return `TERSOR_E_LENGTH` when a gradient has another length than its parameter; `TERSOR_E_OUT_OF_RANGE` for an option, a
 *         type, the scaler or `max_norm`; `TERSOR_E_STRUCT_SIZE`. Then nothing has changed, the scaler included
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_adagrad_step_tensors(const tersor_context *context,
                                          const tersor_gradient *gradients,
                                          size_t tensor_count,
                                          double max_norm,
                                          const struct tersor_adagrad_options *options,
                                          tersor_loss_scaler *scaler,
                                          tersor_parameter *parameters,
                                          tersor_overflow *out_overflow,
                                          tersor_step_report *out_report);

/* ============================================================================================================
 * Packing linear layers: weights are packed once into the caller's bytes, and used many times. y = x * w^T + bias, where w has a row
 * of `k` weights for each of `n` outputs. The bytes can be stored, and used on any machine at any alignment; a header is
 * checked at every use, and bytes that are foreign, cut off, of another version or damaged in the header are
 * `TERSOR_E_LAYOUT`. Weights are not under the checksum: damage there may compute other numbers, and nothing worse. Of weights that no
 * cache holds a single row takes up to a tenth less time where they lie in large pages (`madvise` on Linux, before they are written).
 * ============================================================================================================ */

/**
 * How many bytes `tersor_pack_f32` writes for `n` x `k` weights.
 *
 * @param out_bytes  receives the size
 * @return nothing beyond the conventions
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_f32_size(const tersor_context *context,
                                   size_t n,
                                   size_t k,
                                   size_t *out_bytes);

/**
 * Packs f32 weights.
 *
 * @param weights       `n` rows of `k` weights; those that survive are finite
 * @param mask          what it condemns counts as 0. NULL: everything survives
 * @param mask_bytes    the size of `mask`
 * @param packed        receives the layer
 * @param packed_bytes  exactly what `tersor_pack_f32_size` says
 * @return `TERSOR_E_NOT_FINITE` naming the weight; `TERSOR_E_LENGTH` for `packed_bytes` or `mask_bytes`;
 *         `TERSOR_E_OUT_OF_RANGE` for the stride
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_f32(const tersor_context *context,
                              const float *weights,
                              size_t n,
                              size_t k,
                              size_t stride,
                              const uint8_t *mask,
                              size_t mask_bytes,
                              void *packed,
                              size_t packed_bytes);

/**
 * How many bytes `tersor_pack_f16` writes for `n` x `k` weights.
 *
 * @param out_bytes  receives the size
 * @return nothing beyond the conventions
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_f16_size(const tersor_context *context,
                                   size_t n,
                                   size_t k,
                                   size_t *out_bytes);

/**
 * Packs f16 weights.
 *
 * @param weights       `n` rows of `k` weights; those that survive are finite
 * @param mask          what it condemns counts as 0. NULL: everything survives
 * @param mask_bytes    the size of `mask`
 * @param packed        receives the layer
 * @param packed_bytes  exactly what `tersor_pack_f16_size` says
 * @return `TERSOR_E_NOT_FINITE` naming the weight; `TERSOR_E_LENGTH` for `packed_bytes` or `mask_bytes`;
 *         `TERSOR_E_OUT_OF_RANGE` for the stride
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_f16(const tersor_context *context,
                              const tersor_f16 *weights,
                              size_t n,
                              size_t k,
                              size_t stride,
                              const uint8_t *mask,
                              size_t mask_bytes,
                              void *packed,
                              size_t packed_bytes);

/**
 * How many bytes `tersor_pack_bf16` writes for `n` x `k` weights.
 *
 * @param out_bytes  receives the size
 * @return nothing beyond the conventions
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_bf16_size(const tersor_context *context,
                                    size_t n,
                                    size_t k,
                                    size_t *out_bytes);

/**
 * Packs bf16 weights.
 *
 * @param weights       `n` rows of `k` weights; those that survive are finite
 * @param mask          what it condemns counts as 0. NULL: everything survives
 * @param mask_bytes    the size of `mask`
 * @param packed        receives the layer
 * @param packed_bytes  exactly what `tersor_pack_bf16_size` says
 * @return `TERSOR_E_NOT_FINITE` naming the weight; `TERSOR_E_LENGTH` for `packed_bytes` or `mask_bytes`;
 *         `TERSOR_E_OUT_OF_RANGE` for the stride
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_bf16(const tersor_context *context,
                               const tersor_bf16 *weights,
                               size_t n,
                               size_t k,
                               size_t stride,
                               const uint8_t *mask,
                               size_t mask_bytes,
                               void *packed,
                               size_t packed_bytes);

/**
 * How many bytes `tersor_pack_bf16_dot` writes for `n` x `k` weights.
 *
 * @param out_bytes  receives the size
 * @return nothing beyond the conventions
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_bf16_dot_size(const tersor_context *context,
                                        size_t n,
                                        size_t k,
                                        size_t *out_bytes);

/**
 * Packs bf16 weights for the dot product of bf16, which some processors have (AVX-512 BF16, AMX): `x` is rounded to bf16 in every
 * call, to nearest even, products are exact, and sums are f32. For many rows: AVX-512 takes half the time of
 * f32 on a Zen 4 core, more than that of f32 on a Xeon, and its AMX a fifth.
 *
 * @param weights       `n` rows of `k` weights; those that survive are finite
 * @param mask          what it condemns counts as 0. NULL: everything survives
 * @param mask_bytes    the size of `mask`
 * @param packed        receives the layer
 * @param packed_bytes  exactly what `tersor_pack_bf16_dot_size` says
 * @return `TERSOR_E_NOT_FINITE` naming the weight; `TERSOR_E_LENGTH` for `packed_bytes` or `mask_bytes`;
 *         `TERSOR_E_OUT_OF_RANGE` for the stride
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_bf16_dot(const tersor_context *context,
                                   const tersor_bf16 *weights,
                                   size_t n,
                                   size_t k,
                                   size_t stride,
                                   const uint8_t *mask,
                                   size_t mask_bytes,
                                   void *packed,
                                   size_t packed_bytes);

/**
 * How many bytes `tersor_pack_i8` writes for `n` x `k` codes.
 *
 * @param zero_points  those that will be packed; NULL means all are 0
 * @param channels     how many: 1 or `n`
 * @param out_bytes    receives the size, which is smaller where every zero point is 0
 * @return `TERSOR_E_OUT_OF_RANGE` when `k` is so large that int32 sums could overflow, and for `channels`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_i8_size(const tersor_context *context,
                                  size_t n,
                                  size_t k,
                                  const int32_t *zero_points,
                                  size_t channels,
                                  size_t *out_bytes);

/**
 * Packs int8 codes: the weight is scale * (code - zero_point).
 *
 * @param weights       `n` rows of `k` codes
 * @param scales        `channels` scales, finite and above 0; NULL means all are 1 (for `tersor_matmul_i8`)
 * @param zero_points   `channels` zero points, each a code; NULL means all are 0
 * @param channels      1, or `n`
 * @param packed        receives the layer
 * @param packed_bytes  exactly what `tersor_pack_i8_size` says
 * @return `TERSOR_E_LENGTH`, `TERSOR_E_OUT_OF_RANGE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_i8(const tersor_context *context,
                             const int8_t *weights,
                             size_t n,
                             size_t k,
                             size_t stride,
                             const float *scales,
                             const int32_t *zero_points,
                             size_t channels,
                             void *packed,
                             size_t packed_bytes);

/**
 * How many bytes `tersor_pack_u8` writes for `n` x `k` codes.
 *
 * @param zero_points  those that will be packed; NULL means all are 0
 * @param channels     how many: 1 or `n`
 * @param out_bytes    receives the size, which is smaller where every zero point is 128
 * @return `TERSOR_E_OUT_OF_RANGE` when `k` is so large that int32 sums could overflow, and for `channels`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_u8_size(const tersor_context *context,
                                  size_t n,
                                  size_t k,
                                  const int32_t *zero_points,
                                  size_t channels,
                                  size_t *out_bytes);

/**
 * Packs uint8 codes: the weight is scale * (code - zero_point).
 *
 * @param weights       `n` rows of `k` codes
 * @param scales        `channels` scales, finite and above 0; NULL means all are 1 (for `tersor_matmul_i8`)
 * @param zero_points   `channels` zero points, each a code; NULL means all are 0
 * @param channels      1, or `n`
 * @param packed        receives the layer
 * @param packed_bytes  exactly what `tersor_pack_u8_size` says
 * @return `TERSOR_E_LENGTH`, `TERSOR_E_OUT_OF_RANGE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_u8(const tersor_context *context,
                             const uint8_t *weights,
                             size_t n,
                             size_t k,
                             size_t stride,
                             const float *scales,
                             const int32_t *zero_points,
                             size_t channels,
                             void *packed,
                             size_t packed_bytes);

/**
 * How many bytes `tersor_pack_int4` writes for `n` x `k` codes in groups of `group_size` inputs.
 *
 * @param zero_points  those that will be packed; NULL means all are 0
 * @param out_bytes    receives the size, which is smaller where every zero point is 0
 * @return `TERSOR_E_OUT_OF_RANGE` for `group_size`, and when `k` is so large that int32 sums could overflow
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_int4_size(const tersor_context *context,
                                    size_t n,
                                    size_t k,
                                    size_t group_size,
                                    const int32_t *zero_points,
                                    size_t *out_bytes);

/**
 * Packs int4 codes in groups of inputs: the weight is scale * (code - zero_point), with the scale and the zero point of its
 * output and group. A group is `group_size` inputs side by side; the last of a row may have fewer.
 *
 * @param codes         `n` rows of `k` codes, -8 to 7, each in a byte
 * @param group_size    a multiple of 4 above 0, or at least `k` for whole rows
 * @param scales        for each output a scale for each group, without gaps, finite and above 0
 * @param zero_points   in the order of the scales, -8 to 7; NULL means all are 0
 * @param packed        receives the layer
 * @param packed_bytes  exactly what `tersor_pack_int4_size` says
 * @return `TERSOR_E_LENGTH`, `TERSOR_E_OUT_OF_RANGE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_int4(const tersor_context *context,
                               const int8_t *codes,
                               size_t n,
                               size_t k,
                               size_t stride,
                               size_t group_size,
                               const float *scales,
                               const int32_t *zero_points,
                               void *packed,
                               size_t packed_bytes);

/**
 * How many bytes `tersor_pack_sparse_f32` writes. Depends on how many weights survive.
 *
 * @param out_bytes  receives the size
 * @return as `tersor_pack_sparse_f32`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_sparse_f32_size(const tersor_context *context,
                                          const float *weights,
                                          size_t n,
                                          size_t k,
                                          size_t stride,
                                          const uint8_t *mask,
                                          size_t mask_bytes,
                                          size_t *out_bytes);

/**
 * Packs the f32 weights that are not 0: in blocks of 16 outputs, where zeros come in whole blocks, else one by one (whichever
 * takes fewer bytes; blocks run several times as fast).
 *
 * @param weights       `n` rows of `k` weights; those that survive are finite
 * @param mask          what it condemns counts as 0. NULL: everything survives
 * @param mask_bytes    the size of `mask`
 * @param packed        receives the layer
 * @param packed_bytes  exactly what `tersor_pack_sparse_f32_size` says
 * @return `TERSOR_E_NOT_FINITE` naming the weight; `TERSOR_E_LENGTH`; `TERSOR_E_OUT_OF_RANGE` for more inputs than 65,536
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_sparse_f32(const tersor_context *context,
                                     const float *weights,
                                     size_t n,
                                     size_t k,
                                     size_t stride,
                                     const uint8_t *mask,
                                     size_t mask_bytes,
                                     void *packed,
                                     size_t packed_bytes);

/**
 * How many bytes `tersor_pack_sparse_i8` writes. Depends on how many weights or blocks survive.
 *
 * @param out_bytes  receives the size
 * @return as `tersor_pack_sparse_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_sparse_i8_size(const tersor_context *context,
                                         const int8_t *weights,
                                         size_t n,
                                         size_t k,
                                         size_t stride,
                                         const uint8_t *mask,
                                         size_t mask_bytes,
                                         size_t *out_bytes);

/**
 * Packs the int8 codes that are not 0, and a bit for every code; or blocks of them that are not all 0, of 16 outputs and four
 * inputs or of one output and four inputs. Whichever takes the fewest bytes, but blocks of one output also if they take up to an eighth
 * more than single codes: they run many rows faster. Blocks of 16 outputs run several times as fast.
 *
 * AMX multiplies such blocks as well where they come in blocks of 16 outputs and 64 inputs, as `tersor_prune_*` leaves them by a pattern of
 * `block_rows` 16 and `block_cols` 64, from three rows of x on. A few blocks of four inputs in these that happen to be zero are stored then,
 * at most a sixteenth more. On other machines they run as fast as blocks of four inputs. But at the same sparsity a network loses
 * more accuracy by them.
 *
 * @param weights       `n` rows of `k` codes, whose zero point is 0
 * @param scales        `channels` scales, finite and above 0; NULL means all are 1
 * @param channels      1, or `n`
 * @param mask          what it condemns counts as 0. NULL: everything survives
 * @param mask_bytes    the size of `mask`
 * @param packed        receives the layer
 * @param packed_bytes  exactly what `tersor_pack_sparse_i8_size` says
 * @return `TERSOR_E_LENGTH`, `TERSOR_E_OUT_OF_RANGE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_pack_sparse_i8(const tersor_context *context,
                                    const int8_t *weights,
                                    size_t n,
                                    size_t k,
                                    size_t stride,
                                    const float *scales,
                                    size_t channels,
                                    const uint8_t *mask,
                                    size_t mask_bytes,
                                    void *packed,
                                    size_t packed_bytes);

/* ============================================================================================================
 * What a packed layer has beside its weights: a bias, limits, and the quantization of what it reads and writes. All of it is written
 * into the packed bytes, in place. And the check of packed bytes that come from elsewhere.
 * ============================================================================================================ */

/**
 * Gives a packed layer a bias.
 *
 * @param bias    `n` numbers, all finite
 * @param n       the outputs of the layer
 * @param packed  changed in place
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` when the layer has another number of outputs; `TERSOR_E_NOT_FINITE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_packed_set_bias(const float *bias,
                                     size_t n,
                                     void *packed,
                                     size_t packed_bytes);

/**
 * Gives a packed integer layer a fixed quantization of its input to int8, from calibration. Without one, each row of the
 * input gets a scale of its own when it is multiplied.
 *
 * @param scale       finite and above 0
 * @param zero_point  an int8 code
 * @param packed      changed in place
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE`; `TERSOR_E_UNSUPPORTED` for a layer of floats
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_packed_set_input_i8(float scale,
                                         int32_t zero_point,
                                         void *packed,
                                         size_t packed_bytes);

/**
 * Gives a packed integer layer a fixed quantization of its input to uint8, from calibration. Without one, each row of the
 * input gets a scale of its own when it is multiplied.
 *
 * @param scale       finite and above 0
 * @param zero_point  an uint8 code
 * @param packed      changed in place
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE`; `TERSOR_E_UNSUPPORTED` for a layer of floats
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_packed_set_input_u8(float scale,
                                         int32_t zero_point,
                                         void *packed,
                                         size_t packed_bytes);

/**
 * Keeps the input of a packed int4 layer in float: x is multiplied as it is, with weights that are widened on the way, and the
 * sums are f32. Finer than codes of x, and slower where rows are many. `tersor_packed_set_input_i8` and `_u8` undo it.
 *
 * @param packed  changed in place
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_UNSUPPORTED` for a layer that is not of int4 codes
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_packed_set_input_float(void *packed,
                                            size_t packed_bytes);

/**
 * Limits the output of a packed layer: y = min(max(y, low), high), after the bias and before y is rounded. ReLU is 0 and
 * infinity, ReLU6 is 0 and 6. NaN stays NaN. It takes no pass of its own over y.
 *
 * @param low     below infinity
 * @param high    at least `low`, and above -infinity
 * @param packed  changed in place
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_packed_set_clamp(float low,
                                      float high,
                                      void *packed,
                                      size_t packed_bytes);

/**
 * Gives a packed layer of any kind a fixed quantization of its output to int8, from calibration, for
 * `tersor_linear_forward_i8` and `tersor_linear_forward_f32_i8`.
 *
 * @param scale       finite and above 0
 * @param zero_point  an int8 code
 * @param packed      changed in place
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_packed_set_output_i8(float scale,
                                          int32_t zero_point,
                                          void *packed,
                                          size_t packed_bytes);

/**
 * Gives a packed layer of any kind a fixed quantization of its output to uint8, from calibration, for
 * `tersor_linear_forward_u8` and `tersor_linear_forward_f32_u8`.
 *
 * @param scale       finite and above 0
 * @param zero_point  an uint8 code
 * @param packed      changed in place
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_packed_set_output_u8(float scale,
                                          int32_t zero_point,
                                          void *packed,
                                          size_t packed_bytes);

/**
 * Checks packed bytes that come from elsewhere, as from a file: the header, the length, and that all that says where weights of a
 * sparse layer belong leads there. Call it once, when they were loaded: of a sparse layer it reads something for each weight.
 *
 * Every function that uses a layer checks the header, the length, and where the weights of each output begin, and reads
 * nothing of each weight before it multiplies. From bytes that this function refuses it may compute other numbers. Nothing else
 * happens: no access outside of the buffers, and no more work than such a layer takes. Weights themselves are not under a checksum,
 * so this function does not find a changed one either.
 *
 * @return `TERSOR_E_LAYOUT`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_packed_check(const void *packed,
                                  size_t packed_bytes);

/**
 * Says what layer packed bytes hold.
 *
 * @param out_n  receives the number of outputs; NULL is allowed
 * @param out_k  receives the number of inputs; NULL is allowed
 * @return `TERSOR_E_LAYOUT`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_packed_shape(const void *packed,
                                  size_t packed_bytes,
                                  size_t *out_n,
                                  size_t *out_k);

/* ============================================================================================================
 * Running linear layers: y = x * w^T + bias for packed layers of any kind, and products of codes and of plain matrices. Layers that
 * come from elsewhere are checked by `tersor_packed_check`, once; here only their headers are, and where weights begin.
 * ============================================================================================================ */

/**
 * How many bytes of scratch memory `tersor_linear_forward_*` and `tersor_matmul_i8` and `_u8` need.
 *
 * @param m          how many rows the input will have
 * @param out_bytes  receives the size; it can be 0
 * @return `TERSOR_E_LAYOUT`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_linear_forward_size(const tersor_context *context,
                                         const void *packed,
                                         size_t packed_bytes,
                                         size_t m,
                                         size_t *out_bytes);

/**
 * y = x * w^T + bias, in f32, for a layer of any kind.
 *
 * @param x              `m` rows of `k` numbers; finite for an integer layer that quantizes each row
 * @param packed         the layer
 * @param scratch        memory that the call may use; any alignment
 * @param scratch_bytes  at least what `tersor_linear_forward_size` says
 * @param y              receives `m` rows of `n` numbers
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_NOT_FINITE`;
 *         `TERSOR_E_OUT_OF_RANGE` for a stride
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_linear_forward_f32(const tersor_context *context,
                                        const float *x,
                                        size_t m,
                                        size_t x_stride,
                                        const void *packed,
                                        size_t packed_bytes,
                                        void *scratch,
                                        size_t scratch_bytes,
                                        float *y,
                                        size_t y_stride);

/**
 * y = x * w^T + bias, in f16 with f32 sums, for a layer of any kind.
 *
 * @param x              `m` rows of `k` numbers; finite for an integer layer that quantizes each row
 * @param packed         the layer
 * @param scratch        memory that the call may use; any alignment
 * @param scratch_bytes  at least what `tersor_linear_forward_size` says
 * @param y              receives `m` rows of `n` numbers
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_NOT_FINITE`;
 *         `TERSOR_E_OUT_OF_RANGE` for a stride
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_linear_forward_f16(const tersor_context *context,
                                        const tersor_f16 *x,
                                        size_t m,
                                        size_t x_stride,
                                        const void *packed,
                                        size_t packed_bytes,
                                        void *scratch,
                                        size_t scratch_bytes,
                                        tersor_f16 *y,
                                        size_t y_stride);

/**
 * y = x * w^T + bias, in bf16 with f32 sums, for a layer of any kind.
 *
 * @param x              `m` rows of `k` numbers; finite for an integer layer that quantizes each row
 * @param packed         the layer
 * @param scratch        memory that the call may use; any alignment
 * @param scratch_bytes  at least what `tersor_linear_forward_size` says
 * @param y              receives `m` rows of `n` numbers
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_NOT_FINITE`;
 *         `TERSOR_E_OUT_OF_RANGE` for a stride
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_linear_forward_bf16(const tersor_context *context,
                                         const tersor_bf16 *x,
                                         size_t m,
                                         size_t x_stride,
                                         const void *packed,
                                         size_t packed_bytes,
                                         void *scratch,
                                         size_t scratch_bytes,
                                         tersor_bf16 *y,
                                         size_t y_stride);

/**
 * As `tersor_linear_forward_f32`, from int8 codes to int8 codes: x is quantized as `tersor_packed_set_input_i8` said, and y
 * becomes what quantizing the f32 y as `tersor_packed_set_output_i8` said would give, to the bit. So a chain of layers need
 * not leave int8.
 *
 * @param x              `m` rows of `k` codes
 * @param packed         the layer
 * @param scratch        memory that the call may use; any alignment
 * @param scratch_bytes  at least what `tersor_linear_forward_size` says
 * @param y              receives `m` rows of `n` codes
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_OUT_OF_RANGE`
 *         for a stride; `TERSOR_E_UNSUPPORTED` for a layer without `tersor_packed_set_input_i8` or `tersor_packed_set_output_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_linear_forward_i8(const tersor_context *context,
                                       const int8_t *x,
                                       size_t m,
                                       size_t x_stride,
                                       const void *packed,
                                       size_t packed_bytes,
                                       void *scratch,
                                       size_t scratch_bytes,
                                       int8_t *y,
                                       size_t y_stride);

/**
 * As `tersor_linear_forward_f32`, from uint8 codes to uint8 codes: x is quantized as `tersor_packed_set_input_u8` said, and y
 * becomes what quantizing the f32 y as `tersor_packed_set_output_u8` said would give, to the bit. So a chain of layers need
 * not leave uint8.
 *
 * @param x              `m` rows of `k` codes
 * @param packed         the layer
 * @param scratch        memory that the call may use; any alignment
 * @param scratch_bytes  at least what `tersor_linear_forward_size` says
 * @param y              receives `m` rows of `n` codes
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_OUT_OF_RANGE`
 *         for a stride; `TERSOR_E_UNSUPPORTED` for a layer without `tersor_packed_set_input_u8` or `tersor_packed_set_output_u8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_linear_forward_u8(const tersor_context *context,
                                       const uint8_t *x,
                                       size_t m,
                                       size_t x_stride,
                                       const void *packed,
                                       size_t packed_bytes,
                                       void *scratch,
                                       size_t scratch_bytes,
                                       uint8_t *y,
                                       size_t y_stride);

/**
 * As `tersor_linear_forward_f32`, to int8 codes: the first of a chain of layers. See `tersor_linear_forward_i8`.
 *
 * @param x              `m` rows of `k` numbers; finite for an integer layer that quantizes each row
 * @param packed         the layer
 * @param scratch        memory that the call may use; any alignment
 * @param scratch_bytes  at least what `tersor_linear_forward_size` says
 * @param y              receives `m` rows of `n` codes
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_NOT_FINITE`; `TERSOR_E_OUT_OF_RANGE`
 *         for a stride; `TERSOR_E_UNSUPPORTED` for a layer without `tersor_packed_set_output_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_linear_forward_f32_i8(const tersor_context *context,
                                           const float *x,
                                           size_t m,
                                           size_t x_stride,
                                           const void *packed,
                                           size_t packed_bytes,
                                           void *scratch,
                                           size_t scratch_bytes,
                                           int8_t *y,
                                           size_t y_stride);

/**
 * As `tersor_linear_forward_f32`, to uint8 codes: the first of a chain of layers. See `tersor_linear_forward_u8`.
 *
 * @param x              `m` rows of `k` numbers; finite for an integer layer that quantizes each row
 * @param packed         the layer
 * @param scratch        memory that the call may use; any alignment
 * @param scratch_bytes  at least what `tersor_linear_forward_size` says
 * @param y              receives `m` rows of `n` codes
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_NOT_FINITE`; `TERSOR_E_OUT_OF_RANGE`
 *         for a stride; `TERSOR_E_UNSUPPORTED` for a layer without `tersor_packed_set_output_u8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_linear_forward_f32_u8(const tersor_context *context,
                                           const float *x,
                                           size_t m,
                                           size_t x_stride,
                                           const void *packed,
                                           size_t packed_bytes,
                                           void *scratch,
                                           size_t scratch_bytes,
                                           uint8_t *y,
                                           size_t y_stride);

/**
 * As `tersor_linear_forward_f32`, from int8 codes: the last of a chain of layers. See `tersor_linear_forward_i8`.
 *
 * @param x              `m` rows of `k` codes
 * @param packed         the layer
 * @param scratch        memory that the call may use; any alignment
 * @param scratch_bytes  at least what `tersor_linear_forward_size` says
 * @param y              receives `m` rows of `n` numbers
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_OUT_OF_RANGE`
 *         for a stride; `TERSOR_E_UNSUPPORTED` for a layer without `tersor_packed_set_input_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_linear_forward_i8_f32(const tersor_context *context,
                                           const int8_t *x,
                                           size_t m,
                                           size_t x_stride,
                                           const void *packed,
                                           size_t packed_bytes,
                                           void *scratch,
                                           size_t scratch_bytes,
                                           float *y,
                                           size_t y_stride);

/**
 * As `tersor_linear_forward_f32`, from uint8 codes: the last of a chain of layers. See `tersor_linear_forward_u8`.
 *
 * @param x              `m` rows of `k` codes
 * @param packed         the layer
 * @param scratch        memory that the call may use; any alignment
 * @param scratch_bytes  at least what `tersor_linear_forward_size` says
 * @param y              receives `m` rows of `n` numbers
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_OUT_OF_RANGE`
 *         for a stride; `TERSOR_E_UNSUPPORTED` for a layer without `tersor_packed_set_input_u8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_linear_forward_u8_f32(const tersor_context *context,
                                           const uint8_t *x,
                                           size_t m,
                                           size_t x_stride,
                                           const void *packed,
                                           size_t packed_bytes,
                                           void *scratch,
                                           size_t scratch_bytes,
                                           float *y,
                                           size_t y_stride);

/**
 * The exact int32 product of int8 codes with the codes of a packed integer layer, without scales and bias:
 * out = (a - a_zero_point) * (w - w_zero_point)^T, as ONNX MatMulInteger. The same bits everywhere; it cannot overflow.
 *
 * @param a                 `m` rows of `k` codes
 * @param a_zero_points     `a_zero_point_count` zero points; NULL means 0
 * @param a_zero_point_count  1, or `m` for one for each row; ignored when `a_zero_points` is NULL
 * @param packed            a layer packed by `tersor_pack_i8`, `tersor_pack_u8` or `tersor_pack_sparse_i8`
 * @param scratch           memory that the call may use; any alignment
 * @param scratch_bytes     at least what `tersor_linear_forward_size` says
 * @param out               receives `m` rows of `n` sums
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH`; `TERSOR_E_OUT_OF_RANGE`; `TERSOR_E_UNSUPPORTED` for a layer of floats
 *         or int4 codes
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_matmul_i8(const tersor_context *context,
                               const int8_t *a,
                               size_t m,
                               size_t a_stride,
                               const int32_t *a_zero_points,
                               size_t a_zero_point_count,
                               const void *packed,
                               size_t packed_bytes,
                               void *scratch,
                               size_t scratch_bytes,
                               int32_t *out,
                               size_t out_stride);

/**
 * The exact int32 product of uint8 codes with the codes of a packed integer layer, without scales and bias:
 * out = (a - a_zero_point) * (w - w_zero_point)^T, as ONNX MatMulInteger. The same bits everywhere; it cannot overflow.
 *
 * @param a                 `m` rows of `k` codes
 * @param a_zero_points     `a_zero_point_count` zero points; NULL means 0
 * @param a_zero_point_count  1, or `m` for one for each row; ignored when `a_zero_points` is NULL
 * @param packed            a layer packed by `tersor_pack_i8`, `tersor_pack_u8` or `tersor_pack_sparse_i8`
 * @param scratch           memory that the call may use; any alignment
 * @param scratch_bytes     at least what `tersor_linear_forward_size` says
 * @param out               receives `m` rows of `n` sums
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH`; `TERSOR_E_OUT_OF_RANGE`; `TERSOR_E_UNSUPPORTED` for a layer of floats
 *         or int4 codes
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_matmul_u8(const tersor_context *context,
                               const uint8_t *a,
                               size_t m,
                               size_t a_stride,
                               const int32_t *a_zero_points,
                               size_t a_zero_point_count,
                               const void *packed,
                               size_t packed_bytes,
                               void *scratch,
                               size_t scratch_bytes,
                               int32_t *out,
                               size_t out_stride);

/**
 * The plain f32 product of two matrices: c = a * b.
 *
 * @param a  `m` rows of `k` numbers
 * @param b  `k` rows of `n` numbers
 * @param c  receives `m` rows of `n` numbers
 * @return `TERSOR_E_OUT_OF_RANGE` for a stride
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_matmul_f32(const tersor_context *context,
                                const float *a,
                                size_t m,
                                size_t k,
                                size_t a_stride,
                                const float *b,
                                size_t n,
                                size_t b_stride,
                                float *c,
                                size_t c_stride);

/* ============================================================================================================
 * Convolutions: packed layers, fed with the windows of images. Images are pixels in rows, each with its channels side by side (NHWC).
 * The weights of a layer are those of a window, `height * width * channels` for each output (OHWI, as TFLite stores them),
 * or, depthwise, `height * width` for each channel. Every packed layer can convolve, with all that `tersor_packed_set_*` gave it.
 * ============================================================================================================ */

/**
 * The window of a convolution, and how it moves. Fill it with `tersor_conv2d_options_init`, then change fields.
 *
 * Since 0.1.
 */
typedef struct tersor_conv2d_options {
    /**
     * The size of this struct, set by `tersor_conv2d_options_init`.
     */
    uint32_t struct_size;
    /**
     * Not 0: each channel is convolved by itself; the layer is one of int8 codes without zero points. Default 0.
     */
    uint32_t depthwise;
    /**
     * Taps. Default 1.
     */
    uint32_t window_height;
    /**
     * Taps. Default 1.
     */
    uint32_t window_width;
    /**
     * How far the window moves down. Default 1.
     */
    uint32_t stride_height;
    /**
     * How far the window moves to the right. Default 1.
     */
    uint32_t stride_width;
    /**
     * How far taps are apart. Default 1.
     */
    uint32_t dilation_height;
    /**
     * How far taps are apart. Default 1.
     */
    uint32_t dilation_width;
    /**
     * Rows of zeros above. Default 0.
     */
    uint32_t padding_top;
    /**
     * Rows of zeros below. Default 0.
     */
    uint32_t padding_bottom;
    /**
     * Columns of zeros to the left. Default 0.
     */
    uint32_t padding_left;
    /**
     * Columns of zeros to the right. Default 0.
     */
    uint32_t padding_right;
} tersor_conv2d_options;

/**
 * Fills `options` with the defaults: a window of one pixel.
 *
 * @param struct_size  `sizeof *options`
 * @return `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_conv2d_options_init(struct tersor_conv2d_options *options,
                                         size_t struct_size);

/**
 * The size of the output for an image of `height` x `width`.
 *
 * @param options     NULL means the defaults
 * @param out_height  receives the number of rows
 * @param out_width   receives the number of columns
 * @return `TERSOR_E_OUT_OF_RANGE` for a size, stride or dilation of 0, and when the image with its padding is smaller than the
 *         window; `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_conv2d_output_size(size_t height,
                                        size_t width,
                                        const struct tersor_conv2d_options *options,
                                        size_t *out_height,
                                        size_t *out_width);

/**
 * How many bytes of scratch memory `tersor_conv2d_forward_*` need.
 *
 * @param options    NULL means the defaults
 * @param out_bytes  receives the size; it can be 0
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE` for an option, or a layer whose inputs are not those of the window;
 *         `TERSOR_E_UNSUPPORTED` for a depthwise layer that is not of int8 codes; `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_conv2d_forward_size(const tersor_context *context,
                                         size_t batch,
                                         size_t height,
                                         size_t width,
                                         const void *packed,
                                         size_t packed_bytes,
                                         const struct tersor_conv2d_options *options,
                                         size_t *out_bytes);

/**
 * Convolves images of f32.
 *
 * @param x              `batch` x `height` x `width` pixels, each of the numbers of its channels, `x_stride` elements apart; finite where the layer has no fixed quantization of its input
 * @param options        the window
 * @param scratch        memory that the call may use; any alignment
 * @param scratch_bytes  at least what `tersor_conv2d_forward_size` says
 * @param y              receives the numbers of as many pixels as `tersor_conv2d_output_size` says for each image, `y_stride` elements
 *                       apart
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE` for an option, a stride, or a layer whose inputs are not those of the
 *         window; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_NOT_FINITE`; `TERSOR_E_UNSUPPORTED` for a depthwise
 *         layer that is not of int8 codes
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_conv2d_forward_f32(const tersor_context *context,
                                        const float *x,
                                        size_t batch,
                                        size_t height,
                                        size_t width,
                                        size_t x_stride,
                                        const void *packed,
                                        size_t packed_bytes,
                                        const struct tersor_conv2d_options *options,
                                        void *scratch,
                                        size_t scratch_bytes,
                                        float *y,
                                        size_t y_stride);

/**
 * Convolves images of int8 codes, as `tersor_linear_forward_i8` multiplies rows of them.
 *
 * @param x              `batch` x `height` x `width` pixels, each of the codes of its channels, `x_stride` elements apart
 * @param options        the window
 * @param scratch        memory that the call may use; any alignment
 * @param scratch_bytes  at least what `tersor_conv2d_forward_size` says
 * @param y              receives the codes of as many pixels as `tersor_conv2d_output_size` says for each image, `y_stride` elements
 *                       apart
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE` for an option, a stride, or a layer whose inputs are not those of the
 *         window; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_UNSUPPORTED` for a depthwise
 *         layer that is not of int8 codes, and for a layer without `tersor_packed_set_input_i8` and `tersor_packed_set_output_i8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_conv2d_forward_i8(const tersor_context *context,
                                       const int8_t *x,
                                       size_t batch,
                                       size_t height,
                                       size_t width,
                                       size_t x_stride,
                                       const void *packed,
                                       size_t packed_bytes,
                                       const struct tersor_conv2d_options *options,
                                       void *scratch,
                                       size_t scratch_bytes,
                                       int8_t *y,
                                       size_t y_stride);

/**
 * Convolves images of uint8 codes, as `tersor_linear_forward_u8` multiplies rows of them.
 *
 * @param x              `batch` x `height` x `width` pixels, each of the codes of its channels, `x_stride` elements apart
 * @param options        the window
 * @param scratch        memory that the call may use; any alignment
 * @param scratch_bytes  at least what `tersor_conv2d_forward_size` says
 * @param y              receives the codes of as many pixels as `tersor_conv2d_output_size` says for each image, `y_stride` elements
 *                       apart
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE` for an option, a stride, or a layer whose inputs are not those of the
 *         window; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_UNSUPPORTED` for a depthwise
 *         layer that is not of int8 codes, and for a layer without `tersor_packed_set_input_u8` and `tersor_packed_set_output_u8`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_conv2d_forward_u8(const tersor_context *context,
                                       const uint8_t *x,
                                       size_t batch,
                                       size_t height,
                                       size_t width,
                                       size_t x_stride,
                                       const void *packed,
                                       size_t packed_bytes,
                                       const struct tersor_conv2d_options *options,
                                       void *scratch,
                                       size_t scratch_bytes,
                                       uint8_t *y,
                                       size_t y_stride);

/* ============================================================================================================
 * The cost of layers. A calibration of the machine, measured in about a second, predicts how long a layer takes in each
 * format, and from which sparsity on a sparse one is faster. It can be saved as text, and holds for the instruction set
 * and the threads that it was measured with.
 * ============================================================================================================ */

/**
 * What was measured of a machine. Any number of threads may use one at the same time.
 *
 * Since 0.1.
 */
typedef struct tersor_calibration tersor_calibration;

/**
 * How the weights of a layer are stored: one of the constants below.
 *
 * Since 0.1.
 */
typedef uint32_t tersor_format;

/**
 * A layer without its weights, and how it is run. Fill it with `tersor_workload_init` or `tersor_workload_of_packed`, then
 * change fields.
 *
 * Since 0.1.
 */
typedef struct tersor_workload {
    /**
     * The size of this struct, set by `tersor_workload_init`.
     */
    uint32_t struct_size;
    /**
     * How the weights are stored.
     */
    tersor_format format;
    /**
     * The rows of x and y. Default 1.
     */
    size_t m;
    /**
     * The outputs of the layer.
     */
    size_t n;
    /**
     * The inputs of the layer.
     */
    size_t k;
    /**
     * How many threads run it. Default 1.
     */
    size_t threads;
    /**
     * The fraction of the weights that are zero, 0 to 1; only sparse formats look at it. Default 0.
     */
    double sparsity;
    /**
     * Outputs of the blocks in which weights are zero; 1 for weights that were pruned one by one. Default: of the blocks that
     * the format skips best, 16 for a sparse one.
     */
    size_t block_outputs;
    /**
     * Inputs of these blocks. Default: 4 for sparse int8, else 1. 64 inputs (and 16 outputs) are what AMX skips in sparse int8.
     */
    size_t block_inputs;
    /**
     * Inputs that share a scale; only int4 looks at it. Default 128.
     */
    size_t group_size;
    /**
     * Not 0: the weights have zero points (int8 and int4). Default 0.
     */
    uint32_t zero_points;
    /**
     * 0.
     */
    uint32_t reserved;
} tersor_workload;

/**
 * What a layer is predicted to cost.
 *
 * Since 0.1.
 */
typedef struct tersor_prediction {
    /**
     * How the weights are stored.
     */
    tersor_format format;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * How long a call takes, from f32 to f32, when there was one before.
     */
    double seconds;
    /**
     * How many bytes the packed layer has; for a sparse format what is expected.
     */
    size_t bytes;
} tersor_prediction;

/**
 * Every weight, in f32: `tersor_pack_f32`. Since 0.1.
 */
#define TERSOR_FORMAT_F32 1

/**
 * Every weight, in f16: `tersor_pack_f16`. Since 0.1.
 */
#define TERSOR_FORMAT_F16 2

/**
 * Every weight, in bf16: `tersor_pack_bf16`. Since 0.1.
 */
#define TERSOR_FORMAT_BF16 3

/**
 * Every weight, as an int8 code: `tersor_pack_i8`. Since 0.1.
 */
#define TERSOR_FORMAT_I8 4

/**
 * The weights that are not zero, in f32: `tersor_pack_sparse_f32`. Since 0.1.
 */
#define TERSOR_FORMAT_SPARSE_F32 5

/**
 * The int8 codes, or blocks of them, that are not zero: `tersor_pack_sparse_i8`. Since 0.1.
 */
#define TERSOR_FORMAT_SPARSE_I8 6

/**
 * Every weight, as an int4 code: `tersor_pack_int4`. Since 0.1.
 */
#define TERSOR_FORMAT_INT4 7

/**
 * Every weight, in bf16 for its dot product: `tersor_pack_bf16_dot`. Since 0.1.
 */
#define TERSOR_FORMAT_BF16_DOT 8

/**
 * Measures this machine, for the instruction set and the threads of the context. Takes about a second and 70 MB of
 * memory, on a machine that does nothing else. The clock of a processor moves: see `tersor_calibration_merge`. Measure with a
 * release build of the library: a debug build times its own, unoptimized code, and what it predicts is wrong for any other.
 *
 * @param context          NULL is allowed
 * @param out_calibration  receives the calibration; pass it to `tersor_calibration_destroy` at the end
 * @return `TERSOR_E_ISA`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_calibration_measure(const tersor_context *context,
                                         struct tersor_calibration **out_calibration);

/**
 * Reads what `tersor_calibration_text` wrote.
 *
 * @param text             ends with a 0
 * @param out_calibration  receives the calibration; pass it to `tersor_calibration_destroy` at the end
 * @return `TERSOR_E_LAYOUT` naming the line; `TERSOR_E_OUT_OF_RANGE` for what is not UTF-8
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_calibration_from_text(const char *text,
                                           struct tersor_calibration **out_calibration);

/**
 * Two calibrations of the same machine in one: each call as long as it took at its shortest. What is measured in one second
 * says what that second was like; several, minutes apart, say what the machine is like.
 *
 * @param a                one of them
 * @param b                the other
 * @param out_calibration  receives a new one; pass it to `tersor_calibration_destroy` at the end
 * @return `TERSOR_E_OUT_OF_RANGE` when they are of different instruction sets or numbers of threads
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_calibration_merge(const struct tersor_calibration *a,
                                       const struct tersor_calibration *b,
                                       struct tersor_calibration **out_calibration);

/**
 * Frees a calibration. No call may be using it. NULL is fine.
 *
 * Since 0.1.
 */
TERSOR_API
void tersor_calibration_destroy(struct tersor_calibration *calibration);

/**
 * The calibration as text, to be saved. Works as `snprintf` does: at most `capacity` bytes are written, always with a
 * terminating 0.
 *
 * @param buffer      NULL is allowed, to ask for the length
 * @param capacity    the size of `buffer`
 * @param out_length  receives the length of the whole text, without the 0
 * @return nothing beyond the conventions
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_calibration_text(const struct tersor_calibration *calibration,
                                      char *buffer,
                                      size_t capacity,
                                      size_t *out_length);

/**
 * The name of the instruction set that was measured.
 *
 * @param out_name  receives the name; it lives as long as the calibration
 * @return nothing beyond the conventions
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_calibration_isa(const struct tersor_calibration *calibration,
                                     const char **out_name);

/**
 * The most threads that were measured; predictions are made for no more.
 *
 * @param out_threads  receives the number
 * @return nothing beyond the conventions
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_calibration_max_threads(const struct tersor_calibration *calibration,
                                             size_t *out_threads);

/**
 * Fills `workload` for a layer of that shape: one row, one thread, no weight zero.
 *
 * @param workload     the struct to fill
 * @param struct_size  `sizeof *workload`
 * @param format       `TERSOR_FORMAT_...`
 * @param n            the outputs of the layer
 * @param k            the inputs of the layer
 * @return `TERSOR_E_STRUCT_SIZE`; `TERSOR_E_OUT_OF_RANGE` for the format
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_workload_init(struct tersor_workload *workload,
                                   size_t struct_size,
                                   tersor_format format,
                                   size_t n,
                                   size_t k);

/**
 * Fills `workload` for a packed layer, on one thread.
 *
 * @param packed       a layer of any kind
 * @param m            the rows of x and y
 * @param workload     the struct to fill
 * @param struct_size  `sizeof *workload`
 * @return `TERSOR_E_LAYOUT`; `TERSOR_E_STRUCT_SIZE`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_workload_of_packed(const void *packed,
                                        size_t packed_bytes,
                                        size_t m,
                                        struct tersor_workload *workload,
                                        size_t struct_size);

/**
 * Predicts what a layer costs.
 *
 * @param workload        the layer, and how it is run
 * @param out_prediction  receives time and bytes
 * @return `TERSOR_E_STRUCT_SIZE`; `TERSOR_E_OUT_OF_RANGE` for a field, and for more threads than were measured;
 *         `TERSOR_E_SIZE_OVERFLOW`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_calibration_predict(const struct tersor_calibration *calibration,
                                         const struct tersor_workload *workload,
                                         struct tersor_prediction *out_prediction);

/**
 * Predicts what a layer costs in every format that can hold it, the fastest first.
 *
 * @param workload         the layer, and how it is run; sparse formats leave out what it says is zero
 * @param out_predictions  receives as many as there are formats, or `capacity`; NULL is allowed where that is 0
 * @param capacity         how many `out_predictions` holds; 7 are enough
 * @param out_count        receives how many formats there are
 * @return as `tersor_calibration_predict`, for the format of `workload`
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_calibration_compare(const struct tersor_calibration *calibration,
                                         const struct tersor_workload *workload,
                                         struct tersor_prediction *out_predictions,
                                         size_t capacity,
                                         size_t *out_count);

/**
 * From which sparsity on the sparse layer is predicted to be faster than the dense one, whatever the sparsity above it.
 *
 * @param dense         the layer to be faster than
 * @param sparse        the other, of the same shape or another; its sparsity does not matter
 * @param out_sparsity  receives 0 to 1, or 2 when it never is
 * @return as `tersor_calibration_predict`, for either
 *
 * Since 0.1.
 */
TERSOR_API
tersor_status tersor_calibration_pays_from(const struct tersor_calibration *calibration,
                                           const struct tersor_workload *dense,
                                           const struct tersor_workload *sparse,
                                           double *out_sparsity);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* TERSOR_H */
