package lib.pod

import data.lib.request

# The pod under review. Workloads are not looked into: their pods are judged when they are made. Undefined for a request
# to delete.
spec = request.object.spec

annotation(key) = request.object.metadata.annotations[key]

# A pod for Windows nodes. Nothing else tells it: a kubelet of Linux turns such a pod away.
windows {
  spec.nodeSelector["kubernetes.io/os"] == "windows"
}

# A pod on which the API server refuses the fields of Linux security contexts, so no rule can demand one.
os_windows {
  spec.os.name == "windows"
}
