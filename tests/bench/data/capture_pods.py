#!/usr/bin/env python3
"""Captures pods.json, the pods the benchmarks multiply: objects as a real API server returns them, with the managedFields
of the several writers a pod has in life (controller, scheduler, network plug-in, policy engine, kubelet).

  capture_pods.py KUBECTL KUBECONFIG > pods.json

Needs an empty test API server (tests/support/kube-up.sh). Names, images and addresses are invented.
"""
import hashlib
import json
import subprocess
import sys

KUBECTL, CONFIG = sys.argv[1], sys.argv[2]


def call(*args, body=None):
    command = [KUBECTL, "--kubeconfig", CONFIG, *args]
    done = subprocess.run(command, input=None if body is None else json.dumps(body), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def digest(text, length):
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def env(name, n):
    made = [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
            {"name": "DATABASE_PASSWORD", "valueFrom": {"secretKeyRef": {"name": f"{name}-db", "key": "password"}}}]
    made += [{"name": f"{name.upper().replace('-', '_')}_SETTING_{i}", "value": f"{digest(name + str(i), 12)}.svc:{9000 + i}"}
             for i in range(n)]
    return made


def container(name, cpu, memory, limits=True, probes=True, settings=4, port=8080):
    made = {
        "name": name, "image": f"registry.example.com/team/{name}:v1.{len(name)}.3", "imagePullPolicy": "IfNotPresent",
        "env": env(name, settings) if probes else [],
        "resources": {"requests": {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/config", "readOnly": True}, {"name": "tmp", "mountPath": "/tmp"},
                         {"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                          "readOnly": True}],
        "securityContext": {"allowPrivilegeEscalation": False, "runAsUser": 1000650000},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if limits and memory:
        made["resources"]["limits"] = {"memory": memory}
    if probes:
        made["ports"] = [{"name": "http", "containerPort": port, "protocol": "TCP"}]
        made["livenessProbe"] = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 20}
        made["readinessProbe"] = {"httpGet": {"path": "/readyz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10}
    return made


# name, namespace, owner kind, containers (name, cpu, memory), init containers, phase, extra
PODS = [
    ("checkout-7c9d5b8f6d-2xkqz", "shop", "ReplicaSet", [("checkout", "250m", "512Mi")], [("migrate", "1", "256Mi")], "Running", {}),
    ("checkout-7c9d5b8f6d-9wlhp", "shop", "ReplicaSet", [("checkout", "250m", "512Mi"), ("mesh-proxy", "100m", "128Mi")],
     [("mesh-init", "10m", "40Mi")], "Running", {}),
    ("catalog-5f6b7c8d9-q4n7t", "shop", "ReplicaSet", [("catalog", "1500m", "2Gi"), ("mesh-proxy", "100m", "128Mi")],
     [("mesh-init", "10m", "40Mi")], "Running", {"priority": 1000}),
    ("cart-0", "shop", "StatefulSet", [("cart", "2", "4Gi"), ("exporter", "20m", "32Mi")], [("chown", "10m", "16Mi")], "Running",
     {"claims": 2}),
    ("cart-1", "shop", "StatefulSet", [("cart", "2", "4Gi"), ("exporter", "20m", "32Mi")], [("chown", "10m", "16Mi")], "Running",
     {"claims": 2}),
    ("cart-2", "shop", "StatefulSet", [("cart", "2", "4Gi"), ("exporter", "20m", "32Mi")], [], "Pending", {"unscheduled": True,
     "claims": 2}),
    ("node-agent-6hxrv", "platform-monitoring", "DaemonSet", [("agent", "102m", "180Mi"), ("kube-proxy-metrics", "1m", "30Mi")], [],
     "Running", {"host": True, "hostpaths": 2}),
    ("log-shipper-zz8kd", "platform-logging", "DaemonSet", [("shipper", "100m", "736Mi")], [("prepare", "5m", "16Mi")], "Running",
     {"host": True, "hostpaths": 3}),
    ("network-node-5vm2c", "platform-network", "DaemonSet",
     [("controller", "10m", "600Mi"), ("acl-logging", "10m", "20Mi"), ("metrics-proxy", "10m", "20Mi")], [], "Running",
     {"host": True, "hostpaths": 4}),
    ("storage-plugin-w7d9p", "platform-storage", "DaemonSet",
     [("driver", "10m", "50Mi"), ("registrar", "10m", "20Mi"), ("liveness", "10m", "20Mi")], [], "Running", {"hostpaths": 3}),
    ("nightly-report-28451220-4kgmb", "etl-a", "Job", [("report", "500m", "1Gi")], [], "Succeeded", {}),
    ("nightly-report-28452660-tb5sl", "etl-a", "Job", [("report", "500m", "1Gi")], [], "Failed", {}),
    ("importer-6d5c4b7f88-xk2vw", "etl-a", "ReplicaSet", [("importer", "750m", "1536Mi")], [("wait-for-db", None, None)], "Running",
     {"waiting": True}),
    ("console-7bb9d6c9c4-l8r5j", "platform-console", "ReplicaSet", [("console", "10m", "100Mi")], [], "Running", {"priority": 2000000000}),
    ("api-gateway-5c8d7f9b6-m6t4x", "edge", "ReplicaSet", [("gateway", "300m", "384Mi"), ("reloader", "10m", "24Mi")], [], "Running", {}),
    ("api-gateway-5c8d7f9b6-v9c2h", "edge", "ReplicaSet", [("gateway", "300m", "384Mi"), ("reloader", "10m", "24Mi")], [], "Pending", {}),
    ("ml-train-worker-3", "research", "Job", [("worker", "7500m", "48Gi")], [("fetch", "2", "4Gi")], "Running", {}),
    ("batch-best-effort-7xkpl", "research", "Job", [("task", None, None)], [], "Running", {}),
    ("metrics-store-0", "platform-monitoring", "StatefulSet",
     [("store", "70m", "1Gi"), ("config-reloader", "1m", "10Mi"), ("sidecar", "1m", "25Mi"), ("oauth", "1m", "20Mi")],
     [("init-config", "1m", "10Mi")], "Running", {"claims": 1}),
    ("alerting-0", "platform-monitoring", "StatefulSet", [("alerting", "4m", "40Mi"), ("config-reloader", "1m", "10Mi"), ("oauth", "1m", "20Mi")],
     [], "Running", {"claims": 1}),
]


def pod(name, ns, owner, containers, inits, extra):
    app = containers[0][0]
    volumes = [
        {"name": "config", "configMap": {"name": f"{app}-config", "defaultMode": 420}}, {"name": "tmp", "emptyDir": {}},
        {"name": "kube-api-access", "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}}]
    volumes += [{"name": f"host-{i}", "hostPath": {"path": f"/var/lib/{app}/{i}", "type": "DirectoryOrCreate"}}
                for i in range(extra.get("hostpaths", 0))]
    volumes += [{"name": f"data-{i}", "persistentVolumeClaim": {"claimName": f"data-{i}-{name}"}} for i in range(extra.get("claims", 0))]
    body = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": ns, "generateName": name.rsplit("-", 1)[0] + "-",
            "labels": {"app.kubernetes.io/name": app, "app.kubernetes.io/instance": f"{ns}-{app}", "app.kubernetes.io/part-of": ns,
                       "app.kubernetes.io/managed-by": "helm", "pod-template-hash": digest(name, 10)},
            "annotations": {"checksum/config": digest(app + "config", 64)},
            "ownerReferences": [{"apiVersion": "batch/v1" if owner == "Job" else "apps/v1", "kind": owner,
                                 "name": name.rsplit("-", 1)[0], "uid": f"5a1f0c3e-0d7b-4a55-9c6e-{digest(app, 12)}",
                                 "controller": True, "blockOwnerDeletion": True}]},
        "spec": {
            "automountServiceAccountToken": False, "serviceAccountName": "default",
            "restartPolicy": "Never" if owner == "Job" else "Always", "volumes": volumes,
            "containers": [container(n, c, m, port=8080 + 10 * i, settings=len(n) % 2, probes=i == 0) for i, (n, c, m) in enumerate(containers)],
            "initContainers": [container(n, c, m, probes=False, settings=1) for n, c, m in inits],
            "securityContext": {"fsGroup": 1000650000, "seLinuxOptions": {"level": "s0:c25,c20"}},
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "hostNetwork": bool(extra.get("host")), "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst"}}
    if extra.get("host"):
        for c in body["spec"]["containers"]:
            for port in c.get("ports", []):
                port["hostPort"] = port["containerPort"]
    return body


def status(name, containers, inits, phase, extra, index):
    t = f"2031-04-0{1 + index % 5}T{index % 24:02d}:07:%02dZ"
    if extra.get("unscheduled"):
        return {"phase": "Pending", "qosClass": "Burstable", "conditions": [
            {"type": "PodScheduled", "status": "False", "lastProbeTime": None, "lastTransitionTime": t % 8, "reason": "Unschedulable",
             "message": "0/6 nodes are available: 3 Insufficient cpu, 3 node(s) had taint {node-role.kubernetes.io/master: }, "
                        "that the pod didn't tolerate."}]}
    ready = phase == "Running" and not extra.get("waiting")

    def one(n, state, is_ready):
        return {"name": n, "image": f"registry.example.com/team/{n}:v1.{len(n)}.3", "ready": is_ready, "restartCount": index % 3,
                "started": is_ready, "imageID": f"registry.example.com/team/{n}@sha256:{digest(n, 64)}",
                "containerID": f"cri-o://{digest(name + n, 64)}", "state": state,
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": t % 9, "finishedAt": t % 40,
                                             "containerID": f"cri-o://{digest(n + name, 64)}"}} if index % 3 else {}}

    ended = {"terminated": {"exitCode": 0 if phase != "Failed" else 1, "reason": "Completed" if phase != "Failed" else "Error",
                            "startedAt": t % 9, "finishedAt": t % 30, "containerID": f"cri-o://{digest(name, 64)}"}}
    if phase in ("Succeeded", "Failed"):
        state = ended
    elif phase == "Pending":
        state = {"waiting": {"reason": "ContainerCreating"}}
    elif extra.get("waiting"):
        state = {"waiting": {"reason": "CrashLoopBackOff",
                             "message": f"back-off 5m0s restarting failed container={containers[0][0]} pod={name}"}}
    else:
        state = {"running": {"startedAt": t % 12}}
    flag = "True" if ready else "False"
    made = {"phase": phase, "qosClass": "Burstable", "hostIP": f"10.0.{index % 8}.{10 + index}", "podIP": f"10.128.{index % 6}.{20 + index}",
            "podIPs": [{"ip": f"10.128.{index % 6}.{20 + index}"}], "startTime": t % 8,
            "conditions": [{"type": k, "status": s, "lastProbeTime": None, "lastTransitionTime": t % (8 + i)}
                           for i, (k, s) in enumerate((("Initialized", "True"), ("Ready", flag), ("ContainersReady", flag),
                                                       ("PodScheduled", "True")))],
            "containerStatuses": [one(n, state, ready) for n, _, _ in containers]}
    if inits:
        made["initContainerStatuses"] = [one(n, ended, True) for n, _, _ in inits]
    return made


def main():
    for ns in sorted({p[1] for p in PODS}):
        call("create", "namespace", ns)
        call("create", "serviceaccount", "default", "-n", ns)
    for level in sorted({p[6].get("priority") for p in PODS} - {None}):
        if level <= 1000000000:
            call("create", "-f", "-", body={"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                                            "metadata": {"name": f"level-{level}"}, "value": level})
    for index, (name, ns, owner, containers, inits, phase, extra) in enumerate(PODS):
        body = pod(name, ns, owner, containers, inits, extra)
        if extra.get("priority"):
            body["spec"]["priorityClassName"] = (f"level-{extra['priority']}" if extra["priority"] <= 1000000000
                                                 else "system-cluster-critical")
        call("create", "-f", "-", "--field-manager", "kube-controller-manager", body=body)
        if not extra.get("unscheduled"):
            call("create", "--raw", f"/api/v1/namespaces/{ns}/pods/{name}/binding", "-f", "-",
                 body={"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": ns},
                       "target": {"apiVersion": "v1", "kind": "Node", "name": f"worker-{index % 6}.fleet.example.com"}})
            address = f"10.128.{index % 6}.{20 + index}"
            call("patch", "pod", name, "-n", ns, "--type=merge", "--field-manager", "network-node", "-p", json.dumps(
                {"metadata": {"annotations": {
                    "network.example.com/pod-networks": json.dumps({"default": {
                        "ip_addresses": [address + "/23"], "mac_address": f"0a:58:0a:80:0{index % 6}:{20 + index:02x}",
                        "gateway_ips": [f"10.128.{index % 6}.1"], "ip_address": address + "/23"}}),
                    "network.example.com/status": json.dumps([{"name": "primary", "interface": "eth0", "ips": [address],
                                                               "default": True, "dns": {}}], indent=4)}}}))
        call("apply", "--server-side", "--force-conflicts", "--field-manager", "policy-engine", "-f", "-", body={
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": ns, "labels": {"cost-centre": f"cc-{1000 + index}", "ring": "canary"},
                         "annotations": {"policy.example.com/admitted-by": "restricted-v2"}}})
        call("replace", "--raw", f"/api/v1/namespaces/{ns}/pods/{name}/status?fieldManager=kubelet", "-f", "-",
             body={**json.loads(call("get", "pod", name, "-n", ns, "-o", "json")),
                   "status": status(name, containers, inits, phase, extra, index)})
    # As the list endpoint writes them: compact, one object a line here.
    items = json.loads(call("get", "--raw", "/api/v1/pods?limit=500"))["items"]
    print("[" + ",\n".join(json.dumps(i, separators=(",", ":"), ensure_ascii=False) for i in items) + "]")


main()
