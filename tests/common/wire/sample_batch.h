#pragma once

#include "common/model/batch.h"

namespace clusterpulse::wire {

// A batch with every field set, so that a round trip proves each of them.
inline model::Batch FullBatch() {
  const base::SystemTime at = base::SystemTime(std::chrono::milliseconds(1'700'000'000'123));
  model::Batch batch;
  batch.cluster = "edge-1";
  batch.id = "7c6ff52a-6a0e-4a8e-9a54-1f5c1f7a2c11";
  batch.seq = 42;
  batch.collected_at = at;
  batch.age = std::chrono::milliseconds(1500);
  batch.interval = std::chrono::seconds(30);
  batch.gaps = {{{}, at - std::chrono::hours(1), at, model::GapCause::kCollectorDown}};

  model::Node node;
  node.name = "worker-1";
  node.status = model::NodeStatus::kNotReady;
  node.roles = {"worker", "infra"};
  node.conditions = {{"Ready", "False", "KubeletDown", "no heartbeat", at}, {"DiskPressure", "False", "", "", {}}};
  node.taints = {{"dedicated", "infra", "NoSchedule"}};
  node.labels = {{"kubernetes.io/hostname", "worker-1"}, {"zone", "a"}};
  node.annotations = {{"note", "a <b> & c"}};
  node.cpu_capacity = 8;
  node.cpu_allocatable = 7.5;
  node.memory_capacity = 64LL << 30;
  node.memory_allocatable = 60LL << 30;
  node.storage_capacity = 100LL << 30;
  node.storage_allocatable = 90LL << 30;
  node.pods_capacity = 250;
  node.pods_allocatable = 240;
  node.pods = {.running = 10,
               .pending = 1,
               .failed = 2,
               .succeeded = 3,
               .total = 16,
               .cpu_requested = 3.25,
               .memory_requested = 5LL << 30};
  node.cpu_usage_percent = 43.33;
  node.memory_usage_percent = 8.33;
  node.kernel_version = "6.1";
  node.os_image = "Debian";
  node.container_runtime = "containerd://1.7";
  node.kubelet_version = "v1.29.1";
  node.architecture = "arm64";
  node.internal_ip = "10.0.0.7";
  node.external_ip = "203.0.113.7";
  node.hostname = "worker-1.local";
  node.images_count = 31;
  node.volumes_attached = 2;
  model::Node plain;
  plain.name = "worker-2";
  batch.snapshot.nodes = {node, plain};

  batch.snapshot.counts = model::ClusterCounts{.nodes = 2,
                                               .nodes_ready = 1,
                                               .pods = 17,
                                               .pods_running = 10,
                                               .cpu_capacity = 8,
                                               .memory_capacity = 64LL << 30,
                                               .deployments = 4};
  batch.snapshot.namespaces = {"default", "kube-system"};

  model::ClusterInfo info;
  info.api_url = "https://api.edge-1:6443";
  info.version = "4.14.21";
  info.platform = "OpenShift";
  info.console_url = "https://console.edge-1";
  info.channel = "stable-4.14";
  info.cluster_id = "id";
  info.image = "quay.example/release@sha256:1";
  info.is_openshift = true;
  info.update_available = true;
  info.available_update_version = "4.14.22";
  info.version_state = "Completed";
  info.version_started_time = "2024-01-01T00:00:00Z";
  info.version_completion_time = "2024-01-01T01:00:00Z";
  info.conditions = {{"Available", "True", "AsExpected", "done", at}};
  info.is_progressing = info.is_degraded = info.is_available = true;
  batch.snapshot.info = info;

  model::OlmOperator op;
  op.name = "etcd.v1";
  op.display_name = "etcd";
  op.version = "1.0.0";
  op.status = "Succeeded";
  op.installed_namespace = "operators";
  op.install_mode = "AllNamespaces";
  op.provider = "CNCF";
  op.install_modes = {"AllNamespaces", "OwnNamespace"};
  op.is_cluster_wide = true;
  op.available_in_namespaces = {"*"};
  op.created_at = "2024-01-01T00:00:00Z";
  op.updated_at = "2024-01-02T00:00:00Z";
  op.subscription = {{"installPlanApproval", "Automatic"}};
  batch.snapshot.operators = {op};

  model::ClusterOperator cluster_operator;
  cluster_operator.name = "ingress";
  cluster_operator.version = "4.14.21";
  cluster_operator.message = "degraded";
  cluster_operator.reason = "Broken";
  cluster_operator.available = cluster_operator.progressing = true;
  cluster_operator.degraded = cluster_operator.upgradeable = true;
  cluster_operator.last_transition = at;
  cluster_operator.conditions = {{"Degraded", "True", "Broken", "degraded", at}};
  cluster_operator.versions = {{"operator", "4.14.21"}};
  cluster_operator.related_objects = {{"apps", "deployments", "openshift-ingress", "router"}};
  batch.snapshot.cluster_operators = {cluster_operator};

  model::SourceResult source;
  source.source = "team-a/certificates";
  source.resource_count = 7;
  source.truncated = true;
  source.duration = std::chrono::milliseconds(12);
  source.rows = {{"ns/a", "ns", "a", {{"app", "x"}}, R"({"ready":true})"}};
  source.aggregations = {{"ready", 7.5}};
  source.aggregations_json = R"({"ready":7.5,"by_issuer":{"a":1}})";
  source.definition_hash = "0f1e2d3c4b5a6978";
  source.age = std::chrono::milliseconds(1500);
  source.failure = "Forbidden";
  source.message = "team-b may not be listed";
  source.fields = {{"ready", 6, 1, 2}};
  source.errors = 1;
  batch.sources = {source};
  return batch;
}

}  // namespace clusterpulse::wire
