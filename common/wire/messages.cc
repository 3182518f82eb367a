#include "common/wire/messages.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include <google/protobuf/arena.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "clusterpulse/collector/v1/collector.pb.h"
#include "common/base/status.h"
#include "common/wire/batch_codec.h"
#include "common/wire/field_reader.h"
#include "common/wire/fields.h"
#include "common/wire/gap_codec.h"
#include "common/wire/names.h"
#include "common/wire/node_reader.h"

namespace clusterpulse::wire {
namespace {

constexpr std::size_t kLongestId = 256;  // instances, hashes, versions, batch ids
constexpr std::size_t kLongestToken = 16 << 10;
constexpr std::size_t kLongestText = 4096;  // for people
constexpr int kMostItems = 10'000;          // of ranges, problems, capabilities
constexpr std::chrono::seconds kLongestInterval = std::chrono::hours(24);
constexpr std::chrono::seconds kLongestUptime = std::chrono::hours(24 * 365 * 100);

constexpr std::string_view kDelivery = "delivery", kParts = "parts", kConfigReport = "config-report";

absl::Status Bounded(std::string_view field, std::string_view value, std::size_t most = kLongestId) {
  if (value.size() > most) return base::InvalidArgument("{} has {} bytes, more than {}", field, value.size(), most);
  return absl::OkStatus();
}
absl::Status BoundedCount(std::string_view field, int count, int most = kMostItems) {
  if (count > most) return base::InvalidArgument("{} has {} entries, more than {}", field, count, most);
  return absl::OkStatus();
}

template <typename Repeated>
model::Capabilities DecodeCapabilities(const Repeated& names) {
  model::Capabilities out;
  for (const std::string& name : names) {
    out.delivery |= name == kDelivery;
    out.parts |= name == kParts;
    out.config_report |= name == kConfigReport;
  }
  return out;
}
template <typename Repeated>
void EncodeCapabilities(const model::Capabilities& from, Repeated& to) {
  if (from.delivery) *to.Add() = kDelivery;
  if (from.parts) *to.Add() = kParts;
  if (from.config_report) *to.Add() = kConfigReport;
}

absl::StatusOr<model::SeqRange> DecodeRange(std::string_view field, std::uint64_t first, std::uint64_t last) {
  if (first == 0 || first > last) return base::InvalidArgument("{} is {}..{}", field, first, last);
  return model::SeqRange{first, last};
}
template <typename Repeated>
absl::StatusOr<std::vector<model::SeqRange>> DecodeRanges(std::string_view field, const Repeated& from) {
  RETURN_IF_ERROR(BoundedCount(field, from.size()));
  std::vector<model::SeqRange> out;
  out.reserve(static_cast<std::size_t>(from.size()));
  for (const v1::SeqRange& range : from) {
    ASSIGN_OR_RETURN(const model::SeqRange decoded, DecodeRange(field, range.first(), range.last()));
    if (!out.empty() && out.back().last >= decoded.first) return base::InvalidArgument("{} is not ascending", field);
    out.push_back(decoded);
  }
  return out;
}
template <typename Repeated>
void EncodeRanges(const std::vector<model::SeqRange>& from, Repeated& to) {
  for (const model::SeqRange& range : from) {
    v1::SeqRange& out = *to.Add();
    out.set_first(range.first);
    out.set_last(range.last);
  }
}

absl::StatusOr<model::Registration> DecodeRegistration(const v1::RegisterRequest& from) {
  RETURN_IF_ERROR(Bounded("cluster_name", from.cluster_name()));
  RETURN_IF_ERROR(Bounded("token", from.token(), kLongestToken));
  RETURN_IF_ERROR(Bounded("version", from.version()));
  RETURN_IF_ERROR(Bounded("instance", from.instance()));
  RETURN_IF_ERROR(Bounded("config_hash", from.config_hash()));
  RETURN_IF_ERROR(BoundedCount("capabilities", from.capabilities_size()));
  model::Registration to;
  to.cluster = from.cluster_name();
  to.token = from.token();
  to.version = from.version();
  to.instance = from.instance();
  if (from.first_seq() != 0 || from.last_seq() != 0) {
    ASSIGN_OR_RETURN(to.held, DecodeRange("first_seq..last_seq", from.first_seq(), from.last_seq()));
  }
  to.durable_low = from.durable_low();
  ASSIGN_OR_RETURN(to.durable, DecodeRanges("durable", from.durable()));
  ASSIGN_OR_RETURN(to.gaps, DecodeGaps("gaps", from.gaps(), GapNumbers::kPresent));
  to.capabilities = DecodeCapabilities(from.capabilities());
  to.config_hash = from.config_hash();
  ASSIGN_OR_RETURN(to.interval, DecodeSeconds("interval_seconds", from.interval_seconds(), kLongestInterval));
  return to;
}

absl::StatusOr<model::Heartbeat> DecodeHeartbeat(const v1::HealthReport& from) {
  RETURN_IF_ERROR(Bounded("degraded", from.degraded(), kLongestText));
  if (from.buffered_batches() < 0) return absl::InvalidArgumentError("buffered_batches is negative");
  model::Heartbeat to;
  to.cluster = from.cluster_name();
  if (from.has_timestamp()) {
    ASSIGN_OR_RETURN(to.sent_at, DecodeTime("timestamp", from.timestamp()));
  }
  ASSIGN_OR_RETURN(to.uptime, DecodeSeconds("uptime_seconds", from.uptime_seconds(), kLongestUptime));
  to.buffered_batches = from.buffered_batches();
  to.buffered_bytes = from.buffered_bytes();
  if (from.has_oldest_buffered()) {
    ASSIGN_OR_RETURN(to.oldest_buffered, DecodeTime("oldest_buffered", from.oldest_buffered()));
  }
  to.last_seq = from.last_seq();
  ASSIGN_OR_RETURN(to.last_collection, DecodeMillis("last_collection_duration_ms",
                                                    static_cast<std::uint64_t>(from.last_collection_duration_ms())));
  to.degraded = from.degraded();
  ASSIGN_OR_RETURN(to.gaps, DecodeGaps("gaps", from.gaps(), GapNumbers::kPresent));
  ASSIGN_OR_RETURN(to.interval, DecodeSeconds("interval_seconds", from.interval_seconds(), kLongestInterval));
  return to;
}

absl::StatusOr<model::ConfigReport> DecodeConfigReport(const v1::ConfigReport& from) {
  RETURN_IF_ERROR(Bounded("hash", from.hash()));
  RETURN_IF_ERROR(BoundedCount("problems", from.problems_size()));
  for (const std::string& problem : from.problems()) RETURN_IF_ERROR(Bounded("a problem", problem, kLongestText));
  return model::ConfigReport{from.hash(), Strings(from.problems())};
}

absl::StatusOr<model::CollectorConfig> DecodeConfig(const v1::ConfigUpdate& from) {
  RETURN_IF_ERROR(Bounded("hash", from.hash()));
  model::CollectorConfig to;
  to.metric_sources.assign(from.metric_sources_json().begin(), from.metric_sources_json().end());
  ASSIGN_OR_RETURN(to.interval,
                   DecodeSeconds("default_interval_seconds", from.default_interval_seconds(), kLongestInterval));
  ASSIGN_OR_RETURN(to.operator_interval,
                   DecodeSeconds("operator_interval_seconds", from.operator_interval_seconds(), kLongestInterval));
  if (from.max_nodes() < 0 || from.max_bytes_per_second() < 0) return base::InvalidArgument("a limit is negative");
  to.max_nodes = from.max_nodes();
  to.max_bytes_per_second = from.max_bytes_per_second();
  to.hash = from.hash();
  return to;
}
void EncodeConfig(const model::CollectorConfig& from, v1::ConfigUpdate& to) {
  for (const std::string& source : from.metric_sources) to.add_metric_sources_json(source);
  to.set_default_interval_seconds(static_cast<std::int32_t>(from.interval.count()));
  to.set_operator_interval_seconds(static_cast<std::int32_t>(from.operator_interval.count()));
  to.set_max_nodes(from.max_nodes);
  to.set_max_bytes_per_second(from.max_bytes_per_second);
  to.set_hash(from.hash);
}

absl::StatusOr<model::Welcome> DecodeWelcome(const v1::Welcome& from) {
  RETURN_IF_ERROR(Bounded("hub", from.hub()));
  RETURN_IF_ERROR(Bounded("version", from.version()));
  RETURN_IF_ERROR(BoundedCount("capabilities", from.capabilities_size()));
  model::Welcome to;
  to.hub = from.hub();
  to.version = from.version();
  to.epoch = from.epoch();
  to.durable.low = from.durable_low();
  ASSIGN_OR_RETURN(to.durable.ranges, DecodeRanges("durable", from.durable()));
  to.credits = {from.credit_batches(), from.credit_bytes()};
  to.capabilities = DecodeCapabilities(from.capabilities());
  to.max_message_bytes = from.max_message_bytes();
  to.max_batch_bytes = from.max_batch_bytes();
  to.last_seq = from.last_seq();
  ASSIGN_OR_RETURN(to.config, DecodeConfig(from.config()), "config");
  return to;
}

absl::StatusOr<model::DeliveryAck> DecodeAck(const v1::DeliveryAck& from) {
  RETURN_IF_ERROR(BoundedCount("rejected", from.rejected_size()));
  model::DeliveryAck to;
  ASSIGN_OR_RETURN(to.applied, DecodeRanges("applied", from.applied()));
  to.durable.low = from.durable_low();
  ASSIGN_OR_RETURN(to.durable.ranges, DecodeRanges("durable", from.durable()));
  for (const auto& rejected : from.rejected()) to.rejected.push_back({rejected.seq(), rejected.reason()});
  to.retry_after = std::chrono::milliseconds(from.retry_after_ms());
  if (from.credit_batches() != 0 || from.credit_bytes() != 0) {
    to.credits = model::Credits{from.credit_batches(), from.credit_bytes()};
  }
  return to;
}

absl::StatusOr<model::Replay> DecodeReplay(const v1::Replay& from) {
  RETURN_IF_ERROR(Bounded("instance", from.instance()));
  ASSIGN_OR_RETURN(const model::SeqRange range, DecodeRange("range", from.first(), from.last()));
  return model::Replay{from.instance(), range};
}

// Messages live on an arena: a batch has thousands of small parts.
template <typename Message>
absl::StatusOr<const Message*> Parse(std::string_view bytes, google::protobuf::Arena& arena) {
  // protobuf writes a line of its own for text that is not UTF-8; whoever reads from the peer reports that.
  [[maybe_unused]] static google::protobuf::LogHandler* const silenced = google::protobuf::SetLogHandler(nullptr);
  auto* message = google::protobuf::Arena::CreateMessage<Message>(&arena);
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()) ||
      !message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::DataLossError("the bytes are no message of this protocol");
  }
  return message;
}

BadBatch ToBad(const v1::MetricsBatch& message, absl::Status reason) {
  return {message.cluster_name(), message.batch_id().substr(0, kLongestId), message.seq(), std::move(reason)};
}

// `batch`, or what makes it a BadBatch.
template <typename Result, typename Batch>
Result BatchOrBad(const v1::MetricsBatch& message, absl::StatusOr<Batch> batch) {
  if (const absl::Status fault = Bounded("batch_id", message.batch_id()); !fault.ok()) return ToBad(message, fault);
  if (!batch.ok()) return ToBad(message, batch.status());
  return *std::move(batch);
}

// The MetricsBatch in a message in the form that every collector writes: nothing but one.
std::optional<std::string_view> UsualBatch(std::string_view bytes) {
  FieldReader payload(bytes);
  if (!payload.Next() || payload.number() != v1::ConnectRequest::kMetricsFieldNumber || !payload.is_text() ||
      payload.field().size() != bytes.size()) {
    return std::nullopt;
  }
  return payload.text();
}

// A batch in that form, without objects of protobuf's for its nodes. Absent: not in that form, or no batch.
std::optional<FromCollector> DecodeUsualBatch(std::string_view bytes) {
  const std::optional<std::string_view> usual = UsualBatch(bytes);
  if (!usual) return std::nullopt;
  std::vector<std::string_view> nodes;
  std::string others;
  FieldReader fields(*usual);
  while (fields.Next()) {
    if (fields.number() == v1::MetricsBatch::kNodeMetricsFieldNumber && fields.is_text()) {
      nodes.push_back(fields.text());
    } else {
      others.append(fields.field());
    }
  }
  if (!fields.ok()) return std::nullopt;

  google::protobuf::Arena arena;
  const auto message = Parse<v1::MetricsBatch>(others, arena);
  if (!message.ok()) return std::nullopt;
  absl::StatusOr<model::Batch> batch = Decode(**message, nodes);
  if (!batch.ok() || !batch->snapshot.nodes.has_value()) {
    // Not all of the nodes were looked at: bytes that are none come before any other fault.
    for (const std::string_view node : nodes) {
      model::Node unused;
      if (ReadNode(node, unused).code() == absl::StatusCode::kDataLoss) return std::nullopt;
    }
  }
  return BatchOrBad<FromCollector>(**message, std::move(batch));
}

std::size_t RowsOf(std::string_view source) {
  std::size_t rows = 0;
  FieldReader fields(source);
  while (fields.Next()) {
    if (fields.number() == v1::CustomResourceBatch::kResourcesFieldNumber && fields.is_text()) ++rows;
  }
  return rows;
}

std::optional<EnvelopeFromCollector> DecodeUsualHead(std::string_view bytes) {
  const std::optional<std::string_view> usual = UsualBatch(bytes);
  if (!usual) return std::nullopt;
  BatchHead head;
  std::string others;
  FieldReader fields(*usual);
  while (fields.Next()) {
    switch (fields.number()) {
      case v1::MetricsBatch::kNodeMetricsFieldNumber:
        head.nodes += fields.is_text() ? 1 : 0;
        break;
      case v1::MetricsBatch::kCustomResourcesFieldNumber:
        if (!fields.is_text()) break;
        ++head.sources;
        head.rows += RowsOf(fields.text());
        break;
      case v1::MetricsBatch::kClusterMetricsFieldNumber:
      case v1::MetricsBatch::kOperatorsFieldNumber:
      case v1::MetricsBatch::kClusterOperatorsFieldNumber:
      case v1::MetricsBatch::kClusterInfoFieldNumber:
        break;
      default:
        others.append(fields.field());
    }
  }
  if (!fields.ok()) return std::nullopt;
  google::protobuf::Arena arena;
  const auto message = Parse<v1::MetricsBatch>(others, arena);
  if (!message.ok()) return std::nullopt;
  const absl::Status fault = DecodeHead(**message, head.batch);
  return BatchOrBad<EnvelopeFromCollector>(
      **message, fault.ok() ? absl::StatusOr<BatchHead>(std::move(head)) : absl::StatusOr<BatchHead>(fault));
}

BatchHead ToHead(model::Batch batch) {
  BatchHead head;
  if (batch.snapshot.nodes.has_value()) head.nodes = batch.snapshot.nodes->size();
  head.sources = batch.sources.size();
  for (const model::SourceResult& source : batch.sources) head.rows += source.rows.size();
  batch.snapshot = {};
  batch.sources.clear();
  head.batch = std::move(batch);
  return head;
}

template <typename Message, typename Fill>
std::string Serialize(Fill fill) {
  google::protobuf::Arena arena;
  auto* message = google::protobuf::Arena::CreateMessage<Message>(&arena);
  fill(*message);
  std::string bytes;
  bytes.reserve(message->ByteSizeLong());
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.SetSerializationDeterministic(true);  // maps in the order of their keys, as whoever reads wants to have them
    message->SerializeToCodedStream(&out);
  }
  return bytes;
}

}  // namespace

absl::StatusOr<FromCollector> DecodeFromCollector(std::string_view bytes) {
  if (std::optional<FromCollector> batch = DecodeUsualBatch(bytes)) return *std::move(batch);
  google::protobuf::Arena arena;
  ASSIGN_OR_RETURN(const v1::ConnectRequest* const message, Parse<v1::ConnectRequest>(bytes, arena));
  switch (message->payload_case()) {
    case v1::ConnectRequest::kMetrics:
      return BatchOrBad<FromCollector>(message->metrics(), Decode(message->metrics()));
    case v1::ConnectRequest::kHealth:
      return DecodeHeartbeat(message->health());
    case v1::ConnectRequest::kRegister:
      return DecodeRegistration(message->register_());
    case v1::ConnectRequest::kConfigReport:
      return DecodeConfigReport(message->config_report());
    case v1::ConnectRequest::PAYLOAD_NOT_SET:
      break;
  }
  return FromCollector(Unknown());
}

absl::StatusOr<EnvelopeFromCollector> DecodeEnvelope(std::string_view bytes) {
  if (std::optional<EnvelopeFromCollector> head = DecodeUsualHead(bytes)) return *std::move(head);
  ASSIGN_OR_RETURN(FromCollector message, DecodeFromCollector(bytes));
  return std::visit(
      [](auto&& value) -> EnvelopeFromCollector {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, model::Batch>) {
          return ToHead(std::forward<decltype(value)>(value));
        } else {
          return std::forward<decltype(value)>(value);
        }
      },
      std::move(message));
}

absl::StatusOr<model::Batch> DecodeBatch(std::string_view bytes) {
  ASSIGN_OR_RETURN(FromCollector message, DecodeFromCollector(bytes));
  if (auto* const batch = std::get_if<model::Batch>(&message)) return std::move(*batch);
  if (auto* const bad = std::get_if<BadBatch>(&message)) return bad->reason;
  return absl::DataLossError("the message is no batch");
}

absl::StatusOr<FromHub> DecodeFromHub(std::string_view bytes) {
  google::protobuf::Arena arena;
  ASSIGN_OR_RETURN(const v1::ConnectResponse* const message, Parse<v1::ConnectResponse>(bytes, arena));
  switch (message->payload_case()) {
    case v1::ConnectResponse::kConfig:
      return DecodeConfig(message->config());
    case v1::ConnectResponse::kAck:
      return FromHub(model::UpstreamAck{message->ack().batch_id(), message->ack().success(), message->ack().error()});
    case v1::ConnectResponse::kWelcome:
      return DecodeWelcome(message->welcome());
    case v1::ConnectResponse::kDeliveryAck:
      return DecodeAck(message->delivery_ack());
    case v1::ConnectResponse::kReplay:
      return DecodeReplay(message->replay());
    case v1::ConnectResponse::PAYLOAD_NOT_SET:
      break;
  }
  return FromHub(Unknown());
}

std::string Encode(const model::Registration& message) {
  return Serialize<v1::ConnectRequest>([&](v1::ConnectRequest& request) {
    v1::RegisterRequest& out = *request.mutable_register_();
    out.set_cluster_name(message.cluster);
    out.set_token(message.token);
    out.set_version(message.version);
    out.set_instance(message.instance);
    out.set_first_seq(message.held.first);
    out.set_last_seq(message.held.last);
    out.set_durable_low(message.durable_low);
    EncodeRanges(message.durable, *out.mutable_durable());
    EncodeGaps(message.gaps, *out.mutable_gaps());
    EncodeCapabilities(message.capabilities, *out.mutable_capabilities());
    out.set_config_hash(message.config_hash);
    out.set_interval_seconds(static_cast<std::int32_t>(EncodeSeconds(message.interval, kLongestInterval)));
  });
}

std::string Encode(const model::Batch& message) {
  return Serialize<v1::ConnectRequest>(
      [&](v1::ConnectRequest& request) { Encode(message, *request.mutable_metrics()); });
}

std::string EncodeBody(const model::Batch& batch) {
  return Serialize<v1::MetricsBatch>([&](v1::MetricsBatch& out) {
    Encode(batch, out);
    out.clear_seq();
    out.clear_age_ms();
    out.clear_lane();
    out.clear_part();
    out.clear_parts();
  });
}

std::string BatchMessage(std::string_view body, const Stamp& stamp) {
  v1::MetricsBatch fields;
  fields.set_seq(stamp.seq);
  fields.set_age_ms(EncodeMillis(stamp.age));
  fields.set_lane(stamp.history_only ? v1::LANE_HISTORY : v1::LANE_LIVE);
  fields.set_part(stamp.part);
  fields.set_parts(stamp.parts);

  constexpr std::uint32_t kLengthDelimited = 2;
  std::string message;
  message.reserve(body.size() + kMostStampBytes);
  {
    google::protobuf::io::StringOutputStream bytes(&message);
    google::protobuf::io::CodedOutputStream out(&bytes);
    out.WriteTag(v1::ConnectRequest::kMetricsFieldNumber << 3 | kLengthDelimited);
    out.WriteVarint32(static_cast<std::uint32_t>(body.size() + fields.ByteSizeLong()));
    out.WriteRaw(body.data(), static_cast<int>(body.size()));
    fields.SerializeToCodedStream(&out);
  }
  return message;
}

std::string Encode(const model::Heartbeat& message) {
  return Serialize<v1::ConnectRequest>([&](v1::ConnectRequest& request) {
    v1::HealthReport& out = *request.mutable_health();
    out.set_cluster_name(message.cluster);
    if (message.sent_at.has_value()) EncodeTime(*message.sent_at, *out.mutable_timestamp());
    out.set_uptime_seconds(EncodeSeconds(message.uptime, kLongestUptime));
    out.set_buffered_batches(std::max(message.buffered_batches, 0));
    out.set_buffered_bytes(message.buffered_bytes);
    if (message.oldest_buffered.has_value()) EncodeTime(*message.oldest_buffered, *out.mutable_oldest_buffered());
    out.set_last_seq(message.last_seq);
    out.set_last_collection_duration_ms(static_cast<std::int64_t>(EncodeMillis(message.last_collection)));
    out.set_degraded(message.degraded);
    EncodeGaps(message.gaps, *out.mutable_gaps());
    out.set_interval_seconds(static_cast<std::int32_t>(EncodeSeconds(message.interval, kLongestInterval)));
  });
}

std::string Encode(const model::ConfigReport& message) {
  return Serialize<v1::ConnectRequest>([&](v1::ConnectRequest& request) {
    request.mutable_config_report()->set_hash(message.hash);
    SetStrings(message.problems, *request.mutable_config_report()->mutable_problems());
  });
}

std::string Encode(const model::Welcome& message) {
  return Serialize<v1::ConnectResponse>([&](v1::ConnectResponse& response) {
    v1::Welcome& out = *response.mutable_welcome();
    out.set_hub(message.hub);
    out.set_version(message.version);
    out.set_epoch(message.epoch);
    out.set_durable_low(message.durable.low);
    EncodeRanges(message.durable.ranges, *out.mutable_durable());
    out.set_credit_batches(message.credits.batches);
    out.set_credit_bytes(message.credits.bytes);
    EncodeCapabilities(message.capabilities, *out.mutable_capabilities());
    out.set_max_message_bytes(message.max_message_bytes);
    out.set_max_batch_bytes(message.max_batch_bytes);
    out.set_last_seq(message.last_seq);
    EncodeConfig(message.config, *out.mutable_config());
  });
}

std::string Encode(const model::DeliveryAck& message) {
  return Serialize<v1::ConnectResponse>([&](v1::ConnectResponse& response) {
    v1::DeliveryAck& out = *response.mutable_delivery_ack();
    EncodeRanges(message.applied, *out.mutable_applied());
    out.set_durable_low(message.durable.low);
    EncodeRanges(message.durable.ranges, *out.mutable_durable());
    for (const model::Rejection& rejection : message.rejected) {
      auto& to = *out.add_rejected();
      to.set_seq(rejection.seq);
      to.set_reason(rejection.reason);
    }
    out.set_retry_after_ms(static_cast<std::uint32_t>(message.retry_after.count()));
    if (message.credits.has_value()) {
      out.set_credit_batches(message.credits->batches);
      out.set_credit_bytes(message.credits->bytes);
    }
  });
}

std::string Encode(const model::Replay& message) {
  return Serialize<v1::ConnectResponse>([&](v1::ConnectResponse& response) {
    v1::Replay& out = *response.mutable_replay();
    out.set_instance(message.instance);
    out.set_first(message.range.first);
    out.set_last(message.range.last);
  });
}

std::string Encode(const model::CollectorConfig& message) {
  return Serialize<v1::ConnectResponse>(
      [&](v1::ConnectResponse& response) { EncodeConfig(message, *response.mutable_config()); });
}

std::string Encode(const model::UpstreamAck& message) {
  return Serialize<v1::ConnectResponse>([&](v1::ConnectResponse& response) {
    v1::Ack& out = *response.mutable_ack();
    out.set_batch_id(message.batch_id);
    out.set_success(message.success);
    out.set_error(message.error);
  });
}

}  // namespace clusterpulse::wire
