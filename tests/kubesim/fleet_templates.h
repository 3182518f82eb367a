#pragma once

#include <string_view>

namespace clusterpulse::kubesim {

// A pod and a node as a real server shows them; fleet.cc fills in names, places and states.
extern const std::string_view kPodTemplate;
extern const std::string_view kNodeTemplate;

}  // namespace clusterpulse::kubesim
