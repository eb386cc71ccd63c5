#include <cstdio>
#include <vector>
#include "tersor.hpp"

// Quantize the weights of a layer to int8, pack them, and run the layer on two threads.
static tersor::status run(std::vector<float> &y) {
    const std::vector<float> weights = {0.1f, -5.0f, 0.3f, 4.0f, -0.2f, 2.0f, 3.0f, -0.4f}; // two outputs of four inputs
    const std::vector<float> x = {1.0f, 2.0f, 3.0f, 4.0f};
    std::vector<std::int8_t> codes(weights.size());
    std::vector<float> scales(2);
    std::size_t bytes = 0, scratch_bytes = 0;

    tersor::context context;
    auto options = tersor::defaults<tersor_context_options>();
    options.threads = 2;
    if (auto s = tersor::context::create(options, context); !s) return s;
    if (auto s = tersor::quantize_per_row(context, {weights.data(), 2, 4}, {codes.data(), 2, 4}, scales); !s) return s;
    // What has no wrapper is called as from C; its status converts.
    tersor::status s = tersor_pack_i8_size(context.get(), 2, 4, nullptr, 0, &bytes);
    if (!s) return s;
    std::vector<unsigned char> packed(bytes);
    s = tersor_pack_i8(context.get(), codes.data(), 2, 4, 4, scales.data(), nullptr, 2, packed.data(), bytes);
    if (!s) return s;

    const tersor::layer layer(packed);
    if (s = layer.scratch_size(context, 1, scratch_bytes); !s) return s;
    std::vector<unsigned char> scratch(scratch_bytes);
    return layer.forward(context, {x.data(), 1, 4}, scratch, {y.data(), 1, 2});
}

int main() {
    std::vector<float> y(2);
    if (const auto s = run(y); !s) {
        std::fprintf(stderr, "%s: %s\n", s.name(), s.message().c_str());
        return 1;
    }
    std::printf("%.1f %.1f\n", y[0], y[1]); // 7.2 11.2; in f32 7.0 11.2
}
