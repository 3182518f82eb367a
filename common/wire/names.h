#pragma once

#include <string_view>

// Names as Kubernetes allows them (k8s.io/apimachinery/pkg/util/validation).
namespace clusterpulse::wire {

// RFC 1123 subdomain: lower-case letters, digits, '-' and '.', 1..253 characters, labels begin and end alphanumeric.
bool IsDnsSubdomain(std::string_view name);
// Any object's name, whatever its kind allows: 1..253 bytes without control characters.
bool IsName(std::string_view name);
// RFC 1123 label: the same as a subdomain without '.', at most 63.
bool IsDnsLabel(std::string_view name);

}  // namespace clusterpulse::wire
