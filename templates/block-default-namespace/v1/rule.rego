package block_default_namespace

import data.lib.request

# Kubernetes makes these in every cluster, and makes them again.
kept = {["Service", "kubernetes"], ["ServiceAccount", "default"], ["ConfigMap", "kube-root-ca.crt"]}

violation[{"msg": msg}] {
  object := request.object
  request.namespace == "default"
  not kept[[object.kind, request.name]]
  msg := sprintf("%v %v must not be in the default namespace.", [object.kind, request.name])
}
