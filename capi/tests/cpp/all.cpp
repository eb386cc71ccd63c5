// Uses tersor.hpp, and through it the C API as C++17.
#include "tersor.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <vector>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(stderr, "%s:%d: %s is not so; the last message is: %s\n", __FILE__, __LINE__, #condition,     \
                         tersor::last_error().c_str());                                                                \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)

// A host's own loop, as an engine would lend it.
static void serial_host(void *user, std::size_t count, tersor_task task, const void *data) {
    for (std::size_t i = 0; i < count; i++) task(data, i);
    ++*static_cast<int *>(user);
}

// In other.cpp.
tersor::status not_a_number_of_rows(const tersor::layer &layer, const tersor::context &context);

int main() {
    CHECK(tersor_version() == TERSOR_VERSION_MAJOR * 1000000 + TERSOR_VERSION_MINOR * 1000 + TERSOR_VERSION_PATCH);

    // Contexts move, and destroy themselves.
    tersor::context context;
    CHECK(context.get() == nullptr && context.threads() == 1);
    auto options = tersor::defaults<tersor_context_options>();
    options.threads = 2;
    CHECK(tersor::context::create(options, context));
    CHECK(context.threads() == 2);
    tersor::context moved = std::move(context);
    CHECK(moved.threads() == 2 && context.get() == nullptr);
    context = std::move(moved);
    options.isa = "altivec";
    const tersor::status refused = tersor::context::create(options, context);
    CHECK(!refused && refused.code() == TERSOR_E_ISA && std::strcmp(refused.name(), "TERSOR_E_ISA") == 0);
    CHECK(tersor::last_error().find("altivec") != std::string::npos && refused.message() == tersor::last_error());
    CHECK(context.threads() == 2); // as it was
    int loops = 0;
    auto lent = tersor::defaults<tersor_context_options>();
    lent.threads = 4;
    lent.parallel_for = serial_host;
    lent.user = &loops;
    tersor::context host;
    CHECK(tersor::context::create(lent, host));
    std::vector<float> many(1 << 16, 1.5f);
    std::vector<tersor_f16> halves(many.size());
    CHECK(tersor_cast_f32_to_f16(host.get(), many.data(), many.size(), halves.data()) == TERSOR_OK);
    CHECK(loops == 1 && halves.front() == 0x3E00 && halves.back() == 0x3E00);

    // Every options struct has its defaults.
    CHECK(tersor::defaults<tersor_schedule_options>().frequency == 100);
    CHECK(tersor::defaults<tersor_quantize_options>().rules == TERSOR_RULES_TERSOR);
    CHECK(tersor::defaults<tersor_sgd_options>().momentum == 0);
    CHECK(tersor::defaults<tersor_adagrad_options>().learning_rate == 0.01);

    // Prune, quantize, pack, run.
    const std::array<float, 8> weights = {0.1f, -5.0f, 0.3f, 4.0f, -0.2f, 2.0f, 3.0f, -0.4f};
    const tersor::matrix<const float> w(weights.data(), 2, 4);
    std::vector<std::uint8_t> mask(tersor_mask_size(8));
    auto prune = tersor::defaults<tersor_prune_options>();
    prune.pattern = TERSOR_PATTERN_N_OF_M;
    CHECK(tersor::prune_magnitude(context, w, prune, mask));
    CHECK(mask[0] == 0x6A);
    std::array<std::int8_t, 8> codes{};
    std::vector<float> scales(2);
    CHECK(tersor::quantize_per_row(context, w, tersor::matrix<std::int8_t>(codes.data(), 2, 4), scales));
    CHECK(codes[1] == -127 && scales[0] == 5.0f / 127);
    scales.pop_back();
    const tersor::status one_scale = tersor::quantize_per_row(context, w, {codes.data(), 2, 4}, scales);
    CHECK(one_scale.code() == TERSOR_E_LENGTH && one_scale.message() == "scales.size() is 1, but must be 2");
    scales.push_back(3.0f / 127);

    std::size_t bytes = 0, n = 0, k = 0, scratch_bytes = 0;
    CHECK(tersor_pack_i8_size(context.get(), 2, 4, nullptr, 0, &bytes) == TERSOR_OK);
    std::vector<unsigned char> packed(bytes);
    CHECK(tersor_pack_i8(context.get(), codes.data(), 2, 4, 4, scales.data(), nullptr, 2, packed.data(), bytes) ==
          TERSOR_OK);
    const tersor::layer layer(packed);
    CHECK(layer.check() && layer.shape(n, k) && n == 2 && k == 4);
    CHECK(layer.scratch_size(context, 1, scratch_bytes));
    std::vector<unsigned char> scratch(scratch_bytes);
    std::array<float, 4> x = {1, 2, 3, 4};
    std::array<float, 2> y = {7, 7};
    const tersor::matrix<const float> input(x.data(), 1, 4);
    CHECK(layer.forward(context, input, scratch, {y.data(), 1, 2}));
    CHECK(std::fabs(y[0] - 7.0f) < 0.2f && std::fabs(y[1] - 11.2f) < 0.2f);
    // What this header itself refuses has a message of its own, not that of the last C call.
    const tersor::status short_x = layer.forward(context, {x.data(), 1, 3}, scratch, {y.data(), 1, 2});
    CHECK(short_x.code() == TERSOR_E_SHAPE && short_x.message() == "x.cols is 3, but must be 4");
    CHECK(not_a_number_of_rows(layer, context).message() == "y.rows is 2, but must be 1");
    CHECK(tersor::status(TERSOR_OK).message().empty());
    packed[9] ^= 1;
    y = {7, 7};
    CHECK(layer.forward(context, input, scratch, {y.data(), 1, 2}).code() == TERSOR_E_LAYOUT);
    CHECK(y[0] == 7 && y[1] == 7);

    // What layers cost, by a calibration that was measured once.
    tersor::calibration empty, calibration, merged;
    tersor_workload dense{}, sparse{};
    tersor_prediction cost{};
    double from = -1;
    std::size_t length = 0;
    CHECK(tersor::workload(TERSOR_FORMAT_I8, 512, 256, dense) && dense.n == 512 && dense.k == 256);
    CHECK(tersor::workload(TERSOR_FORMAT_SPARSE_I8, 512, 256, sparse));
    CHECK(tersor::workload(99, 512, 256, sparse).code() == TERSOR_E_OUT_OF_RANGE && sparse.n == 512);
    CHECK(empty.get() == nullptr && empty.predict(dense, cost).code() == TERSOR_E_NULL);
    std::ifstream file(CALIBRATION);
    const std::string saved((std::istreambuf_iterator<char>(file)), {});
    CHECK(tersor::calibration::from_text(saved.c_str(), calibration));
    CHECK(tersor::calibration::from_text("nonsense", calibration).code() == TERSOR_E_LAYOUT);
    CHECK(tersor::calibration::merge(calibration, calibration, merged));
    CHECK(tersor::calibration::merge(calibration, empty, merged).code() == TERSOR_E_NULL && merged.get() != nullptr);
    CHECK(merged.text({}, length));
    std::vector<char> text(length + 1);
    CHECK(merged.text(text, length) && length + 1 == text.size() && saved.find("isa avx512") != std::string::npos);
    CHECK(std::strstr(text.data(), "isa avx512") != nullptr && text.back() == '\0');
    CHECK(calibration.predict(dense, cost) && cost.seconds > 0 && cost.bytes > 512 * 256);
    dense.m = sparse.m = 64;
    CHECK(calibration.pays_from(dense, sparse, from) && from > 0 && from < 1);
    const tersor::calibration last = std::move(calibration);
    CHECK(last.get() != nullptr && calibration.get() == nullptr);

    // A training step that overflows, and one that does not.
    tersor_loss_scaler scaler;
    CHECK(tersor::loss_scaler(TERSOR_SCALE_BOUNDED, scaler));
    std::array<float, 2> master = {1, 2}, moment1{}, moment2{};
    std::array<tersor_f16, 2> stored{};
    std::array<float, 2> grads = {65536, std::numeric_limits<float>::infinity()};
    tersor_gradient gradient{grads.data(), grads.size(), TERSOR_F32, 0};
    tersor_parameter parameter{};
    parameter.count = 2;
    parameter.master = master.data();
    parameter.state1 = moment1.data();
    parameter.state2 = moment2.data();
    parameter.stored = stored.data();
    parameter.stored_dtype = TERSOR_F16;
    const tersor::span<tersor_parameter> parameters(&parameter, 1);
    const tersor::span<const tersor_gradient> gradients(&gradient, 1);
    auto adam = tersor::defaults<tersor_adam_options>();
    tersor_overflow overflow{};
    tersor_step_report report{};
    CHECK(tersor::adamw_step(context, gradients, 1.0, adam, &scaler, parameters, overflow, &report));
    CHECK(overflow.found == 1 && overflow.index == 1 && master[0] == 1 && scaler.scale == 32768);
    grads[1] = 0;
    CHECK(tersor::adamw_step(context, gradients, 0.0, adam, &scaler, parameters, overflow, &report));
    CHECK(overflow.found == 0 && report.grad_norm == 2 && master[0] < 1 && master[1] == 2 && parameter.steps == 1);
    CHECK(tersor::adamw_step(context, {&gradient, 0}, 0.0, adam, nullptr, parameters, overflow).code() ==
          TERSOR_E_LENGTH);

    std::puts("ok");
    return 0;
}
