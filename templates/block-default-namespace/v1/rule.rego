package block_default_namespace

import data.lib.request

# Kubernetes makes these in every cluster, and makes them again.
kept = {["Service", "kubernetes"], ["ServiceAccount", "default"], ["ConfigMap", "kube-root-ca.crt"]}

violation[{"msg": msg}] {
  object := request.object
  request.namespace == "default"
  not kept[[object.kind, name]]
  msg := sprintf("%v %v must not be in the default namespace.", [object.kind, name])
}

name = request.object.metadata.name {
  true
} else = request.object.metadata.generateName {
  true
} else = ""
