#pragma once

#include <string>

namespace clusterpulse::bench {

// A page of a pod list as an API server writes it: the pods captured from a real one (data/pods.json), repeated under
// other names and uids. Ends the program when the data cannot be read.
std::string MakePodPage(int first, int count, int total);

}  // namespace clusterpulse::bench
