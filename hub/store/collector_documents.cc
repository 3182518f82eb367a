#include "hub/store/collector_documents.h"

#include <charconv>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "common/base/time_format.h"
#include "common/json/value.h"
#include "common/json/writer.h"
#include "hub/store/documents.h"

namespace clusterpulse::store::documents {
namespace {

using json::Value;
using json::Writer;

void PutTime(Writer& w, std::string_view key, base::SystemTime time) { w.Member(key, base::FormatNanos(time)); }
void PutTime(Writer& w, std::string_view key, const std::optional<base::SystemTime>& time) {
  if (time.has_value()) PutTime(w, key, *time);
}
void PutText(Writer& w, std::string_view key, const std::string& text) {
  if (!text.empty()) w.Member(key, text);
}
void PutTexts(Writer& w, std::string_view key, const std::vector<std::string>& texts) {
  if (texts.empty()) return;
  w.Key(key).BeginArray();
  for (const std::string& text : texts) w.String(text);
  w.EndArray();
}
// Beyond 2^63 only a broken peer counts.
void PutCount(Writer& w, std::string_view key, std::uint64_t count) { w.Member(key, static_cast<std::int64_t>(count)); }

std::optional<base::SystemTime> Time(const Value& value) { return base::ParseRfc3339(value.StringOr()); }
base::SystemTime TimeOrNone(const Value& value) { return Time(value).value_or(base::SystemTime{}); }
std::chrono::seconds Seconds(const Value& value) { return std::chrono::seconds(value.IntOr()); }
std::uint64_t Count(const Value& value) { return static_cast<std::uint64_t>(value.IntOr()); }
std::vector<std::string> Texts(const Value& value) {
  std::vector<std::string> texts;
  for (const Value& item : value.items()) texts.emplace_back(item.StringOr());
  return texts;
}
std::optional<Value> Object(std::string_view json) {
  auto value = Value::Parse(json);
  if (!value.ok() || !value->IsObject()) return std::nullopt;
  return *std::move(value);
}

void PutRival(Writer& w, const Presence::Rival& rival) {
  w.BeginObject().Member("instance", rival.instance).Member("peer", rival.peer);
  PutTime(w, "at", rival.at);
  w.EndObject();
}
Presence::Rival RivalOf(const Value& value) {
  return {std::string(value["instance"].StringOr()), std::string(value["peer"].StringOr()), TimeOrNone(value["at"])};
}

void PutTrouble(Writer& w, std::string_view key, const Facts::Trouble& trouble) {
  if (trouble.count == 0) return;
  w.Key(key).BeginObject().Member("count", trouble.count);
  PutTexts(w, "named", trouble.named);
  w.EndObject();
}
Facts::Trouble TroubleOf(const Value& value) { return {value["count"].IntOr(), Texts(value["named"])}; }

bool TakeNumber(std::string_view& text, std::uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

}  // namespace

std::string OfPresence(const Presence& p) {
  std::string out;
  Writer w(out);
  w.BeginObject().Member("hub", p.hub).Member("instance", p.instance).Member("peer", p.peer);
  PutText(w, "version", p.version);
  if (p.upstream) w.Member("upstream", true);
  PutCount(w, "epoch", p.epoch);
  PutTime(w, "connected_at", p.connected_at);
  PutTime(w, "last_message", p.last_message);
  PutTime(w, "ended_at", p.ended_at);
  PutText(w, "end_reason", p.end_reason);
  if (p.interval.count() > 0) w.Member("interval", static_cast<std::int64_t>(p.interval.count()));
  PutText(w, "config_hash", p.config_hash);
  PutTexts(w, "config_problems", p.config_problems);
  if (p.superseded.has_value()) {
    w.Key("superseded");
    PutRival(w, *p.superseded);
  }
  PutText(w, "limited", p.limited);
  PutText(w, "degraded", p.degraded);
  w.Member("buffered_batches", p.buffered_batches);
  PutCount(w, "buffered_bytes", p.buffered_bytes);
  PutTime(w, "oldest_buffered", p.oldest_buffered);
  w.EndObject();
  return out;
}

std::optional<Presence> ReadPresence(std::string_view json) {
  const std::optional<Value> object = Object(json);
  if (!object.has_value()) return std::nullopt;
  const Value& v = *object;
  Presence p;
  p.hub = v["hub"].StringOr();
  p.instance = v["instance"].StringOr();
  p.peer = v["peer"].StringOr();
  p.version = v["version"].StringOr();
  p.upstream = v["upstream"].BoolOr();
  p.epoch = Count(v["epoch"]);
  p.connected_at = TimeOrNone(v["connected_at"]);
  p.last_message = TimeOrNone(v["last_message"]);
  p.ended_at = Time(v["ended_at"]);
  p.end_reason = v["end_reason"].StringOr();
  p.interval = Seconds(v["interval"]);
  p.config_hash = v["config_hash"].StringOr();
  p.config_problems = Texts(v["config_problems"]);
  if (v["superseded"].IsObject()) p.superseded = RivalOf(v["superseded"]);
  p.limited = v["limited"].StringOr();
  p.degraded = v["degraded"].StringOr();
  p.buffered_batches = static_cast<std::int32_t>(v["buffered_batches"].IntOr());
  p.buffered_bytes = Count(v["buffered_bytes"]);
  p.oldest_buffered = Time(v["oldest_buffered"]);
  return p;
}

std::string OfRival(const Presence::Rival& rival) {
  std::string out;
  Writer w(out);
  PutRival(w, rival);
  return out;
}

std::optional<Presence::Rival> ReadRival(std::string_view json) {
  const std::optional<Value> object = Object(json);
  if (!object.has_value()) return std::nullopt;
  return RivalOf(*object);
}

std::string OfPushRecord(const PushRecord& r) {
  std::string out;
  Writer w(out);
  w.BeginObject();
  PutTime(w, "data_at", r.data_at);
  PutTime(w, "received_at", r.received_at);
  w.Member("interval", static_cast<std::int64_t>(r.interval.count()));
  w.Member("health", model::ToString(r.health)).Member("message", r.message);
  w.Key("facts").BeginObject().Member("nodes", r.facts.nodes);
  PutTrouble(w, "nodes_not_ready", r.facts.nodes_not_ready);
  PutTrouble(w, "cluster_operators", r.facts.cluster_operators);
  w.EndObject();
  PutTime(w, "cluster_operators_at", r.cluster_operators_at);
  if (r.counts.has_value()) {
    const model::ClusterCounts& c = *r.counts;
    w.Key("counts")
        .BeginObject()
        .Member("nodes", c.nodes)
        .Member("nodes_ready", c.nodes_ready)
        .Member("pods", c.pods)
        .Member("pods_running", c.pods_running)
        .Member("cpu_capacity", c.cpu_capacity)
        .Member("memory_capacity", c.memory_capacity);
    if (c.deployments.has_value()) w.Member("deployments", *c.deployments);
    w.EndObject();
  }
  if (r.namespaces.has_value()) w.Member("namespaces", *r.namespaces);
  PutText(w, "version", r.version);
  PutText(w, "platform", r.platform);
  w.EndObject();
  return out;
}

std::optional<PushRecord> ReadPushRecord(std::string_view json) {
  const std::optional<Value> object = Object(json);
  if (!object.has_value()) return std::nullopt;
  const Value& v = *object;
  PushRecord r;
  r.data_at = TimeOrNone(v["data_at"]);
  r.received_at = TimeOrNone(v["received_at"]);
  r.interval = Seconds(v["interval"]);
  r.health = HealthOf(v["health"].StringOr());
  r.message = v["message"].StringOr();
  r.facts.nodes = v["facts"]["nodes"].IntOr();
  r.facts.nodes_not_ready = TroubleOf(v["facts"]["nodes_not_ready"]);
  r.facts.cluster_operators = TroubleOf(v["facts"]["cluster_operators"]);
  r.cluster_operators_at = Time(v["cluster_operators_at"]);
  if (const Value& c = v["counts"]; c.IsObject()) {
    const auto count = [&c](std::string_view name) { return static_cast<std::int32_t>(c[name].IntOr()); };
    r.counts.emplace();
    r.counts->nodes = count("nodes");
    r.counts->nodes_ready = count("nodes_ready");
    r.counts->pods = count("pods");
    r.counts->pods_running = count("pods_running");
    r.counts->cpu_capacity = c["cpu_capacity"].DoubleOr();
    r.counts->memory_capacity = c["memory_capacity"].IntOr();
    if (c["deployments"].IsInt()) r.counts->deployments = count("deployments");
  }
  if (v["namespaces"].IsInt()) r.namespaces = v["namespaces"].IntOr();
  r.version = v["version"].StringOr();
  r.platform = v["platform"].StringOr();
  return r;
}

std::string OfDurable(const model::DurablePosition& durable) {
  std::string text = std::to_string(durable.low);
  for (const model::SeqRange& range : durable.ranges) {
    text +=
        range.first == range.last ? fmt::format(",{}", range.first) : fmt::format(",{}-{}", range.first, range.last);
  }
  return text;
}

model::DurablePosition ReadDurable(std::string_view text) {
  model::DurablePosition durable;
  if (!TakeNumber(text, durable.low)) return durable;
  while (text.starts_with(',')) {
    text.remove_prefix(1);
    model::SeqRange range;
    if (!TakeNumber(text, range.first)) break;
    range.last = range.first;
    if (text.starts_with('-')) {
      text.remove_prefix(1);
      if (!TakeNumber(text, range.last)) break;
    }
    if (range.first == 0 || range.first > range.last) break;
    durable.ranges.push_back(range);
  }
  return durable;
}

std::string OfHeld(const HeldSamples& held) {
  if (held.batches == 0) return "";
  return fmt::format("{} {} {}", base::UnixMillis(held.since), base::UnixMillis(held.until), held.batches);
}

HeldSamples ReadHeld(std::string_view text) {
  std::uint64_t since = 0, until = 0;
  HeldSamples held;
  const auto blank = [&text] {
    if (!text.starts_with(' ')) return false;
    text.remove_prefix(1);
    return true;
  };
  constexpr std::uint64_t kLast = 9'000'000'000'000;  // of times that fit
  const bool is_read =
      TakeNumber(text, since) && blank() && TakeNumber(text, until) && blank() && TakeNumber(text, held.batches);
  if (!is_read || !text.empty() || since > until || until > kLast) return {};
  held.since = base::SystemTime(std::chrono::milliseconds(since));
  held.until = base::SystemTime(std::chrono::milliseconds(until));
  return held;
}

}  // namespace clusterpulse::store::documents
