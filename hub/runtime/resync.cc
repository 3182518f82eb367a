#include "hub/runtime/resync.h"

#include <utility>

#include "common/base/status.h"

namespace clusterpulse::runtime {
namespace {

constexpr double kJitter = 0.1;

}  // namespace

Resync::Resync(Options options, Controller& controller, List list, base::Random& random, log::Logger log)
    : options_(options),
      controller_(controller),
      list_(std::move(list)),
      random_(random),
      log_(std::move(log)),
      name_(fmt::format("resync of {}", controller.name())) {}

absl::Status Resync::Start() {
  thread_.Start(1, "resync", [this] {
    while (!stop_.stop_requested()) stop_.WaitFor(Step());
  });
  return absl::OkStatus();
}

bool Resync::Stop(std::chrono::milliseconds limit) {
  stop_.RequestStop();
  return thread_.Join(limit);
}

std::chrono::nanoseconds Resync::Step() {
  const auto keys = list_();
  if (!keys.ok()) {
    log_.Warn("the keys for a resync cannot be listed, trying again",
              {{"controller", controller_.name()}, {"error", log::ToText(keys.status())}});
    return options_.retry;
  }
  for (const kube::ObjectKey& key : *keys) controller_.Enqueue(key);
  const double factor = 1 + kJitter * (2 * random_.Uniform() - 1);
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double, std::milli>(static_cast<double>(options_.period.count()) * factor));
}

}  // namespace clusterpulse::runtime
