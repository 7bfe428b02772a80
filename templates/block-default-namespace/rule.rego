package block_default_namespace

import data.lib.request

violation[{"msg": msg}] {
  object.get(request.object.metadata, "namespace", "default") == "default"
  not own
  msg := sprintf("Usage of the default namespace is not allowed, name: %v, kind: %v", [request.name, request.object.kind])
}

# What Kubernetes itself makes there.
own {
  {["Service", "kubernetes"], ["ServiceAccount", "default"]}[[request.object.kind, request.name]]
}

own {
  request.object.kind == "Secret"
  request.object.type == "kubernetes.io/service-account-token"
  request.object.metadata.annotations["kubernetes.io/service-account.name"] == "default"
}
