// A second source with the header, beside all.cpp.
#include "tersor.hpp"

tersor::status not_a_number_of_rows(const tersor::layer &layer, const tersor::context &context);

tersor::status not_a_number_of_rows(const tersor::layer &layer, const tersor::context &context) {
    float number = 1;
    return layer.forward(context, tersor::matrix<const float>(&number, 1, 4), {},
                         tersor::matrix<float>(&number, 2, 2));
}
