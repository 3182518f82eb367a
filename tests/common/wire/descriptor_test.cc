#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <tuple>

#include <catch2/catch.hpp>
#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include "clusterpulse/collector/v1/collector.pb.h"

namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;

const FileDescriptor& File() { return *clusterpulse::collector::v1::MetricsBatch::descriptor()->file(); }

// "google.protobuf.Timestamp", "NodeMetrics", "map<string,double>", "repeated string": as the list writes types.
std::string TypeOf(const FieldDescriptor& field) {
  if (field.is_map()) {
    return fmt::format("map<{},{}>", field.message_type()->map_key()->type_name(),
                       field.message_type()->map_value()->type_name());
  }
  std::string type = field.type_name();
  if (const Descriptor* message = field.message_type()) {
    type = message->file() == &File() ? message->name() : message->full_name();
  }
  return field.is_repeated() ? "repeated " + type : type;
}

// message -> field -> (number, type) of tests' copy of the published list.
std::map<std::string, std::map<std::string, std::pair<int, std::string>>> Published() {
  std::map<std::string, std::map<std::string, std::pair<int, std::string>>> out;
  std::ifstream file(CP_WIRE_FIELDS);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string message, field, type;
    int number = 0;
    words >> message >> field >> number >> std::ws;
    std::getline(words, type);
    out[message][field] = {number, type};
  }
  return out;
}

}  // namespace

TEST_CASE("every published field has its name, number and type") {
  const auto published = Published();
  REQUIRE(published.size() == 17);
  for (const auto& [message, fields] : published) {
    CAPTURE(message);
    const Descriptor* descriptor = File().FindMessageTypeByName(message);
    REQUIRE(descriptor != nullptr);
    for (const auto& [name, want] : fields) {
      CAPTURE(name);
      const FieldDescriptor* field = descriptor->FindFieldByName(name);
      REQUIRE(field != nullptr);
      CHECK(field->number() == want.first);
      CHECK(TypeOf(*field) == want.second);
      // Plain proto3 scalars: no `optional`.
      if (field->message_type() == nullptr) CHECK_FALSE(field->has_presence());
    }
  }
}

TEST_CASE("what is not published is numbered from 100") {
  const auto published = Published();
  for (const auto& [message, fields] : published) {
    const Descriptor& descriptor = *File().FindMessageTypeByName(message);
    for (int i = 0; i < descriptor.field_count(); ++i) {
      const FieldDescriptor& field = *descriptor.field(i);
      if (fields.count(field.name()) != 0) continue;
      CAPTURE(field.full_name());
      CHECK(field.number() >= 100);
    }
  }
}

TEST_CASE("the reserved numbers and names of ClusterMetrics stay reserved") {
  const Descriptor& metrics = *File().FindMessageTypeByName("ClusterMetrics");
  for (const int number : {3, 8, 9, 11, 12, 13, 15, 16, 17, 18, 19, 20, 21, 23, 24}) {
    CHECK(metrics.IsReservedNumber(number));
  }
  for (const char* name : {"nodes_not_ready", "pods_pending", "pods_failed", "cpu_allocatable", "cpu_requested",
                           "cpu_usage_percent", "memory_allocatable", "memory_requested", "memory_usage_percent",
                           "storage_capacity", "storage_used", "pvcs", "services", "statefulsets", "daemonsets"}) {
    CHECK(metrics.IsReservedName(name));
  }
}

TEST_CASE("the service, the payload oneofs, the file") {
  CHECK(File().name() == "clusterpulse/collector/v1/collector.proto");
  CHECK(File().package() == "clusterpulse.collector.v1");
  const auto* service = File().FindServiceByName("CollectorService");
  REQUIRE(service != nullptr);
  REQUIRE(service->method_count() == 1);
  const auto& connect = *service->method(0);
  CHECK(connect.name() == "Connect");
  CHECK((connect.client_streaming() && connect.server_streaming()));
  for (const char* name : {"ConnectRequest", "ConnectResponse"}) {
    const Descriptor& message = *File().FindMessageTypeByName(name);
    REQUIRE(message.oneof_decl_count() == 1);
    CHECK(message.oneof_decl(0)->name() == "payload");
    CHECK(message.oneof_decl(0)->field_count() == message.field_count());
  }
}
