package block_default_namespace

import data.lib.kubernetes
import data.lib.request

violation[{"msg": msg}] {
  object.get(request.object.metadata, "namespace", "default") == "default"
  not kubernetes.own
  msg := sprintf("Usage of the default namespace is not allowed, name: %v, kind: %v", [request.name, request.object.kind])
}
