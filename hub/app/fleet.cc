#include "hub/app/fleet.h"

#include <algorithm>

#include <fmt/format.h>

#include "common/base/status.h"
#include "common/base/stop_signal.h"
#include "common/base/time_format.h"
#include "common/json/writer.h"

namespace clusterpulse::app {
namespace {

// Names and versions come from clusters: what is not printable must not reach a terminal.
std::string Printable(std::string_view text) {
  constexpr std::size_t kWidest = 60;
  std::string out(text.substr(0, kWidest));
  std::replace_if(
      out.begin(), out.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return out.empty() ? "-" : out;
}

std::string Number(const std::optional<std::int64_t>& value) { return value ? std::to_string(*value) : "-"; }

std::optional<std::chrono::seconds> Age(const ConnectionRow& row, base::SystemTime now) {
  if (!row.last_sync) return std::nullopt;
  // The clocks of two machines differ: data is never from the future.
  return std::max(std::chrono::duration_cast<std::chrono::seconds>(now - *row.last_sync), std::chrono::seconds(0));
}

// As kubectl shows ages: 47s, 12m, 5h, 3d.
std::string AgeText(const std::optional<std::chrono::seconds>& age) {
  if (!age) return "-";
  const auto s = age->count();
  if (*age < std::chrono::minutes(2)) return fmt::format("{}s", s);
  if (*age < std::chrono::hours(2)) return fmt::format("{}m", s / 60);
  if (*age < std::chrono::days(2)) return fmt::format("{}h", s / 3600);
  return fmt::format("{}d", s / 86400);
}

}  // namespace

std::string FleetTable(const std::vector<ConnectionRow>& rows, bool with_namespace, base::SystemTime now) {
  if (rows.empty()) return "no ClusterConnections\n";
  std::vector<std::vector<std::string>> table = {
      {"CLUSTER", "MODE", "PHASE", "HEALTH", "READY", "NODES", "PODS", "VERSION", "DATA-AGE"}};
  for (const ConnectionRow& row : rows) {
    table.push_back({Printable(row.key.name), Printable(row.mode), Printable(row.phase), Printable(row.health),
                     Number(row.nodes_ready), Number(row.nodes), Number(row.pods), Printable(row.version),
                     AgeText(Age(row, now))});
  }
  if (with_namespace) {
    table[0].insert(table[0].begin(), "NAMESPACE");
    for (std::size_t i = 0; i < rows.size(); ++i) {
      table[i + 1].insert(table[i + 1].begin(), Printable(rows[i].key.ns));
    }
  }
  std::vector<std::size_t> widths(table[0].size());
  for (const auto& line : table) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string out;
  for (const auto& line : table) {
    for (std::size_t i = 0; i + 1 < line.size(); ++i) out += fmt::format("{:<{}}   ", line[i], widths[i]);
    out += line.back() + "\n";
  }
  return out;
}

std::string FleetJson(const std::vector<ConnectionRow>& rows, base::SystemTime now) {
  std::string out;
  json::Writer w(out);
  const auto number = [&w](std::string_view key, const std::optional<std::int64_t>& value) {
    if (value) w.Member(key, *value);
  };
  const auto text = [&w](std::string_view key, const std::string& value) {
    if (!value.empty()) w.Member(key, value);
  };
  w.BeginArray();
  for (const ConnectionRow& row : rows) {
    w.BeginObject().Member("namespace", row.key.ns).Member("cluster", row.key.name).Member("mode", row.mode);
    text("phase", row.phase);
    text("health", row.health);
    text("message", row.message);
    number("nodesReady", row.nodes_ready);
    number("nodes", row.nodes);
    number("pods", row.pods);
    text("version", row.version);
    if (row.last_sync) w.Member("lastSyncTime", base::FormatSeconds(*row.last_sync));
    if (const auto age = Age(row, now)) w.Member("dataAgeSeconds", static_cast<std::int64_t>(age->count()));
    w.EndObject();
  }
  w.EndArray();
  out.push_back('\n');
  return out;
}

absl::Status ShowFleet(kube::KubeApi& api, const FleetView& options, const base::Clock& clock, std::ostream& out,
                       std::stop_token stop) {
  base::StopSignal stopped(stop);
  for (bool first = true;; first = false) {
    const auto rows = ListConnections(api, options.ns, {.timeout = std::chrono::seconds(15), .stop = stop});
    if (stopped.stop_requested()) return absl::OkStatus();
    if (!rows.ok() && first) return rows.status();
    if (options.clear_screen) out << "\x1b[H\x1b[2J";
    if (!rows.ok()) {
      out << "error: " << base::Message(rows.status()) << std::endl;
    } else {
      out << (options.json ? FleetJson(*rows, clock.Now()) : FleetTable(*rows, options.ns.empty(), clock.Now()))
          << std::flush;
    }
    if (!options.watch || stopped.WaitFor(options.interval)) return absl::OkStatus();
    if (!options.clear_screen && !options.json) out << "\n";
  }
}

}  // namespace clusterpulse::app
