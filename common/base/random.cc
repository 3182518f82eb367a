#include "common/base/random.h"

namespace clusterpulse::base {

Random& SystemRandom() {
  static SeededRandom random([] {
    std::random_device device;
    return (static_cast<std::uint64_t>(device()) << 32) | device();
  }());
  return random;
}

}  // namespace clusterpulse::base
