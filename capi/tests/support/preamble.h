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

