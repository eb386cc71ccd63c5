// tersor for C++17: a thin layer over tersor.h. Contexts that destroy themselves, views that carry their sizes, options
// that start at their defaults. Nothing throws or allocates but the messages, which are std::string.
//
// Every function returns tersor::status: it is false in an `if` when the call failed, and knows its name and message.
#ifndef TERSOR_HPP
#define TERSOR_HPP

#include "tersor.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

namespace tersor {

/// The calling thread's last message.
inline std::string last_error() {
    std::string message(tersor_last_error(nullptr, 0), '\0');
    // data()[size()] is the string's own terminating 0, which snprintf's rule writes once more.
    tersor_last_error(message.data(), message.size() + 1);
    return message;
}

/// The outcome of a call. `if (auto s = ...; !s) std::fputs(s.name(), stderr);`
class [[nodiscard]] status {
public:
    constexpr status(tersor_status code) noexcept : code_(code) {}
    /// Refused by this header, before C was asked: a size that is another than it must be.
    constexpr status(tersor_status code, const char *argument, std::size_t found, std::size_t expected) noexcept
        : code_(code), argument_(argument), found_(found), expected_(expected) {}
    constexpr explicit operator bool() const noexcept { return code_ == TERSOR_OK; }
    constexpr tersor_status code() const noexcept { return code_; }
    const char *name() const noexcept { return tersor_status_name(code_); }
    /// The argument, its value and the limit; empty on success. Ask on the thread that made the call, before its next one.
    std::string message() const {
        if (code_ == TERSOR_OK) return {};
        if (argument_ == nullptr) return last_error();
        return std::string(argument_) + " is " + std::to_string(found_) + ", but must be " + std::to_string(expected_);
    }

private:
    tersor_status code_;
    const char *argument_ = nullptr;
    std::size_t found_ = 0;
    std::size_t expected_ = 0;
};

/// Elements that somebody else owns.
template <typename T>
class span {
public:
    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <std::size_t N>
    constexpr span(T (&array)[N]) noexcept : data_(array), size_(N) {}
    /// From anything with data() and size(): std::vector, std::array, std::span, also of a non-const element type.
    template <typename C, typename = std::enable_if_t<
                              std::is_convertible_v<decltype(std::declval<C &>().data()), T *>>>
    constexpr span(C &&container) noexcept : data_(container.data()), size_(container.size()) {}
    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr std::size_t size_bytes() const noexcept { return size_ * sizeof(T); }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/// A row-major matrix that somebody else owns; the stride is in elements.
template <typename T>
struct matrix {
    T *data = nullptr;
    std::size_t rows = 0;
    std::size_t cols = 0;
    std::size_t stride = 0;

    constexpr matrix(T *data, std::size_t rows, std::size_t cols) noexcept
        : data(data), rows(rows), cols(cols), stride(cols) {}
    constexpr matrix(T *data, std::size_t rows, std::size_t cols, std::size_t stride) noexcept
        : data(data), rows(rows), cols(cols), stride(stride) {}
    /// A matrix that may be written is one that may be read.
    constexpr operator matrix<const T>() const noexcept { return {data, rows, cols, stride}; }
};

/// Options at their defaults: `auto o = tersor::defaults<tersor_prune_options>();`
template <typename Options>
Options defaults() noexcept {
    Options options{};
    tersor_status code = TERSOR_E_OTHER;
    if constexpr (std::is_same_v<Options, tersor_context_options>) {
        code = tersor_context_options_init(&options, sizeof options);
    } else if constexpr (std::is_same_v<Options, tersor_prune_options>) {
        code = tersor_prune_options_init(&options, sizeof options);
    } else if constexpr (std::is_same_v<Options, tersor_schedule_options>) {
        code = tersor_schedule_options_init(&options, sizeof options);
    } else if constexpr (std::is_same_v<Options, tersor_quantize_options>) {
        code = tersor_quantize_options_init(&options, sizeof options);
    } else if constexpr (std::is_same_v<Options, tersor_sgd_options>) {
        code = tersor_sgd_options_init(&options, sizeof options);
    } else if constexpr (std::is_same_v<Options, tersor_adam_options>) {
        code = tersor_adam_options_init(&options, sizeof options);
    } else {
        static_assert(std::is_same_v<Options, tersor_adagrad_options>, "not an options struct of tersor.h");
        code = tersor_adagrad_options_init(&options, sizeof options);
    }
    static_cast<void>(code); // It cannot fail: the pointer is valid and the size is the struct's own.
    return options;
}

/// Which instruction set runs a call, and on whose threads. Empty, it is the default context: this thread alone.
class context {
public:
    context() noexcept = default;
    context(context &&other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
    context &operator=(context &&other) noexcept {
        std::swap(pointer_, other.pointer_);
        return *this;
    }
    context(const context &) = delete;
    context &operator=(const context &) = delete;
    ~context() { tersor_context_destroy(pointer_); }

    /// Makes `out` a context with those options; on failure `out` stays what it was.
    static status create(const tersor_context_options &options, context &out) noexcept {
        context made;
        status result = tersor_context_create(&options, &made.pointer_);
        if (result) out = std::move(made);
        return result;
    }

    /// What the C functions take.
    const tersor_context *get() const noexcept { return pointer_; }
    std::size_t threads() const noexcept { return tersor_context_threads(pointer_); }

private:
    tersor_context *pointer_ = nullptr;
};

/// tersor_prune_magnitude into a mask of tersor_mask_size(rows * cols) bytes.
inline status prune_magnitude(const context &context, matrix<const float> weights, const tersor_prune_options &options,
                              span<std::uint8_t> mask) noexcept {
    return tersor_prune_magnitude(context.get(), weights.data, weights.rows, weights.cols, weights.stride, nullptr, 0,
                                  &options, mask.data(), mask.size());
}

/// tersor_quantize_i8_per_channel, symmetric: a scale for each row.
inline status quantize_per_row(const context &context, matrix<const float> src, matrix<std::int8_t> dst,
                               span<float> scales) noexcept {
    if (dst.rows != src.rows) return {TERSOR_E_SHAPE, "dst.rows", dst.rows, src.rows};
    if (dst.cols != src.cols) return {TERSOR_E_SHAPE, "dst.cols", dst.cols, src.cols};
    if (scales.size() != src.rows) return {TERSOR_E_LENGTH, "scales.size()", scales.size(), src.rows};
    return tersor_quantize_i8_per_channel(context.get(), src.data, src.rows, src.cols, src.stride, nullptr, dst.data,
                                          dst.stride, scales.data(), nullptr);
}

/// A packed layer in bytes that somebody else owns; their header is checked at every use.
class layer {
public:
    explicit layer(span<const unsigned char> packed) noexcept : packed_(packed) {}

    /// tersor_packed_check, to be called once for bytes that come from elsewhere.
    status check() const noexcept { return tersor_packed_check(packed_.data(), packed_.size()); }

    status shape(std::size_t &n, std::size_t &k) const noexcept {
        return tersor_packed_shape(packed_.data(), packed_.size(), &n, &k);
    }

    /// How many bytes of scratch memory forward() needs for m rows.
    status scratch_size(const context &context, std::size_t m, std::size_t &bytes) const noexcept {
        return tersor_linear_forward_size(context.get(), packed_.data(), packed_.size(), m, &bytes);
    }

    /// y = x * w^T + bias.
    status forward(const context &context, matrix<const float> x, span<unsigned char> scratch,
                   matrix<float> y) const noexcept {
        std::size_t n = 0, k = 0;
        if (status checked = shape(n, k); !checked) return checked;
        if (x.cols != k) return {TERSOR_E_SHAPE, "x.cols", x.cols, k};
        if (y.cols != n) return {TERSOR_E_SHAPE, "y.cols", y.cols, n};
        if (y.rows != x.rows) return {TERSOR_E_SHAPE, "y.rows", y.rows, x.rows};
        return tersor_linear_forward_f32(context.get(), x.data, x.rows, x.stride, packed_.data(), packed_.size(),
                                         scratch.data(), scratch.size(), y.data, y.stride);
    }

private:
    span<const unsigned char> packed_;
};

/// A layer without its weights: one row, one thread, no weight zero.
inline status workload(tersor_format format, std::size_t n, std::size_t k, tersor_workload &out) noexcept {
    return tersor_workload_init(&out, sizeof out, format, n, k);
}

/// What layers cost on a machine. Empty, it predicts nothing.
class calibration {
public:
    calibration() noexcept = default;
    calibration(calibration &&other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
    calibration &operator=(calibration &&other) noexcept {
        std::swap(pointer_, other.pointer_);
        return *this;
    }
    calibration(const calibration &) = delete;
    calibration &operator=(const calibration &) = delete;
    ~calibration() { tersor_calibration_destroy(pointer_); }

    /// Measures this machine for about a second. On failure `out` stays what it was, here and below.
    static status measure(const context &context, calibration &out) noexcept {
        return made(out, [&](tersor_calibration **made) { return tersor_calibration_measure(context.get(), made); });
    }
    /// From what text() gave.
    static status from_text(const char *text, calibration &out) noexcept {
        return made(out, [&](tersor_calibration **made) { return tersor_calibration_from_text(text, made); });
    }
    /// Both in one: each call as long as it took at its shortest.
    static status merge(const calibration &a, const calibration &b, calibration &out) noexcept {
        return made(out, [&](tersor_calibration **made) { return tersor_calibration_merge(a.get(), b.get(), made); });
    }

    /// Into `buffer` by snprintf's rule; `length` is that of the whole text, without its 0.
    status text(span<char> buffer, std::size_t &length) const noexcept {
        return tersor_calibration_text(pointer_, buffer.data(), buffer.size(), &length);
    }
    status predict(const tersor_workload &workload, tersor_prediction &out) const noexcept {
        return tersor_calibration_predict(pointer_, &workload, &out);
    }
    /// From which sparsity on the sparse layer is faster; 2 where it never is.
    status pays_from(const tersor_workload &dense, const tersor_workload &sparse, double &sparsity) const noexcept {
        return tersor_calibration_pays_from(pointer_, &dense, &sparse, &sparsity);
    }

    /// What the C functions take.
    const tersor_calibration *get() const noexcept { return pointer_; }

private:
    template <typename Make>
    static status made(calibration &out, Make make) noexcept {
        calibration made;
        const status result = make(&made.pointer_);
        if (result) out = std::move(made);
        return result;
    }

    tersor_calibration *pointer_ = nullptr;
};

/// A loss scaler at its start.
inline status loss_scaler(tersor_scale_rule rule, tersor_loss_scaler &out) noexcept {
    return tersor_loss_scaler_init(rule, &out, sizeof out);
}

/// tersor_adamw_step_tensors: one training step over all tensors.
inline status adamw_step(const context &context, span<const tersor_gradient> gradients, double max_norm,
                         const tersor_adam_options &options, tersor_loss_scaler *scaler,
                         span<tersor_parameter> parameters, tersor_overflow &overflow,
                         tersor_step_report *report = nullptr) noexcept {
    if (gradients.size() != parameters.size())
        return {TERSOR_E_LENGTH, "gradients.size()", gradients.size(), parameters.size()};
    return tersor_adamw_step_tensors(context.get(), gradients.data(), gradients.size(), max_norm, &options, scaler,
                                     parameters.data(), &overflow, report);
}

} // namespace tersor

#endif // TERSOR_HPP
