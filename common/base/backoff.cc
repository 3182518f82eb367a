#include "common/base/backoff.h"

#include <algorithm>
#include <cmath>

namespace clusterpulse::base {

std::chrono::milliseconds Backoff::Next(std::chrono::milliseconds max) {
  // The exponent is bounded so that no number of failures can overflow it (upstream's overflowed after 62).
  const double grown =
      static_cast<double>(options_.initial.count()) * std::pow(options_.factor, std::min(failures_, 60));
  const double base = std::min(grown, static_cast<double>(max.count()));
  if (failures_ < 1000) ++failures_;
  const double spread = random_.Uniform();
  const double wait = options_.full_jitter ? base * spread : base * (1.0 + options_.jitter * spread);
  return std::chrono::milliseconds(static_cast<std::int64_t>(wait));
}

}  // namespace clusterpulse::base
