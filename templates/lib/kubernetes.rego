package lib.kubernetes

import data.lib.request

# Whether Kubernetes itself makes the object, and makes it again.
own {
  {["ConfigMap", "kube-root-ca.crt"], ["Service", "kubernetes"], ["ServiceAccount", "default"]}[[request.object.kind, request.name]]
}

# The token of a namespace's default service account.
own {
  request.object.kind == "Secret"
  request.object.type == "kubernetes.io/service-account-token"
  request.object.metadata.annotations["kubernetes.io/service-account.name"] == "default"
}
