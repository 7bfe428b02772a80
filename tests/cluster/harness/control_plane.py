"""How etcd, kube-apiserver and kube-controller-manager are started: commands only, no processes."""

from tests.cluster.harness import tools
from tests.cluster.harness.files import ClusterFiles

# What a cluster without nodes needs. The garbage collector deletes a deleted template's CRD; the controllers that make
# pods let a user see one refused the way it happens in daily life.
CONTROLLERS = [
    "clusterrole-aggregation-controller",
    "daemonset-controller",
    "deployment-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "replicationcontroller-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
    "validatingadmissionpolicy-status-controller",
]


def etcd(files: ClusterFiles, port: int) -> list[str]:
    """The storage; without fsync, a power cut may take a test cluster."""
    url = f"http://127.0.0.1:{port}"
    return [
        str(tools.path("etcd")),
        f"--data-dir={files.etcd_data}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        "--listen-peer-urls=http://127.0.0.1:0",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver(files: ClusterFiles, port: int, etcd_port: int) -> list[str]:
    """The API server as a cluster runs it: RBAC, default admission, an audit log that it writes before it answers."""
    return [
        str(tools.path("kube-apiserver")),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={files.server_certificates / 'tls.crt'}",
        f"--tls-private-key-file={files.server_certificates / 'tls.key'}",
        f"--client-ca-file={files.authority}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={files.account_key}",
        f"--service-account-signing-key-file={files.account_key}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--endpoint-reconciler-type=none",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        f"--audit-policy-file={files.audit_policy}",
        f"--audit-log-path={files.audit_log}",
        "--audit-log-maxsize=100000",  # megabytes: never rotated, offsets into it stay good
        "--profiling=false",
    ]


def controller_manager(files: ClusterFiles) -> list[str]:
    """The controllers, with a client that does not hold back a test that deletes hundreds of objects."""
    kubeconfig = files.kubeconfig("system:kube-controller-manager", ["system:masters"])
    return [
        str(tools.path("kube-controller-manager")),
        f"--kubeconfig={kubeconfig}",
        f"--controllers={','.join(CONTROLLERS)}",
        f"--service-account-private-key-file={files.account_key}",
        f"--root-ca-file={files.authority}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=300",
        "--kube-api-burst=600",
        "--profiling=false",
    ]
